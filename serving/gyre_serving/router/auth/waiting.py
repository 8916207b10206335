"""A request that waits for Kubernetes to say whose its token is."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gyre_serving.router.auth.guard import Guard, Pending
from gyre_serving.router.jobs import Job
from gyre_serving.router.message import Refusal

if TYPE_CHECKING:
    from gyre_serving.router.auth.kubernetes import Verdict

Question = tuple[Guard, Pending]


class Waiting:
    """The request's job until the verdicts are there, and the front of the job that follows."""

    def __init__(
        self, questions: Sequence[Question], then: Callable[[], Job | None], refuse: Callable[[Refusal], None]
    ) -> None:
        self._order: tuple[Sequence[Question], Callable[[], Job | None], Callable[[Refusal], None]] | None = (
            questions, then, refuse,
        )  # fmt: skip
        """Forgotten as soon as it is carried out: it holds the request's body, and leads back here."""
        self._left = len(questions)
        self._paused = False
        self._job: Job | None = None
        for _, pending in questions:
            pending.add_done_callback(self._one_came)

    def abandon(self) -> None:
        """See `Job`."""
        self._order = None
        if self._job is not None:
            self._job.abandon()

    def pause(self) -> None:
        """See `Job`."""
        self._paused = True
        if self._job is not None:
            self._job.pause()

    def resume(self) -> None:
        """See `Job`."""
        self._paused = False
        if self._job is not None:
            self._job.resume()

    def _one_came(self, _pending: "asyncio.Future[Verdict]") -> None:
        self._left -= 1
        if self._left or self._order is None:
            return
        (questions, then, refuse), self._order = self._order, None
        refusal = _refusal(questions)
        if refusal is not None:
            refuse(refusal)
            return
        self._job = then()
        if self._job is not None and self._paused:
            self._job.pause()


def _refusal(questions: Sequence[Question]) -> Refusal | None:
    try:
        for guard, pending in questions:
            guard.judge(pending.result())
    except Refusal as refusal:
        # Several may wait for one verdict: none of them needs the others' frames.
        return refusal.with_traceback(None)
    except asyncio.CancelledError:
        return Refusal(503, "the router ends; ask again", retry_after=1)
    return None
