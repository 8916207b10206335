"""How a command says that it cannot go on: one reason, one sentence, one exit code."""

from collections.abc import Sequence

from gyre_crds.contracts.attempt import EXIT_INFRA, EXIT_USER, FailureReport


class Failure(Exception):  # noqa: N818  it is the report, not an error of this program
    """The request cannot be met (`infra=False`, never retried) or the surroundings failed (`infra=True`).

    `reason` is one of `gyre_crds.reasons`; `message` is one sentence that names the field and the cure.
    """

    def __init__(self, reason: str, message: str, *, infra: bool = False, tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.infra = infra
        self.tail = list(tail)

    @property
    def exit_code(self) -> int:
        """EXIT_INFRA or EXIT_USER."""
        return EXIT_INFRA if self.infra else EXIT_USER

    def report(self) -> FailureReport:
        """The termination message."""
        return FailureReport(reason=str(self.reason), message=self.message, tail=self.tail)
