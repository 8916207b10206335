"""prepare: what it fetches, verifies and pins, and each way that data can be wrong as one sentence."""

import hashlib
import json
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.artifact import scan
from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER
from gyre_pipelines import prepare
from gyre_pipelines.failure import Failure
from tests.pipelines.support.attempts import Attempt, make_attempt, table


def run(attempt: Attempt, **more: str) -> Any:
    """Prepare in this process."""
    return prepare.run(attempt.parsed(), attempt.environment(**more))


def failure_of(attempt: Attempt, **more: str) -> Failure:
    """The failure that prepare ends with."""
    with pytest.raises(Failure) as caught:
        run(attempt, **more)
    return caught.value


def one_source(attempt: Attempt, **source: Any) -> None:
    """Let the attempt have this one source."""
    attempt.order["data"] = [{"name": "base", **source}]


def test_training_rows_lie_where_the_contract_says(attempt: Attempt) -> None:
    """Rows that train are in data/<name>/, parameters and the wrapper beside; the report counts both sorts."""
    resolved = run(attempt).resolved
    rows = pq.read_table(attempt.root / "data" / "base" / "base.parquet")
    assert rows.num_rows == resolved.data[0].rows
    assert resolved.data[0].rows + resolved.data[0].holdout_rows == 2000
    assert json.loads((attempt.root / "params.json").read_text()) == {"c": 1.0}
    assert (attempt.root / "bin" / "wrapper.pyz").exists()
    expected = hashlib.sha256((attempt.folder / "base.parquet").read_bytes()).hexdigest()
    assert resolved.data[0].digest == f"sha256:{expected}"


def test_csv_is_divided_like_parquet(attempt: Attempt) -> None:
    """The same keys train whatever the format of the file."""
    run(attempt)
    trained = set(pq.read_table(attempt.root / "data" / "base" / "base.parquet")["id"].to_pylist())
    pacsv.write_csv(table(), attempt.folder / "base.csv")
    one_source(attempt, uri=(attempt.folder / "base.csv").as_uri(), holdout=0.1)
    run(attempt)
    assert set(pacsv.read_csv(attempt.root / "data" / "base" / "base.csv")["id"].to_pylist()) == trained


def test_files_that_are_no_tables_are_handed_over(attempt: Attempt) -> None:
    """A directory of anything arrives as it is, nested folders included, with its tree digest."""
    folder = attempt.folder / "images"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "1.png").write_bytes(b"meow")
    (folder / "labels.txt").write_text("cat")
    one_source(attempt, uri=folder.as_uri() + "/", sha256=scan(folder).tree_digest)
    resolved = run(attempt).resolved.data[0]
    assert (attempt.root / "data" / "base" / "cats" / "1.png").read_bytes() == b"meow"
    assert resolved.digest == scan(folder).tree_digest
    assert resolved.uri.endswith("/jobs/uid-1/data/base/")


def test_a_directory_is_read_once_and_pinned(attempt: Attempt) -> None:
    """A file that joins the directory after the first attempt is not seen by the second."""
    folder = attempt.folder / "rows"
    folder.mkdir()
    (folder / "one.txt").write_text("1")
    one_source(attempt, uri=folder.as_uri() + "/")
    first = run(attempt).resolved
    (folder / "two.txt").write_text("2")
    attempt.order.update(number=2, resolved=first.dump())
    second = make_attempt(attempt.folder, attempt.store_environment)
    second.order = attempt.order
    second.folder = attempt.folder / "second"
    assert run(second).resolved == first
    assert [path.name for path in (second.root / "data" / "base").iterdir()] == ["one.txt"]


def test_a_file_that_changed_between_attempts_is_refused(attempt: Attempt) -> None:
    """Every attempt of a job trains on the same bytes or not at all."""
    first = run(attempt).resolved
    attempt.order.update(number=2, resolved=first.dump())
    pq.write_table(table(seed=1), attempt.folder / "base.parquet")
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == ("DataDigestMismatch", EXIT_USER)
    assert "base.parquet changed since the first attempt" in failure.message
    assert "start a new job" in failure.message


def test_a_claim_is_read_from_its_mount(attempt: Attempt) -> None:
    """A path on a claim is found below claims/<source name>, and pinned by its digest."""
    mount = attempt.root / "claims" / "base" / "tables"
    mount.mkdir(parents=True)
    pq.write_table(table(), mount / "rows.parquet")
    one_source(attempt, claim={"name": "volume", "path": "tables/rows.parquet"}, holdout=0.1)
    resolved = run(attempt).resolved.data[0]
    assert resolved.uri == "pvc://volume/tables/rows.parquet"
    assert resolved.rows + resolved.holdout_rows == 2000
    assert (mount / "rows.parquet").exists()


