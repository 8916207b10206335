"""A stream's state: killed at any point it goes on where it was, and a store that is away ends nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring import following
from gyre_monitoring.cli import main
from gyre_monitoring.profile import build, encoded
from gyre_monitoring.stream import Change
from gyre_monitoring.telling import Teller
from gyre_monitoring.telling import line as written

CONTRACT = Contract(key="id", label=LabelContract(column="label"), features=["age", "plan"])
PARTS = 12
KILLS = 4


class Killed(BaseException):
    """The process ends here."""


def people(rows: int, seed: int, *, older: float) -> pa.Table:
    """Ages with holes, and a plan."""
    generator = np.random.default_rng(seed)
    age = generator.normal(40 + older, 10, rows)
    age[::50] = np.nan
    return pa.table({"age": age, "plan": np.where(generator.random(rows) < 0.2, "premium", "basic")})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile, and twelve parts of odd sizes in which people get older twice; one of them is unreadable."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "profile.json").write_bytes(encoded(build(lambda: [people(5000, 0, older=0)], CONTRACT)))
    for half in "ab":
        (folder / "parts" / half).mkdir(parents=True)
    for k in range(PARTS):
        table = people(701 + 13 * k, k + 1, older=(k > 3) * 8 + (k > 7) * 12)
        pq.write_table(table, folder / "parts" / ("a" if k < PARTS / 2 else "b") / f"{k:02}.parquet")
    (folder / "parts" / "a" / "05.parquet").write_bytes(b"no parquet")
    return folder


def arguments(source: Path, out: Path, *more: str) -> list[str]:
    """The command; the state lies beside the changes."""
    given = ["stream", "--profile", str(source / "profile.json"), "--current", str(source / "parts")]
    return [*given, "--out", str(out), "--state", f"{out}.state.json", *more]


def command(*given: str) -> list[str]:
    """The program as a process of its own."""
    return [sys.executable, "-m", "gyre_monitoring", *given]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def metric(port: int, name: str) -> float:
    """A metric's value as Prometheus would fetch it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(one.split()[1]) for one in lines if one.split()[0] == name)


def until(holds: Callable[[], bool]) -> None:
    """Wait for it, half a minute at most."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def findings(out: Path) -> list[dict[str, Any]]:
    """What was found, in order: changes and parts that could not be read."""
    told = [json.loads(line) for line in out.read_text().splitlines()]
    return [one for one in told if "column" in one or one["note"].startswith("not read")]


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What an uninterrupted run finds: both changes and the unreadable part."""
    out = tmp_path_factory.mktemp("whole") / "changes.jsonl"
    assert main(arguments(source, out)) == 0
    found = findings(out)
    assert [one.get("column") for one in found].count("age") == 2
    assert len(found) == 3
    return found


