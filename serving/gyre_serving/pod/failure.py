"""How a container of the serving pod fails: one sentence for people, one JSON for the operator."""

import contextlib
import os
import sys
from pathlib import Path

TERMINATION_ENV = "GYRE_TERMINATION_LOG"
TERMINATION_LOG = "/dev/termination-log"
_TAIL_LINES = 20
_SENTENCE_LIMIT = 1000


class Failure(Exception):  # noqa: N818  a failure of the pod; "error" would say less
    """The container cannot do what it was asked.

    Attributes:
        reason: a reason of `gyre_crds.reasons`.
        message: one sentence that names what is wrong and the cure.
        retry: True when the surroundings failed (EXIT_INFRA), False when the request cannot be met (EXIT_USER).
        tail: lines of somebody else's output that explain it.
    """

    def __init__(self, reason: str, message: str, *, retry: bool = False, tail: list[str] | None = None) -> None:
        super().__init__(message)
        self.reason = str(reason)
        self.message = message
        self.retry = retry
        self.tail = tail or []

    @property
    def exit_code(self) -> int:
        """The exit code that tells the operator whether trying again can help."""
        from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER  # noqa: PLC0415  types of trainings: see below

        return EXIT_INFRA if self.retry else EXIT_USER


def report(failure: Failure) -> int:
    """Write the failure to the termination message and to stderr.

    Returns:
        The exit code to leave with.
    """
    sys.stderr.write(f"{failure.reason}: {failure.message}\n")
    path = Path(os.environ.get(TERMINATION_ENV, TERMINATION_LOG))
    # Without Kubernetes there is no such file, and stderr has said it.
    with contextlib.suppress(OSError):
        path.write_text(termination_message(failure))
    return failure.exit_code


def termination_message(failure: Failure) -> str:
    """The `FailureReport` as JSON of at most MESSAGE_LIMIT bytes; the oldest lines of the tail give way."""
    # A server that does not fail need not build the types of trainings: they are a tenth of its start.
    from gyre_crds.contracts.attempt import MESSAGE_LIMIT, FailureReport  # noqa: PLC0415

    tail = [line[:400] for line in failure.tail[-_TAIL_LINES:]]
    while True:
        text = FailureReport(
            reason=failure.reason,
            message=failure.message[:_SENTENCE_LIMIT],
            tail=tail,
            exit_code=failure.exit_code,
        ).model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) <= MESSAGE_LIMIT or not tail:
            return text
        tail = tail[1:]


def one_line(error: BaseException, limit: int = 500) -> str:
    """The first line of an exception that says something, prefixed with its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return f"{type(error).__name__}: {text}"[:limit]
