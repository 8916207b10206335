"""What an exchange is to do, and for whom."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gyre_serving.router.access import Ending
from gyre_serving.router.message import Request
from gyre_serving.router.mirror import Mirror
from gyre_serving.router.service import Revision, Service

Collected = Callable[[int, bytes | None, int | None], None]
"""Takes an answer's status, its body, and how many bytes of it are JSON where binary tensors follow."""
Translate = Callable[[int, bytes], tuple[int, bytes]]
Told = Callable[["Order", Ending], None]


@dataclass(slots=True)
class Order:
    """What to send, and what to do with the answer."""

    request: Request
    service: Service
    revision: Revision
    head: bytes
    """Request line and headers but for host."""
    body: list[bytes]
    answer_headers: bytes
    """Header lines of the contract."""
    collect: Collected | None = None
    """Called with status and body (None when larger than `COLLECT_LIMIT`) once the answer is whole."""
    translate: Translate | None = None
    """The answer is held back and rewritten."""
    directed: bool = False
    """No evidence: a header or the path chose the revision, not the split, or it asks for metadata."""
    done: Told | None = None
    """Called at the end of each request that failed; of every one with `told`."""
    told: bool = False
    stand_ins: "Iterator[Order] | None" = None
    """Orders to follow instead, one after the other, while nobody takes this one."""
    local: bytes | None = None
    """The V2 answer: nobody is asked."""
    first: bool = False
    """Its outcome is that of its sticky key."""
    mirror: Mirror | None = None
    """Gets the request and its answer once the client has it."""


class Recipient(Protocol):
    """Who gets the answer."""

    def write(self, data: bytes) -> None:
        """Take bytes of it."""

    def writelines(self, data: list[bytes]) -> None:
        """Take pieces of it."""

    def finish(self, *, close: bool) -> None:
        """It is whole."""

    def abort(self) -> None:
        """It ends here, and is not whole."""

    def closes(self, request: Request) -> bool:
        """Whether no other may follow it."""
        ...

    def peer(self) -> str:
        """Name for logs."""
        ...
