"""Programs are owned by pid and start time, never by name."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.localcluster import paths
from tests.localcluster.errors import ClusterError
from tests.localcluster.process import Process, kill_marked, run, start_time, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[paths.State]:
    """Give a state folder of its own, and leave no process behind."""
    monkeypatch.setattr(paths, "clusters", lambda: tmp_path)
    state = paths.State("unit")
    state.make()
    yield state
    kill_marked(state)


def _started(state: paths.State, argv: list[str]) -> Process:
    process = Process(state, "program")
    process.start(argv)
    assert wait_until(lambda: "up" in process.tail(), seconds=20)
    return process


@pytest.mark.parametrize("argv", [SLEEP, STUBBORN], ids=["ends when asked", "ends by force when it does not listen"])
def test_stop(state: paths.State, argv: list[str]) -> None:
    """A stopped program is gone, and so is its pid file."""
    process = _started(state, argv)
    pid = process.pid()
    assert pid is not None
    process.stop(patience=0.3)
    assert start_time(pid) is None
    assert not process.pid_file.exists()


def test_reused_pid(state: paths.State) -> None:
    """A pid that belongs to another program by now is neither seen as ours nor killed."""
    stranger = subprocess.Popen(SLEEP, stdout=subprocess.PIPE)
    try:
        process = Process(state, "program")
        process.pid_file.write_text(f"{stranger.pid} 1\n")
        assert process.pid() is None
        process.stop(patience=0.0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.communicate()


def test_mark(state: paths.State) -> None:
    """A program whose pid file was never written is found by its mark; others are left alone."""
    process = _started(state, SLEEP)
    pid = process.pid()
    assert pid is not None
    process.pid_file.unlink()
    kill_marked(paths.State("another"))
    assert start_time(pid) is not None
    kill_marked(state)
    assert wait_until(lambda: start_time(pid) is None, seconds=10)


def test_require_tells_the_log(state: paths.State) -> None:
    """A program that ends too early is reported with its last words, at once."""
    process = Process(state, "program")
    process.start([sys.executable, "-c", "raise SystemExit('the port is taken')"])
    with pytest.raises(ClusterError, match=r"The program ended; its log is .*(\n.*)*the port is taken"):
        process.require(lambda: False, seconds=30, what="The program")


def test_require_gives_up(state: paths.State) -> None:
    """A program that never gets ready is given up after the time is over."""
    process = _started(state, SLEEP)
    with pytest.raises(ClusterError, match=r"was not ready after 0 s"):
        process.require(lambda: False, seconds=0.2, what="The program")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["no-such-program-here"], "The program no-such-program-here is missing: install it."),
        (["sh", "-c", "echo first >&2; echo last >&2; exit 3"], "failed: last"),
    ],
    ids=["a missing program", "a failing program"],
)
def test_run_failures(argv: list[str], sentence: str) -> None:
    """A short program that fails gives one sentence with its last line."""
    with pytest.raises(ClusterError) as caught:
        run(argv)
    assert str(caught.value).endswith(sentence)
