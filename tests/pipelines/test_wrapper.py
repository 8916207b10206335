"""The wrapper around real commands: what it passes on, what it notices, and what it says at the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gyre_crds.contracts.attempt import FailureReport, ProgressReport, TrainReport
from gyre_pipelines.bundle import build_wrapper
from gyre_pipelines.wrapper import order as wrapper_order
from gyre_pipelines.wrapper import predict
from gyre_pipelines.wrapper.cgroup import Memory, cores
from tests.pipelines.support.attempts import Attempt, until


@pytest.fixture
def wrapped(tmp_path: Path) -> Attempt:
    """A folder with the wrapper and nothing else: what a training sees that has no data."""
    attempt = Attempt(tmp_path, {})
    for folder in ("output", "data", "checkpoints", "reference"):
        (attempt.root / folder).mkdir(parents=True)
    (attempt.root / "params.json").write_text(json.dumps({"learning-rate": 0.5, "name": "x", "layers": [1, 2]}))
    build_wrapper(attempt.root / "bin" / "wrapper.pyz")
    return attempt


def test_a_success_is_reported_twice(wrapped: Attempt) -> None:
    """The termination message is a TrainReport; RESULT is the same with the image's packages."""
    wrapped.command = ["sh", "-c", "echo one; echo two"]
    code, message = wrapped.wrap()
    assert code == 0
    report = TrainReport.model_validate(message)
    assert (report.tail, report.predicted, report.packages) == (["one", "two"], 0, [])
    result = TrainReport.model_validate_json((wrapped.root / "result.json").read_bytes())
    assert any(package.startswith("scikit-learn==") for package in result.packages)
    assert result.packages == sorted(result.packages)


def test_it_runs_on_python_3_9(wrapped: Attempt, python39: str) -> None:
    """The oldest Python that is promised runs the zipapp with nothing installed."""
    wrapped.command = ["sh", "-c", "echo fine"]
    code, message = wrapped.wrap(python39)
    assert (code, message["tail"]) == (0, ["fine"])
    assert message["python"].startswith("3.9.")


def test_the_command_gets_its_places_and_parameters(wrapped: Attempt) -> None:
    """Data, output, progress and checkpoint paths and every parameter are variables; the order itself is not."""
    wrapped.command = ["sh", "-c", "env > $GYRE_OUTPUT/env; echo $0", "zero"]
    wrapped.wrap(checkpointPath="/gyre/checkpoints")
    seen = dict(
        line.split("=", 1) for line in (wrapped.root / "output" / "env").read_text().splitlines() if "=" in line
    )
    assert seen["GYRE_DATA"] == str(wrapped.root / "data")
    assert seen["GYRE_CHECKPOINTS"] == str(wrapped.root / "checkpoints")
    assert seen["GYRE_PROGRESS"] == str(wrapped.root / "progress.jsonl")
    assert (seen["GYRE_PARAM_LEARNING_RATE"], seen["GYRE_PARAM_NAME"], seen["GYRE_PARAM_LAYERS"]) == (
        "0.5",
        "x",
        "[1, 2]",
    )
    assert seen["MLFLOW_TRACKING_URI"] == (wrapped.root / "mlruns").as_uri()
    assert "GYRE_WRAPPER" not in seen


def test_output_is_passed_through(wrapped: Attempt) -> None:
    """Both streams of the command arrive on the wrapper's own."""
    wrapped.command = ["sh", "-c", "echo to-out; echo to-err >&2"]
    out, err = wrapped.start_wrapper().communicate(timeout=60)
    assert (out.strip(), err.strip()) == (b"to-out", b"to-err")


def test_a_failing_command_keeps_its_exit_code_and_last_lines(wrapped: Attempt) -> None:
    """The user's exit code is the container's; the message holds the last lines and the same report is RESULT."""
    wrapped.command = ["sh", "-c", "for i in $(seq 100); do echo line $i; done; echo oh no >&2; exit 3"]
    code, message = wrapped.wrap()
    assert code == 3
    report = FailureReport.model_validate(message)
    assert (report.reason, report.exit_code, report.message) == ("UserError", 3, "the command ended with exit code 3")
    assert {"line 100", "oh no"} <= set(report.tail)
    assert json.loads((wrapped.root / "result.json").read_text()) == message


def test_endless_last_lines_fit_the_termination_message(wrapped: Attempt) -> None:
    """However long the lines, and in whatever script, the message stays within 4096 bytes and is JSON."""
    wrapped.command = [sys.executable, "-c", "print(('ü€' * 900 + chr(10)) * 60); raise SystemExit(1)"]
    wrapped.wrap()
    text = (wrapped.folder / "termination").read_bytes()
    assert len(text) <= 4096
    assert FailureReport.model_validate_json(text).reason == "UserError"


