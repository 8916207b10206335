"""A stream's state in a real S3 store: one process at a time writes it, and nothing is said twice."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_monitoring.checkpoint import Checkpoint, Standing
from gyre_monitoring.cli import main
from gyre_monitoring.errors import InputError
from gyre_monitoring.profile import build, encoded
from gyre_monitoring.store import Store
from gyre_monitoring.stream import Stream
from tests.monitoring.support import s3
from tests.monitoring.support.looks import monitor
from tests.monitoring.test_stream_state import CONTRACT, command, people, until

STATE = f"s3://{s3.BUCKET}/streams/state.json"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What reaches the server."""
    with s3.served(tmp_path_factory.mktemp("s3")) as reached:
        yield reached


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A profile and one part."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "profile.json").write_bytes(encoded(build(lambda: [people(5000, 0, older=0)], CONTRACT)))
    pq.write_table(people(3000, 1, older=0), tmp_path / "parts" / "1.parquet")
    return tmp_path


def arguments(folder: Path, state: str, *more: str) -> list[str]:
    """The command without a file of changes."""
    given = ["stream", "--profile", str(folder / "profile.json"), "--current", str(folder / "parts")]
    return [*given, "--state", state, *more]


def test_the_second_of_two_writers_ends_with_a_sentence(folder: Path, environment: dict[str, str]) -> None:
    """Both take up one state and read one part: one says its change and goes on, the other says nothing of it."""
    reached = {**os.environ, **environment}
    store, state = Store(environment), f"{STATE}.two"
    follow = command(*arguments(folder, state, "--follow", "--every", "0.05"))

    def started() -> "subprocess.Popen[str]":
        return subprocess.Popen(follow, env=reached, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with started() as one:
        until(lambda: bool(list(store.list(f"s3://{s3.BUCKET}/streams"))))
        with started() as two:
            assert two.stdout is not None
            assert two.stdout.readline().startswith("taken up after 1 parts")
            late = folder / "parts" / "2.new"
            pq.write_table(people(3000, 2, older=8), late)
            os.utime(late, (0, 0))
            late.rename(late.with_suffix(".parquet"))
            both = [one, two]
            until(lambda: any(process.poll() is not None for process in both))
            ended = [process for process in both if process.poll() is not None]
            left = one if two in ended else two
            assert left.stdout is not None
            heard = left.stdout.readline()  # it speaks once its state is written: not to be ended before
            for process in both:
                process.send_signal(signal.SIGTERM)
            said = [process.communicate() for process in both]
    assert len(ended) == 1
    assert sorted(process.returncode for process in both) == [0, 2]
    assert heard.startswith("age moved: ")
    assert not any("age moved: " in out for out, _ in said)
    refused = said[both.index(ended[0])][1]
    assert refused.count("\n") == 1
    assert f"--state {state} is written by another process: end that one, or name another --state" in refused


def test_a_file_is_not_written_over_another_writers(folder: Path) -> None:
    """A state on disk: who finds that another process has replaced the file since ends with the sentence too."""
    stream = Stream(Profile.model_validate_json((folder / "profile.json").read_bytes()), monitor(features=[]))
    one, two = (Checkpoint(str(folder / "state.json")) for _ in range(2))
    standing = Standing(
        follows=stream.follows, place="x", read=[], parts=0, changes=0, lines=[], stream=stream.state()
    )  # fmt: skip
    one.write(standing)
    two.read(stream, "x")
    two.write(standing)
    two.write(standing)
    with pytest.raises(InputError, match="is written by another process: end that one, or name another --state"):
        one.write(standing)


def test_a_second_run_goes_on_from_the_object(
    folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run after run writes over its predecessor's state."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(arguments(folder, STATE)) == 0
    pq.write_table(people(3000, 2, older=8), folder / "parts" / "2.parquet")
    assert main(arguments(folder, STATE)) == 0
    assert "taken up after 1 parts and 3000 rows" in capsys.readouterr().out
    assert main(arguments(folder, STATE)) == 0
    assert "changes found: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("over", "there", "taken"),
    [
        pytest.param("nothing", None, True, id="the first"),
        pytest.param("nothing", b"another's", False, id="another came first"),
        pytest.param("nothing", b"mine", True, id="a first try whose answer was lost"),
        pytest.param("old", b"old", True, id="over the own one"),
        pytest.param("old", b"another's", False, id="another came between"),
        pytest.param("old", b"mine", True, id="a try whose answer was lost"),
    ],
)
def test_an_object_is_replaced_where_it_is_still_the_one(
    environment: dict[str, str], request: pytest.FixtureRequest, over: str, there: bytes | None, *, taken: bool
) -> None:
    """What a writer read decides: its own or none is written over, another writer's is not."""
    store, uri = Store(environment), f"s3://{s3.BUCKET}/replaced/{abs(hash(request.node.name))}"
    version = store.replace(uri, b"old", None) if over == "old" else None
    if there is not None:
        store.write(uri, there)
    assert (store.replace(uri, b"mine", version) is not None) == taken
    assert store.read(uri) == (b"mine" if taken else there)