def test_the_champions_own_input_is_no_new_data(attempt: Attempt) -> None:
    """A drift retraining whose input digest is the champion's ends before it starts."""
    digest = run(attempt).resolved.input_digest
    attempt.order.update(championInput=digest, parent="demo-123")
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == ("NoNewData", EXIT_USER)
    assert "champion demo-123" in failure.message


def test_checkpoints_come_back(attempt: Attempt) -> None:
    """What an earlier attempt saved is in the checkpoint directory, writable for any user."""
    attempt.store().write("jobs/uid-1/checkpoints/epoch/3.pt", b"weights")
    attempt.order["checkpointPath"] = "/gyre/checkpoints"
    run(attempt)
    restored = attempt.root / "checkpoints" / "epoch" / "3.pt"
    assert restored.read_bytes() == b"weights"
    assert restored.stat().st_mode & 0o666 == 0o666


def test_https_files_are_fetched(attempt: Attempt, web: str) -> None:
    """A file on a web server arrives under its own name."""
    one_source(attempt, uri=f"{web}/base.parquet", holdout=0.1)
    assert run(attempt).resolved.data[0].uri == f"{web}/base.parquet"


@pytest.fixture
def web(attempt: Attempt) -> Any:
    """A web server over the attempt's folder; /secret answers 403."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/secret"):
                self.send_error(403)
            else:
                super().do_GET()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(attempt.folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


BAD: list[tuple[str, Callable[[Attempt], dict[str, Any]], str, str]] = [
    ("a path that holds nothing", lambda a: {"uri": f"file://{a.folder}/none.parquet"}, "DataNotFound",
     "none.parquet holds nothing; check the path"),
    ("a directory that holds nothing", lambda a: {"uri": f"file://{a.folder}/nothing/"}, "DataNotFound", "data[base]"),
    ("another sha256", lambda a: {"uri": f"file://{a.folder}/base.parquet", "sha256": "sha256:" + "0" * 64},
     "DataDigestMismatch", "data[base].sha256 is sha256:000"),
    ("a claim path that holds nothing", lambda _: {"claim": {"name": "volume", "path": "none"}}, "DataNotFound",
     "data[base].claim.path: pvc://volume/none holds nothing; check the path"),
    ("a claim path that leaves the volume", lambda _: {"claim": {"name": "volume", "path": "../.."}}, "DataNotFound",
     "holds nothing"),
    ("a holdout of no rows", lambda a: {"uri": (a.folder / "text.txt").as_uri(), "holdout": 0.1}, "DataUnreadable",
     "data[base].holdout: text.txt is neither Parquet nor CSV; set holdout to 0"),
    ("a holdout without the key column", lambda a: {"uri": (a.folder / "keyless.parquet").as_uri(), "holdout": 0.1},
     "DataUnreadable", "keyless.parquet has no column 'id' (contract.key); add it or set holdout to 0"),
    ("a row without a key", lambda a: {"uri": (a.folder / "nokey.parquet").as_uri(), "holdout": 0.1},
     "DataUnreadable", "nokey.parquet has a row without a value in 'id'"),
    ("a Parquet file that is none", lambda a: {"uri": (a.folder / "broken.parquet").as_uri(), "holdout": 0.1},
     "DataUnreadable", "data[base]: broken.parquet cannot be read as Parquet; write it again"),
    ("a CSV file with a row too long", lambda a: {"uri": (a.folder / "broken.csv").as_uri(), "holdout": 0.1},
     "DataUnreadable", "data[base]: broken.csv cannot be read as CSV with one header line"),
    ("times that are none", lambda a: {"uri": (a.folder / "when.csv").as_uri(), "holdout": 0.1},
     "DataUnreadable", "data[base]: column 'time' (contract.time) holds something else than RFC 3339"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "reason", "sentence"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_wrong_data_is_one_sentence(
    attempt: Attempt, source: Callable[[Attempt], dict[str, Any]], reason: str, sentence: str
) -> None:
    """The user learns which source, what about it, and the cure; nothing is retried."""
    (attempt.folder / "text.txt").write_text("text")
    (attempt.folder / "broken.parquet").write_text("no Parquet")
    (attempt.folder / "broken.csv").write_text("id,y\n1,0\n2,0,John Doe\n")
    (attempt.folder / "when.csv").write_text("id,time,y\n1,John Doe,0\n2,yesterday,1\n")
    (attempt.folder / "nothing").mkdir()
    pq.write_table(table().drop_columns(["id"]), attempt.folder / "keyless.parquet")
    pq.write_table(pa.table({"id": [1, None], "y": [0, 1]}), attempt.folder / "nokey.parquet")
    (attempt.root / "claims" / "base").mkdir(parents=True)
    one_source(attempt, **source(attempt))
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == (reason, EXIT_USER)
    assert sentence in failure.message
    assert "John" not in failure.message


@pytest.mark.parametrize(
    ("path", "reason", "code"),
    [
        ("none.parquet", "DataNotFound", EXIT_USER),
        ("secret", "DataAccessDenied", EXIT_USER),
        ("dir/", "DataNotFound", EXIT_USER),
    ],
    ids=["404", "403", "a directory"],
)
def test_what_a_web_server_refuses_is_told_apart(attempt: Attempt, web: str, path: str, reason: str, code: int) -> None:
    """Missing, forbidden, and directories, which a web server does not list."""
    one_source(attempt, uri=f"{web}/{path}")
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == (reason, code)


def test_a_web_server_that_is_away_is_tried_again(attempt: Attempt) -> None:
    """Silence is the surroundings' fault, not the user's."""
    one_source(attempt, uri="https://127.0.0.1:9/rows.parquet")
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == ("StoreUnreachable", EXIT_INFRA)


def test_a_source_has_its_own_credential(
    tmp_path: Path, s3_environment: dict[str, str], with_key: Callable[[str, str], dict[str, str]]
) -> None:
    """A wrong key of a source is DataAccessDenied although the namespace's own key would do."""
    attempt = make_attempt(tmp_path, s3_environment)
    attempt.store().upload(tmp_path / "base.parquet", "data/base.parquet")
    one_source(attempt, uri=f"{attempt.store().uri}/data/base.parquet", holdout=0.1)
    wrong = with_key("s3://gyre", "not-the-secret")
    own = {name.replace("GYRE_STORE", "GYRE_SOURCE_BASE"): value for name, value in wrong.items()}
    failure = failure_of(attempt, **own)
    assert (failure.reason, failure.exit_code) == ("DataAccessDenied", EXIT_USER)
    assert "data[base]" in failure.message
    assert run(attempt).resolved.data[0].name == "base"