@contextmanager
def deadly(point: int) -> Iterator[Callable[[], int]]:
    """Die at the point-th touch of a file: before the state is flushed or replaced, or halfway through a line."""
    touched = 0

    def touch() -> bool:
        nonlocal touched
        touched += 1
        return touched == point

    def dying(usual: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            if touch():
                raise Killed
            return usual(*given)

        return call

    write = Teller._write

    def torn(teller: Teller, content: bytes) -> None:
        if touch():
            write(teller, content[: len(content) // 2])
            raise Killed
        write(teller, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "_SHARE", 0)  # the state after every part, however slow the disk is
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(Teller, "_write", torn)
        yield lambda: touched


def lines(out: Path) -> None:
    """Every line of the file is whole JSON."""
    for line in out.read_text().splitlines():
        json.loads(line)


def test_dying_at_any_touch_of_a_file_changes_nothing(
    source: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    """One death at each flush, each replacing and in the middle of each line: what is found stays the same."""
    with deadly(0) as touched:
        main(arguments(source, tmp_path / "count.jsonl"))
    points = touched()
    assert points > 2 * PARTS
    for point in range(1, points - 1):  # the last one is the summary, which is no finding
        out = tmp_path / f"{point}.jsonl"
        with deadly(point), pytest.raises(Killed):
            main(arguments(source, out))
        assert main(arguments(source, out)) == 0
        lines(out)
        assert findings(out) == whole, f"dead at {point}"


def test_kill_9_at_random_moments_changes_nothing(source: Path, tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    """A real process, killed again and again while parts come in, finds what an uninterrupted one finds."""
    place, out, chance = tmp_path / "source", tmp_path / "changes.jsonl", np.random.default_rng(4)
    state = Path(f"{out}.state.json")
    for half in "ab":
        (place / "parts" / half).mkdir(parents=True)
    (place / "profile.json").write_bytes((source / "profile.json").read_bytes())
    follow = command(*arguments(place, out, "--follow", "--every", "0.05"))
    names = sorted((source / "parts").rglob("*.parquet"))
    old, coming = time.time() - 10, iter(names)
    for kills in range(KILLS + 1):
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if state.exists():
                assert process.stdout.readline().startswith(("taken up after", "age moved", "not read"))
            for part in islice(coming, len(names) // KILLS):
                copy = place / "parts" / part.relative_to(source / "parts")
                copy.with_suffix(".new").write_bytes(part.read_bytes())
                os.utime(copy.with_suffix(".new"), (old, old))
                copy.with_suffix(".new").rename(copy)
                time.sleep(chance.uniform(0.0, 0.05))
            if kills < KILLS:
                until(state.exists)
                time.sleep(chance.uniform(0.0, 0.5))
            else:
                until(lambda: len(findings(out)) == len(whole) and json.loads(state.read_text())["parts"] == PARTS)
            process.kill()
    lines(out)
    assert findings(out) == whole
    standing = json.loads(state.read_text())
    assert len(standing["read"]) == len(set(standing["read"])) == standing["parts"]


def test_a_second_run_reads_what_is_new(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is read twice; the summary counts from the beginning, and what is gone is forgotten by the state."""
    for part in sorted((source / "parts").rglob("*.parquet")):
        (tmp_path / "parts" / part.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / part.parent.name / part.name).write_bytes(part.read_bytes())
    (tmp_path / "profile.json").write_bytes((source / "profile.json").read_bytes())
    out = tmp_path / "changes.jsonl"
    assert main(arguments(tmp_path, out)) == 0
    once = capsys.readouterr().out.splitlines()[-1]
    (tmp_path / "parts" / "a" / "00.parquet").unlink()
    assert main(arguments(tmp_path, out)) == 0
    assert capsys.readouterr().out.splitlines() == [f"taken up after 12 parts and {once.split()[0]} rows", once]
    assert len(json.loads(Path(f"{out}.state.json").read_text())["read"]) == PARTS - 1


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        pytest.param(lambda body: body[:-9], "it is no JSON", id="corrupt"),
        pytest.param(
            lambda body: body.replace("state.v2", "state.v7"),
            "it is a gyre.stream-state.v7, this release keeps a gyre.stream-state.v2",
            id="newer or older",
        ),
        pytest.param(lambda body: f"[{body}]", "it is no gyre.stream-state.v2", id="something else"),
        pytest.param(lambda body: body.replace('"parts":', '"pieces":'), "parts is wrong", id="a field is missing"),
        pytest.param(
            lambda body: body.replace('"channels":{"age"', '"channels":{"years"'),
            "another profile or configuration",
            id="of other columns",
        ),
        pytest.param(lambda body: body.replace('/parts"', '/other"'), "kept for the parts of", id="of another place"),
    ],
)
def test_a_state_that_cannot_be_taken_up_starts_anew(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[str], str], sentence: str
) -> None:
    """One sentence, and every part that is there is read, as by a first run."""
    out = tmp_path / "changes.jsonl"
    state = Path(f"{out}.state.json")
    assert main(arguments(source, out)) == 0
    found = findings(out)
    spoiled = spoil(state.read_text())
    assert spoiled != state.read_text()
    state.write_text(spoiled)
    capsys.readouterr()
    assert main(arguments(source, out)) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"the state in {state} is not taken up, every part that is there is read: ")
    assert sentence in first
    assert findings(out) == found + found


def test_another_configuration_starts_anew(source: Path, tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    """A state of another false-alarm rate means other detectors."""
    out, config = tmp_path / "changes.jsonl", tmp_path / "monitor.yaml"
    assert main(arguments(source, out)) == 0
    config.write_text("falseAlarmRate: 0.02\n")
    assert main(arguments(source, out, "--config", str(config))) == 0
    assert len(findings(out)) == 2 * len(whole)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        pytest.param(
            ("--state", "nowhere/state.json"), "--state nowhere/state.json is in no directory", id="no folder"
        ),
        pytest.param(("--state", "/", "--follow"), "--state / is a directory", id="a folder for a state"),
        pytest.param(("--out", "/dev/null", "--state", "/dev/null"), "is the file of --out", id="one file for both"),
        pytest.param(("--every", "0"), "--every 0 is no time to wait", id="no time between two tries"),
        pytest.param(("--metrics-port", "70000"), "--metrics-port 70000 cannot be opened", id="no port"),
        pytest.param(("--current", "ftp://x/y", "--follow"), "'ftp://x/y' is no store URI", id="no store"),
    ],
)
def test_wrong_usage_ends_with_a_sentence(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], sentence: str
) -> None:
    """Exit code 2 and one line, following or not."""
    assert main(arguments(source, tmp_path / "changes.jsonl", *more)) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_a_store_that_is_away_ends_nothing(source: Path, tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    """A prefix that cannot be listed: said once, counted, tried again; when it answers, everything is found."""
    place = tmp_path / "parts"
    place.write_text("a file where the prefix should be")
    port = free_port()
    given = arguments(source, tmp_path / "changes.jsonl", "--follow", "--every", "0.05", "--metrics-port", str(port))
    given[given.index("--current") + 1] = (place / "all").as_uri()
    with subprocess.Popen(command(*given), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        away = process.stdout.readline()
        until(lambda: metric(port, "gyre_stream_store_errors_total") >= 2)
        place.unlink()
        place.mkdir()
        (source / "parts").rename(place / "all")
        try:
            assert process.stdout.readline() == "the store answers again\n"
            until(lambda: metric(port, "gyre_stream_parts_total") == PARTS)
        finally:
            (place / "all").rename(source / "parts")
        assert metric(port, "gyre_stream_changes_total") == 2
        assert metric(port, "gyre_stream_unreadable_parts_total") == 1
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert "cannot be listed" in away
    assert away.endswith("; trying again until it answers\n")
    assert rest.splitlines()[-1].endswith("changes found: 2")
    assert process.returncode == 0
    assert [one.get("row") for one in findings(tmp_path / "changes.jsonl")] == [one.get("row") for one in whole]


def test_what_was_said_of_the_store_meanwhile_says_no_change_twice(tmp_path: Path) -> None:
    """The state was written at the second try and never again: its lines stand behind a sentence about the store."""
    changes = [Change("age", row, None, "part", 0.5, 0.9, 100) for row in (1, 2, 3)]
    known = [written(one) for one in changes]
    out = tmp_path / "changes.jsonl"
    with Teller(out) as teller:
        size = teller.size
        teller.say("it cannot be written; trying again")
        teller.say("the store answers again")
        teller.say(changes[0])
        teller.say(changes[1])
    with out.open("a") as file:
        file.write(known[2][:20])  # killed halfway through the last
    with Teller(out) as teller:
        teller.recover(known, size)
    assert out.read_text().splitlines()[2:] == known


def test_two_processes_do_not_write_one_file(
    source: Path, tmp_path: Path, whole: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The second ends with a sentence while the first writes, for each would say every change; later it goes on."""
    out = tmp_path / "changes.jsonl"
    with Teller(out):
        assert main(arguments(source, out)) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "is written by another process: end that one, or name another --out" in told.err
    assert main(arguments(source, out)) == 0
    assert findings(out) == whole
