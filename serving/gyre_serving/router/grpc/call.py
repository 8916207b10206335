"""One gRPC call: its metadata as headers, its message checked before it is decoded, its answer told."""

import logging
from time import monotonic
from typing import TYPE_CHECKING

import orjson

from gyre_serving.router.grpc.bodies import forms_of
from gyre_serving.router.grpc.metadata import Headers, lines_of, read, target_of
from gyre_serving.router.grpc.methods import METHODS, SERVICE, Method, named
from gyre_serving.router.grpc.status import OK, message_of, status_of
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.paths import Ask
from gyre_serving.router.paths import Call as Target

if TYPE_CHECKING:
    import asyncio

    from gyre_serving.router.grpc.connection import GrpcConnection
    from gyre_serving.router.jobs import Job

logger = logging.getLogger(__name__)

PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""
PEEK = 4096
"""Bytes of a message among which the model's name and version must stand."""
SMALL = 4096
"""Largest message of methods that carry no tensors."""
MOST_ANSWER = 64 * 2**20
LONGEST_WAIT = 86400.0
_TOLD = (b"x-gyre-", b"x-request-id", b"age", b"www-authenticate", b"retry-after")
_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity")]


class Call:
    """One stream of a connection. It is the recipient of what the steps answer."""

    __slots__ = (
        "_admitted", "_connection", "_expiry", "_held", "_length", "_method", "_patience", "_pieces", "_port", "_raw",
        "_received", "_request", "_text", "_text_size", "done", "due", "ended", "job", "opened", "stream", "wanted",
    )  # fmt: skip

    def __init__(self, connection: "GrpcConnection", stream: int, due: float) -> None:
        self._connection = connection
        self._port = connection.port
        self.stream = stream
        self._request = connection.request()
        self._method: Method = METHODS[f"{SERVICE}ServerLive".encode()]
        self._pieces: list[bytes] = []
        self._received = 0
        self._length = -1
        """Of the message, once its prefix came."""
        self._held = 0
        """Bytes that the process holds of it."""
        self._admitted = False
        self._patience = 0.0
        self._raw = False
        self._text: list[bytes] = []
        self._text_size = 0
        self._expiry: asyncio.TimerHandle | None = None
        self.job: Job | None = None
        self.due = due
        """Loop time until which the message must be whole; 0 once it is."""
        self.wanted = 0
        """Bytes of its message beyond a stream's first window, until they may come."""
        self.opened = 0
        """The same, once they may."""
        self.ended = False
        """The client sends no more."""
        self.done = False

    # what comes
    def open(self, headers: Headers) -> None:
        """Take the call's head.

        Raises:
            Refusal: of a call that no method serves, or whose metadata cannot be passed on.
        """
        path, found, timeout = read(headers)
        method = METHODS.get(path)
        if method is None:
            raise Refusal(501, f"no such method: {path[:200].decode('latin-1')}; {SERVICE} has the unary ones")
        self._method = method
        request = self._request
        request.headers = found
        request.method = b"POST" if method.ask is Ask.INFER else b"GET"
        request.chunked_answers = False
        if timeout is not None and timeout < LONGEST_WAIT:
            self._expiry = self._connection.loop.call_later(timeout, self._expired, timeout)

    def take(self, data: bytes) -> int:
        """Take a piece of the message; how many bytes more than the stream's window allows are wanted now.

        Raises:
            Refusal: of a message that is too large or finds no room, or that names no service whose token it bears.
        """
        self._hold(len(data))
        self._pieces.append(data)
        self._received += len(data)
        if self._length < 0 and self._received >= PREFIX:
            start = self._start(PREFIX)
            if start[0]:
                raise Refusal(501, "compressed messages are not taken: send them with grpc-encoding identity")
            self._length = int.from_bytes(start[1:], "big")
        if 0 <= self._length < self._received - PREFIX:
            raise Refusal(400, f"{self._method.name} takes one message, and more came")
        if self._admitted or self._length < 0 or self._received - PREFIX < min(self._length, PEEK):
            return 0
        self._admit()
        return self._length + PREFIX

    def comes(self) -> None:
        """The message may come: its time begins."""
        self.opened, self.wanted = self.wanted, 0
        self.due = self._connection.loop.time() + self._patience

    def late(self) -> Refusal:
        """Why a call ends whose message is not there in time."""
        if self.wanted:
            return Refusal(429, "the messages before it on this connection left no room for it; open another one")
        return Refusal(408, "the message took too long to arrive")

    def _hold(self, size: int) -> None:
        self._connection.budget.take(size)
        self._held += size

    def release(self) -> None:
        """Nothing of it is held any more."""
        self._connection.budget.give(self._held)
        self._held = 0

    def _start(self, size: int) -> bytes:
        """The first bytes of all."""
        if len(self._pieces[0]) < size:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0][:size]

    def _admit(self) -> None:
        """Look up the service, its callers' tokens and its limits: the rest of the message is worth having, or not."""
        method, request = self._method, self._request
        self._admitted = True
        if not method.fields:
            request.call, request.url = Target(method.ask), b"/v2"
            limit = SMALL
        else:
            name, version = named(self._start(PREFIX + PEEK)[PREFIX:])
            if not name:
                raise Refusal(400, f"{method.name}: {method.fields[0]} is missing; it comes first in the message")
            request.call, request.url = target_of(method.ask, name, version)
            limit, patience = self._port.body_limits(request)
            limit = limit if method.ask is Ask.INFER else SMALL
            self._patience = patience
            self.due = self._connection.loop.time() + patience
        if self._length > limit:
            raise Refusal(413, f"the message is larger than the {limit} bytes that this service takes")

    def end(self) -> None:
        """The client sent everything: run the call.

        Raises:
            Refusal: of a message that is none.
        """
        self.ended, self.due = True, 0.0
        if not self._admitted or self._received != self._length + PREFIX:
            raise Refusal(400, f"{self._method.name} takes one message, and {self._received} bytes of it came")
        request = self._request
        request.arrived = monotonic()
        request.length = self._length
        data = memoryview(b"".join(self._pieces))[PREFIX:]
        self._pieces = []
        request.method = b"GRPC"  # for the access log: it tells the calls apart
        try:
            self._decode(data)
        except Refusal as refusal:
            self._port.refuse(request, self, refusal)
            return
        job = self._port.handle(request, self)
        if not self.done:
            self.job = job
        elif job is not None:
            job.abandon()  # what it wrote so far was too much already

    def _decode(self, data: memoryview) -> None:
        method, request = self._method, self._request
        message = method.request(data)
        if method.fields and tuple(getattr(message, field) for field in method.fields) != named(bytes(data[:PEEK])):
            raise Refusal(400, f"{method.name}: {' and '.join(method.fields)} come first in the message, and once")
        if method.ask is Ask.INFER:
            request.forms = forms_of(message)
            request.headers[b"content-type"] = b"application/json"
            self._raw = bool(message.raw_input_contents)

    def abandon(self) -> None:
        """The client went away, or waits no more."""
        self._over()
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

    # what goes
    def refuse(self, refusal: Refusal) -> None:
        """Answer at once, whatever of the call came."""
        if not self.done:
            self._over()
            self._tell(refusal)

    def write(self, data: bytes) -> None:
        """Take bytes of the steps' answer."""
        self.writelines([data])

    def writelines(self, data: list[bytes]) -> None:
        """Take pieces of the steps' answer."""
        if self.done:
            return
        size = sum(map(len, data))
        try:
            self._hold_answer(size)
        except Refusal as refusal:
            self.abandon()
            self._tell(refusal)
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
        self.refuse(Refusal(502, "the model server broke off its answer"))

    def finish(self, *, close: bool) -> None:  # noqa: ARG002  streams end by themselves
        """The steps' answer is whole."""
        if self.done:
            return
        self._over()
        self.job = None
        head, _, body = b"".join(self._text).partition(b"\r\n\r\n")
        self._text = []
        lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        told = [(name, value) for name, value in headers.items() if name.startswith(_TOLD)]
        http = int(lines[0][9:12])
        try:
            if status_of(http) == OK or body.endswith(_NOT_READY):
                self._connection.respond(self, _HEAD + told, self._method.reply(headers, body, self._raw), _GOOD)
                return
            refusal = Refusal(http, _sentence(body))
        except Refusal as failure:
            refusal = failure
        except Exception:
            logger.exception("an answer could not be told over gRPC")
            refusal = Refusal(502, "the model's answer cannot be told over gRPC; ask over REST")
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
        self._connection.respond(self, _HEAD + more, None, trailers)


_GOOD: Headers = [(b"grpc-status", b"0")]
_NOT_READY = b'"ready":false}'
"""How a 503 ends that is an answer."""


def _sentence(body: bytes) -> str:
    """What a V2 error document says, or whatever else the model server sent."""
    try:
        return str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace") or "the model server gave no reason"