def test_a_command_that_is_not_there_is_named(wrapped: Attempt) -> None:
    """The message names the first word and the cure."""
    wrapped.command = ["no-such-program", "x"]
    code, message = wrapped.wrap()
    assert (code, message["reason"]) == (127, "CommandNotFound")
    assert message["message"] == "command: 'no-such-program' is not in the image; correct command or image"


def test_a_hung_command_is_aborted_and_shows_where_it_stood(wrapped: Attempt) -> None:
    """Silence beyond the limit ends the command by SIGABRT, so Python prints the line where it hangs."""
    wrapped.command = [sys.executable, "-c", "import time\nprint('start')\ntime.sleep(60)"]
    code, message = wrapped.wrap(hangSeconds=1.0)
    assert (code, message["reason"]) == (75, "Hung")
    assert "no output, progress or checkpoint for 1 s" in message["message"]
    assert any("line 3 in <module>" in line for line in message["tail"])


def test_progress_alone_is_a_sign_of_life(wrapped: Attempt) -> None:
    """A command that only writes to $GYRE_PROGRESS is not hung."""
    wrapped.command = ["sh", "-c", "for i in 1 2 3 4 5 6; do echo '{}' >> $GYRE_PROGRESS; sleep 0.4; done"]
    assert wrapped.wrap(hangSeconds=1.5)[0] == 0


def test_sigterm_reaches_the_command_and_is_a_disruption(wrapped: Attempt) -> None:
    """The command may save its work; whatever its exit code, the attempt was disrupted from outside."""
    wrapped.command = [
        "sh",
        "-c",
        "trap 'echo saved > $GYRE_OUTPUT/saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done",
    ]
    wrapper = wrapped.start_wrapper()
    assert wrapper.stdout is not None
    assert wrapper.stdout.readline() == b"ready\n"
    wrapper.send_signal(signal.SIGTERM)
    wrapper.communicate(timeout=30)
    assert wrapper.returncode == 75
    assert json.loads((wrapped.folder / "termination").read_text())["reason"] == "Disrupted"
    assert (wrapped.root / "output" / "saved").read_text() == "saved\n"


