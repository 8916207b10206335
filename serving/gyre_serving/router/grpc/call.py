"""One gRPC call: its metadata as headers, its message checked before it is decoded, its answer told."""

from time import monotonic
from typing import TYPE_CHECKING, Any

from gyre_serving.router.grpc.bodies import forms_of
from gyre_serving.router.grpc.budget import PROCESS_BYTES, WINDOW
from gyre_serving.router.grpc.entries import bound
from gyre_serving.router.grpc.metadata import Headers, read, target_of
from gyre_serving.router.grpc.methods import METHODS, SERVICE, named
from gyre_serving.router.grpc.packing import beginning, check, inflate
from gyre_serving.router.grpc.telling import GOOD, HEAD, Telling
from gyre_serving.router.message import Refusal
from gyre_serving.router.paths import Ask
from gyre_serving.router.paths import Call as Target

if TYPE_CHECKING:
    from gyre_serving.router.auth.guard import Pending
    from gyre_serving.router.grpc.connection import GrpcConnection

PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""
PEEK = 4096
"""Bytes of a message among which the model's name and version must stand."""
SMALL = 4096
"""Largest message of methods that carry no tensors."""
LONGEST_WAIT = 86400.0


class Call(Telling):
    """One stream of a connection."""

    __slots__ = (
        "_admitted", "_doubt", "_encoding", "_length", "_limit", "_packed", "_patience", "_pieces", "_port",
        "_received", "due", "ended", "opened", "wanted",
    )  # fmt: skip

    def __init__(self, connection: "GrpcConnection", stream: int, due: float) -> None:
        super().__init__(connection, stream)
        self._port = connection.port
        self._pieces: list[bytes] = []
        self._received = 0
        self._length = -1
        """Of the message, once its prefix came."""
        self._admitted = False
        self._doubt: Pending | None = None
        """What says whose the call's token is, while the rest of its message waits for that."""
        self._encoding = b"identity"
        self._packed = False
        """The message is compressed."""
        self._limit = SMALL
        """Bytes that it may have."""
        self._patience = 0.0
        self.due = due
        """Loop time until which the message must be whole; 0 once it is."""
        self.wanted = 0
        """Bytes of its message beyond a stream's first window, until they may come."""
        self.opened = 0
        """The same, once they may."""
        self.ended = False
        """The client sends no more."""

    def open(self, headers: Headers) -> None:
        """Take the call's head.

        Raises:
            Refusal: of a call that no method serves, or whose metadata cannot be passed on.
        """
        path, found, timeout, self._encoding = read(headers)
        method = METHODS.get(path)
        if method is None:
            raise Refusal(501, f"no such method: {path[:200].decode('latin-1')}; {SERVICE} is served")
        self._method = method
        request = self._request
        request.headers = found
        request.method = b"POST" if method.ask is Ask.INFER else b"GET"
        request.chunked_answers = False
        if timeout is not None and timeout < LONGEST_WAIT:
            self._expiry = self._connection.loop.call_later(timeout, self._expired, timeout)

    def take(self, data: bytes) -> None:
        """Take a piece of the message.

        Raises:
            Refusal: of a message that is too large or finds no room, or that names no service whose token it bears.
        """
        self._hold(len(data))
        self._pieces.append(data)
        self._received += len(data)
        if self._length < 0 and self._received >= PREFIX:
            self._measure()
        if 0 <= self._length < self._received - PREFIX:
            raise Refusal(400, f"{self._method.name} takes one message, and more came")
        if self._admitted or self._length < 0 or self._received - PREFIX < min(self._length, PEEK):
            return
        self._admit()
        self._meet()

    def _meet(self) -> None:
        """Let the rest of a large message come, once its sender is known.

        Raises:
            Refusal: its sender is nobody, or may not.
        """
        size = self._length + PREFIX
        if size <= WINDOW:
            return
        doubt = self._doubt = self._port.in_doubt(self._request, self)
        if doubt is None:
            self._connection.let_come(self, size)
        else:
            doubt.add_done_callback(self._meet_again)

    def _meet_again(self, _doubt: "Pending") -> None:
        try:
            if not self.done:
                self._meet()
        except Refusal as refusal:
            self.refuse(refusal)

    def release(self) -> None:
        """Hold nothing any more."""
        super().release()
        self._pieces = []
        if self._doubt is not None:
            self._doubt.remove_done_callback(self._meet_again)

    def _measure(self) -> None:
        """Read what stands before the message."""
        start = self._start(PREFIX)
        self._packed = start[0] != 0
        if self._packed:
            check(self._encoding)
        self._length = int.from_bytes(start[1:], "big")

    def comes(self) -> None:
        """The message may come: its time begins."""
        self.opened, self.wanted = self.wanted, 0
        self.due = self._connection.loop.time() + self._patience

    def late(self) -> Refusal:
        """Why a call ends whose message is not there in time."""
        if self.wanted:
            return Refusal(429, "the messages before it on this connection left no room for it; open another one")
        return Refusal(408, "the message took too long to arrive")

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
        else:
            start = self._start(PREFIX + min(self._length, PEEK))[PREFIX:]
            name, version = named(beginning(start, PEEK) if self._packed else start)
            if not name:
                raise Refusal(400, f"{method.name}: {method.fields[0]} is missing; it comes first in the message")
            request.call, request.url = target_of(method.ask, name, version)
            limit, patience = self._port.body_limits(request)
            self._limit = min(limit, PROCESS_BYTES) if method.ask is Ask.INFER else SMALL
            self._patience = patience
            self.due = self._connection.loop.time() + patience
        if self._length > self._limit:
            raise Refusal(413, f"the message is larger than the {self._limit} bytes that this service takes")

    def end(self) -> None:
        """The client sent everything: run the call.

        Raises:
            Refusal: of a message that is none.
        """
        self.ended, self.due = True, 0.0
        if not self._admitted or self._received != self._length + PREFIX:
            raise Refusal(400, f"{self._method.name} takes one message, and {self._received} bytes of it came")
        data = memoryview(b"".join(self._pieces))[PREFIX:]
        self._pieces = []
        self._ask(data)

    def _ask(self, data: memoryview) -> None:
        """Take a whole message through the steps."""
        request = self._request
        request.arrived = monotonic()
        request.length = self._length
        request.method = b"GRPC"  # for the access log: it tells the calls apart
        try:
            self._decode(self._unpacked(data) if self._packed else data)
        except Refusal as refusal:
            self._port.refuse(request, self, refusal)
            return
        job = self._port.handle(request, self)
        if self.waits():
            self.job = job
        elif job is not None:
            job.abandon()  # what it wrote so far was too much already

    def _unpacked(self, data: memoryview) -> memoryview:
        message = inflate(data, self._limit)
        self._hold(len(message))
        return memoryview(message)

    def _decode(self, data: memoryview) -> None:
        method, request = self._method, self._request
        message = self._read(data)
        if method.fields and tuple(getattr(message, field) for field in method.fields) != named(bytes(data[:PEEK])):
            raise Refusal(400, f"{method.name}: {' and '.join(method.fields)} come first in the message, and once")
        if method.ask is Ask.INFER:
            request.forms = forms_of(message)
            request.headers[b"content-type"] = b"application/json"
            self._raw = bool(message.raw_input_contents)

    def _read(self, data: memoryview) -> Any:
        if self._method.ask is Ask.INFER:
            bound(data)
        return self._method.request(data)

    def _succeed(self, told: Headers, message: bytes) -> None:
        self._over()
        self._holds(len(message))
        self._connection.respond(self, HEAD + told, message, GOOD)

    def _close(self, headers: Headers, trailers: Headers) -> None:
        self._connection.respond(self, headers, None, trailers)
