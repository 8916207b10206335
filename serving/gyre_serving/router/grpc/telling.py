"""What a call answers: the steps' HTTP answer as message, status and metadata."""

import logging
from abc import abstractmethod
from typing import TYPE_CHECKING

import orjson

from gyre_serving.router.grpc.metadata import Headers, lines_of
from gyre_serving.router.grpc.methods import METHODS, SERVICE, Method
from gyre_serving.router.grpc.packing import ENCODINGS
from gyre_serving.router.grpc.status import OK, message_of, status_of
from gyre_serving.router.message import Refusal, Request

if TYPE_CHECKING:
    import asyncio

    from gyre_serving.router.grpc.connection import GrpcConnection
    from gyre_serving.router.jobs import Job

logger = logging.getLogger(__name__)

MOST_ANSWER = 64 * 2**20
_TOLD = (b"x-gyre-", b"x-request-id", b"age", b"www-authenticate", b"retry-after")
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", ENCODINGS)]


class Telling:
    """The part of a call that answers. It is the recipient of what the steps answer."""

    __slots__ = (
        "_connection", "_expiry", "_held", "_method", "_raw", "_request", "_text", "_text_size", "done", "job",
        "stream", "until",
    )  # fmt: skip

    def __init__(self, connection: "GrpcConnection", stream: int) -> None:
        self._connection = connection
        self.stream = stream
        self._request = connection.request()
        self._method: Method = METHODS[f"{SERVICE}ServerLive".encode()]
        self._held = 0
        """Bytes that the process holds of it."""
        self._raw = False
        self._text: list[bytes] = []
        self._text_size = 0
        self._expiry: asyncio.TimerHandle | None = None
        self.job: Job | None = None
        self.until = 0.0
        """Loop time until which the client must have taken the answer that waits for it; 0 when none does."""
        self.done = False

    def waits(self) -> bool:
        """Whether the steps' answer is still to come."""
        return not self.done

    def abandon(self) -> None:
        """The client went away, or waits no more."""
        self._over()
        self._stop()

    def _stop(self) -> None:
        job, self.job = self.job, None
        if job is not None:
            job.abandon()

    def _expired(self, seconds: float) -> None:
        if not self.done:
            self.abandon()
            self._tell(Refusal(504, f"no answer within the {seconds:g} s that grpc-timeout gives"))

    def _over(self) -> None:
        self.done = True
        if self._expiry is not None:
            self._expiry.cancel()

    def _hold(self, size: int) -> None:
        self._connection.budget.take(size)
        self._held += size

    def _holds(self, size: int) -> None:
        """So much of it is held from now on, which was held already in one form or another."""
        self._connection.budget.give(self._held - size)
        self._held = size

    def release(self) -> None:
        """Nothing of it is held any more."""
        self._holds(0)

    def sent(self) -> None:
        """The client took one answer of several."""

    def leave(self) -> None:
        """The connection is to end: what goes on without an end of its own does so."""

    def refuse(self, refusal: Refusal) -> None:
        """Answer at once, whatever of the call came or runs."""
        if not self.done:
            self.abandon()
            self._tell(refusal)

    def write(self, data: bytes) -> None:
        """Take bytes of the steps' answer."""
        self.writelines([data])

    def writelines(self, data: list[bytes]) -> None:
        """Take pieces of the steps' answer."""
        if not self.waits():
            return
        size = sum(map(len, data))
        try:
            self._hold_answer(size)
        except Refusal as refusal:
            self._fail(refusal)
            return
        self._text += data

    def _hold_answer(self, size: int) -> None:
        self._text_size += size
        if self._text_size > MOST_ANSWER:
            most = MOST_ANSWER // 2**20
            raise Refusal(413, f"the model's answer is larger than {most} MiB; ask about fewer rows")
        self._hold(size)

    def closes(self, _request: Request) -> bool:
        """Whether no other may follow it: streams do not."""
        return False

    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer()

    def abort(self) -> None:
        """The steps' answer broke off."""
        if self.waits():
            self._fail(Refusal(502, "the model server broke off its answer"))

    def finish(self, *, close: bool) -> None:  # noqa: ARG002  streams end by themselves
        """The steps' answer is whole."""
        if not self.waits():
            return
        self.job = None
        head, _, body = b"".join(self._text).partition(b"\r\n\r\n")
        self._text = []
        lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        told = [(name, value) for name, value in headers.items() if name.startswith(_TOLD)]
        http = int(lines[0][9:12])
        try:
            if status_of(http) == OK or body.endswith(_NOT_READY):
                self._succeed(told, self._method.reply(headers, body, self._raw))
                return
            refusal = Refusal(http, _sentence(body))
        except Refusal as failure:
            refusal = failure
        except Exception:
            logger.exception("an answer could not be told over gRPC")
            refusal = Refusal(502, "the model's answer cannot be told over gRPC; ask over REST")
        self._fail(refusal, told)

    @abstractmethod
    def _succeed(self, told: Headers, message: bytes) -> None:
        """The answer is this message."""

    def _fail(self, refusal: Refusal, told: Headers | None = None) -> None:
        self.abandon()
        self._tell(refusal, told)

    def _tell(self, refusal: Refusal, told: Headers | None = None) -> None:
        trailers = [
            (b"grpc-status", b"%d" % status_of(refusal.status)),
            (b"grpc-message", message_of(refusal.sentence)),
        ]
        more = told if told is not None else lines_of(self._request.identity + refusal.headers())
        wait = dict(more).get(b"retry-after")
        if wait is not None and wait.isdigit():
            trailers.append((b"grpc-retry-pushback-ms", b"%d" % (int(wait) * 1000)))
        self._close(HEAD + more, trailers)

    @abstractmethod
    def _close(self, headers: Headers, trailers: Headers) -> None:
        """Nothing more is answered."""


GOOD: Headers = [(b"grpc-status", b"0")]
_NOT_READY = b'"ready":false}'
"""How a 503 ends that is an answer."""


def _sentence(body: bytes) -> str:
    """What a V2 error document says, or whatever else the model server sent."""
    try:
        return str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace") or "the model server gave no reason"