def test_a_grandchild_that_keeps_the_pipe_does_not_keep_the_attempt(wrapped: Attempt) -> None:
    """A daemon left behind is ended instead of holding the container open."""
    wrapped.command = ["sh", "-c", "sleep 300 & echo $! > $GYRE_OUTPUT/pid"]
    assert wrapped.wrap()[0] == 0
    pid = int((wrapped.root / "output" / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_progress_is_answered_over_http(wrapped: Attempt) -> None:
    """GET /progress gives percent, step, metrics, memory and a guess of the time left."""
    port = 19464 + os.getpid() % 1000
    line = json.dumps({"percent": 40, "step": 4, "metrics": {"loss": 0.25, "bad": "text"}})
    wrapped.command = ["sh", "-c", f"sleep 0.3; echo '{line}' >> $GYRE_PROGRESS; read x < $GYRE_DATA/pipe"]
    os.mkfifo(wrapped.root / "data" / "pipe")
    wrapper = wrapped.start_wrapper(more={"GYRE_PROGRESS_PORT": str(port)})

    def ask() -> ProgressReport:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/progress", timeout=5) as answer:
            return ProgressReport.model_validate_json(answer.read())

    def told() -> bool:
        try:
            return ask().percent is not None
        except OSError:
            return False

    until(told)
    report = ask()
    assert (report.percent, report.step, report.metrics, report.state) == (40, 4, {"loss": 0.25}, "Running")
    assert report.eta_seconds is not None
    assert report.eta_seconds > 0
    assert report.memory is not None
    (wrapped.root / "data" / "pipe").write_text("go on\n")
    wrapper.communicate(timeout=30)
    assert wrapper.returncode == 0


def test_a_taken_port_costs_the_view_and_not_the_training(wrapped: Attempt) -> None:
    """When somebody else has the progress port, the training runs all the same and says so."""
    wrapped.command = ["true"]
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        wrapper = wrapped.start_wrapper(more={"GYRE_PROGRESS_PORT": port})
        _, err = wrapper.communicate(timeout=60)
    assert wrapper.returncode == 0
    assert f"gyre: progress is not shown, port {port}" in err.decode()


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 64 MiB below our own, on a machine that allows it."""
    own = next(
        (line.split(":")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), None
    )
    if own is None:
        pytest.skip("no cgroup v1 memory controller here")
    group = Path("/sys/fs/cgroup/memory") / own.lstrip("/") / f"gyre-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(64 << 20))
    except OSError as error:
        pytest.skip(f"cgroups are not ours to make: {error}")
    yield group
    group.rmdir()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "exec python3 -c 'x = bytearray(300 << 20)'",
            "the kernel killed the command for memory: the container had 64 MiB",
        ),
        ("python3 -c 'x = bytearray(300 << 20)'; exit 9", "killed 1 child process(es) of the command for memory"),
    ],
    ids=["the command itself is killed", "only a child of it is killed"],
)
def test_the_kernels_killing_for_memory_is_told(
    wrapped: Attempt, small_cgroup: Path, script: str, sentence: str
) -> None:
    """In a real cgroup the wrapper tells whether the command or only a child ran out of memory."""
    wrapped.command = ["sh", "-c", script]
    inside = f"echo $$ > {small_cgroup}/cgroup.procs && exec {sys.executable} {wrapped.root}/bin/wrapper.pyz"
    environment = {**os.environ, "GYRE_ROOT": str(wrapped.root),
                   "GYRE_WRAPPER": json.dumps({"command": wrapped.command}),
                   "GYRE_TERMINATION_LOG": str(wrapped.folder / "termination"), "GYRE_PROGRESS_PORT": "0"}  # fmt: skip
    done = subprocess.run(["sh", "-c", inside], env=environment, timeout=60, check=False, capture_output=True)
    report = FailureReport.model_validate_json((wrapped.folder / "termination").read_bytes())
    assert report.reason == "OutOfMemory"
    assert sentence in report.message
    assert report.peak_memory is not None
    assert report.peak_memory > 50 << 20
    assert done.returncode == (137 if report.signal else 9)


def test_memory_is_read_from_cgroup_v2(tmp_path: Path) -> None:
    """Limit, use, peak and kills come from the v2 files of the own group."""
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    files = {
        "memory.max": "1000000",
        "memory.current": "700",
        "memory.peak": "900",
        "memory.events": "oom 3\noom_kill 2\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    memory = Memory(tmp_path, own="0::/\n")
    assert (memory.limit(), memory.used(), memory.peak(), memory.kills()) == (1_000_000, 700, 900, 0)
    (tmp_path / "memory.events").write_text("oom 4\noom_kill 3\n")
    assert memory.kills() == 1


def test_memory_without_a_limit_is_what_the_order_says(tmp_path: Path) -> None:
    """`max` and the huge number of v1 mean no limit; then the limit that the order tells counts."""
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert Memory(tmp_path, own="0::/\n", limit=77).limit() == 77
    (tmp_path / "v1" / "memory").mkdir(parents=True)
    (tmp_path / "v1" / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert Memory(tmp_path / "v1", own="4:memory:/elsewhere\n").limit() is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None)],
    ids=["one and a half cores round up", "half a core is one", "no limit"],
)
def test_cores_follow_the_cpu_limit(tmp_path: Path, text: str, wanted: int | None) -> None:
    """OpenMP is told the share of the node that the container may use."""
    (tmp_path / "cpu.max").write_text(text)
    assert cores(tmp_path) == wanted


def test_a_prediction_sees_no_secret_of_the_user() -> None:
    """Only paths, locale and thread counts reach the process that loads the model."""
    kept = wrapper_order.bare_environment(
        {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "OMP_NUM_THREADS": "2", "TOKEN": "y"}
    )
    assert kept == {"PATH": "/bin", "OMP_NUM_THREADS": "2"}


def test_several_native_models_are_refused(tmp_path: Path) -> None:
    """Two pickles without a model.joblib among them have no meaning; model.joblib wins over others."""
    for name in ("a.joblib", "b.pkl"):
        (tmp_path / name).touch()
    with pytest.raises(predict.CannotPredictError, match=r"a\.joblib, b\.pkl.*name it model\.joblib"):
        predict.native_model(tmp_path, tmp_path / "none")
    (tmp_path / "model.joblib").touch()
    assert predict.native_model(tmp_path, tmp_path / "none") == tmp_path / "model.joblib"


def test_a_model_that_cannot_predict_ends_the_attempt(wrapped: Attempt) -> None:
    """A pickle that does not load is PredictFailed, with the exception in the sentence."""
    (wrapped.root / "reference" / "rows.json").write_text(json.dumps({"columns": ["a"], "values": [[1.0, 2.0]]}))
    wrapped.command = ["sh", "-c", "echo garbage > $GYRE_OUTPUT/model.pkl"]
    code, message = wrapped.wrap()
    assert (code, message["reason"]) == (64, "PredictFailed")
    assert "the native model cannot predict the reference rows: ValueError: invalid literal" in message["message"]


def test_the_zipapp_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    """Two builds of the same source are equal, so an image layer does not change for nothing."""
    build_wrapper(tmp_path / "one")
    build_wrapper(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_order_without_command_is_refused() -> None:
    """The sentence names variable, field and cure."""
    with pytest.raises(ValueError, match=r"GYRE_WRAPPER: command is empty; set spec\.command"):
        wrapper_order.Order.of({"GYRE_WRAPPER": "{}"})
