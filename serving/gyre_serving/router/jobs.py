"""What a client connection hands requests to, and what it gets back."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from gyre_serving.router.message import Request

if TYPE_CHECKING:
    from gyre_serving.router.auth.kubernetes import Verdict
    from gyre_serving.router.order import Recipient


class Job(Protocol):
    """What runs for a request until its answer is written."""

    def abandon(self) -> None:
        """The client went away."""

    def pause(self) -> None:
        """The client reads too slowly: stop sending."""

    def resume(self) -> None:
        """The client reads again."""


class Connected(Protocol):
    """A client's connection, as the sweeper and the end of the process see it."""

    def sweep(self, now: float) -> None:
        """Close it, at loop time `now`, when what it waits for took too long."""

    def close_when_idle(self) -> None:
        """Let go of it when it asks nothing."""


class Handler(Protocol):
    """What the connection hands requests to."""

    draining: bool
    connections: set[Connected]
    loop: asyncio.AbstractEventLoop

    def body_limits(self, request: Request) -> tuple[int, float]:
        """Most bytes of the body and most seconds it may take to arrive.

        Raises:
            Refusal: when the request need not send its body at all.
        """
        ...

    def in_doubt(self, request: Request, client: "Recipient") -> "asyncio.Future[Verdict] | None":
        """What the rest of the body has to wait for; once that is done it is to be asked again.

        Raises:
            Refusal: when the body is not wanted.
        """
        ...

    def handle(self, request: Request, client: "Recipient") -> Job | None:
        """Answer the request, now (None) or later (the job that does)."""
        ...