def test_a_wrong_credential_of_the_store_is_told(
    tmp_path: Path, with_key: Callable[[str, str], dict[str, str]]
) -> None:
    """StoreDenied, with the place, and no retry."""
    attempt = make_attempt(tmp_path, with_key("s3://gyre/x", "not-the-secret"))
    attempt.order["data"].append({"name": "recent", "from": {"inferenceService": "svc"}})
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == ("StoreDenied", EXIT_USER)
    assert "check Secret gyre-store" in failure.message


def test_a_store_that_only_publish_would_need_is_tried(
    tmp_path: Path, with_key: Callable[[str, str], dict[str, str]]
) -> None:
    """A wrong credential ends the job before it trains, also when its data comes from elsewhere."""
    attempt = make_attempt(tmp_path, with_key("s3://gyre/x", "not-the-secret"))
    assert failure_of(attempt).reason == "StoreDenied"


def test_a_bucket_that_is_not_there_is_told(tmp_path: Path, with_key: Callable[[str, str], dict[str, str]]) -> None:
    """The sentence names the bucket's uri and the cure."""
    attempt = make_attempt(tmp_path, with_key("s3://no-such-bucket/x", "a-secret-of-the-tests"))
    one_source(attempt, uri="s3://no-such-bucket/x/rows.parquet")
    failure = failure_of(attempt)
    assert failure.reason == "DataNotFound"


def test_a_store_that_is_away_is_tried_again(tmp_path: Path) -> None:
    """Nobody at the endpoint: EXIT_INFRA after a few tries, not after minutes."""
    environment = {
        "GYRE_STORE_URI": "s3://gyre/x", "GYRE_STORE_ENDPOINT": "http://127.0.0.1:9",
        "GYRE_STORE_ACCESS_KEY_ID": "a", "GYRE_STORE_SECRET_ACCESS_KEY": "b",
    }  # fmt: skip
    attempt = make_attempt(tmp_path, environment)
    attempt.order["data"].append({"name": "recent", "from": {"inferenceService": "svc"}})
    failure = failure_of(attempt)
    assert (failure.reason, failure.exit_code) == ("StoreUnreachable", EXIT_INFRA)


def test_without_a_store_the_secret_is_named(attempt: Attempt) -> None:
    """The cure for a namespace without a store is in the sentence."""
    attempt.store_environment = {}
    assert "fill the key uri of Secret gyre-store" in failure_of(attempt).message


def test_a_command_without_its_order_says_which_variable(attempt: Attempt) -> None:
    """An empty or misspelt order is a sentence on the termination message, not a trace."""
    code, message = attempt.run_command("prepare", GYRE_ATTEMPT='{"namespace": "x"}')
    assert (code, message["reason"]) == (EXIT_USER, "InvalidSpec")
    assert message["message"] == "GYRE_ATTEMPT: job: Field required; expected AttemptOrder as JSON"


def test_a_fault_of_our_own_is_a_sentence_too(attempt: Attempt) -> None:
    """A volume that cannot be written ends as InternalError with the system's words, to be tried again."""
    attempt.root.write_text("a file where the volume should be")
    code, message = attempt.run_command("prepare")
    assert (code, message["reason"]) == (EXIT_INFRA, "InternalError")
    assert "gyre-pipelines prepare failed with " in message["message"]
    assert str(attempt.root) in message["message"]
