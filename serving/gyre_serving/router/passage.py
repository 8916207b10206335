"""A call to a model on its way through the router's steps, and what a step is."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gyre_serving.router.jobs import Job
from gyre_serving.router.message import Request, answer
from gyre_serving.router.order import Order, Recipient
from gyre_serving.router.paths import Call
from gyre_serving.router.service import Revision, Service


@dataclass(slots=True)
class Passage:
    """What is known of a call; each step adds what it found out."""

    call: Call
    request: Request
    client: Recipient
    service: Service
    request_id: str
    revision: Revision = field(init=False)
    propensity: float = 1.0
    """Chance with which the revision was picked."""
    directed: bool = False
    """Whether anything but the split picked it."""
    order: Order = field(init=False)
    job: Job | None = None
    """What runs until the answer is written."""


Step = Callable[[Passage], bool]
"""Takes a call a step further; True once it is answered or being answered.

Raises:
    Refusal: the answer, instead of all later steps.
"""


def respond(request: Request, client: Recipient, status: int, body: bytes, extra: bytes) -> None:
    """Write a whole answer, and end the connection where it is the last."""
    close = client.closes(request)
    client.write(answer(status, body, extra=extra, close=close))
    client.finish(close=close)
