"""Publish waits here for the training: the wrapper holds a lock from start to end."""

import fcntl
import json
import signal
import time
from collections.abc import Callable
from types import FrameType

from pydantic import ValidationError

from gyre_crds.contracts.attempt import FailureReport, TrainReport
from gyre_crds.contracts.attempt import Path as Place
from gyre_crds.reasons import Training
from gyre_pipelines.failure import Failure
from gyre_pipelines.layout import Layout

_POLL_SECONDS = 0.2
_CERTAIN_SECONDS = 2.0


class Stopped(Exception):  # noqa: N818  not an error: the pod was told to go
    """SIGTERM: the pod goes away."""


def stop_on_sigterm() -> None:
    """Let SIGTERM end the wait: as PID 1 a process without a handler would not even notice it."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)


def finish_calmly() -> None:
    """From here on the little that is left to copy is worth the pod's grace period."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def wait(layout: Layout, every: float, beat: Callable[[], None]) -> TrainReport:
    """Wait until the wrapper has let go of the lock; `beat` runs about every `every` seconds meanwhile.

    Raises:
        Failure: the training failed, with its own reason, or it was killed before it could say so.
        Stopped: the pod was told to go.
    """
    next_beat = time.monotonic() + every
    while (report := _finished(layout)) is None:
        if time.monotonic() >= next_beat:
            beat()
            next_beat = time.monotonic() + every
        time.sleep(_POLL_SECONDS)
    if isinstance(report, TrainReport):
        return report
    raise Failure(report.reason, report.message, tail=report.tail)


def _finished(layout: Layout) -> TrainReport | FailureReport | None:
    if not _free(layout):
        return None
    report = _result(layout)
    if report is not None:
        return report
    if not _started(layout):
        return None
    # Lock free, started, no result: killed. Look once more, for a wrapper that ends this very moment.
    time.sleep(_CERTAIN_SECONDS)
    return _result(layout) or FailureReport(
        reason=Training.DISRUPTED,
        message="the training's container was killed before it could report; its own state says why",
    )


def _free(layout: Layout) -> bool:
    try:
        stream = layout.place(Place.LOCK).open("r")
    except FileNotFoundError:
        return False
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _started(layout: Layout) -> bool:
    return layout.place(Place.LOCK).stat().st_size > 0


def _result(layout: Layout) -> TrainReport | FailureReport | None:
    try:
        text = layout.place(Place.RESULT).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        failed = json.loads(text).get("schema") == FailureReport(reason="-", message="-").schema_
        kind: type[FailureReport | TrainReport] = FailureReport if failed else TrainReport
        report = kind.model_validate_json(text)
    except (ValidationError, ValueError, AttributeError) as error:
        raise Failure(Training.INTERNAL, f"the wrapper's report cannot be read: {error}", infra=True) from error
    return report
