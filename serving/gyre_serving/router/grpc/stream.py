"""`ModelStreamInfer`: any number of requests on one stream, taken through the steps one after the other.

A request is looked at when the one before it has its answer and the client took that. What follows stays with the
client beyond a stream's first window, so that who reads slowly sends slowly.
"""

from typing import TYPE_CHECKING, Any

from gyre_crds.contracts.routing import REQUEST_ID
from gyre_serving.router.grpc.call import PEEK, PREFIX, Call
from gyre_serving.router.grpc.messages import MESSAGES
from gyre_serving.router.grpc.metadata import Headers, lines_of
from gyre_serving.router.grpc.telling import GOOD, HEAD
from gyre_serving.router.identity import new_id
from gyre_serving.router.message import Refusal

if TYPE_CHECKING:
    from gyre_serving.router.grpc.connection import GrpcConnection

IDLE_SECONDS = 600.0
MESSAGE_SECONDS = 30.0
"""For the part of a message to arrive that names its service."""
AT_ONCE = 16
"""Requests that are answered at once, one behind the other, before the other connections have their turn."""
_REQUEST_ID = REQUEST_ID.encode()
_ANSWERED = "triton_enable_empty_final_response"
"""Asks decoupled models to say which answer is the last; the servers' REST takes no parameters of Triton's own."""
_LAST = "triton_final_response"
"""Says that a request has no other answer."""
_TAG = b"\x12"
"""Of field 2 with a length: `infer_response`."""
_SEVEN, _MORE = 0x7F, 0x80


class StreamCall(Call):
    """One stream of many messages."""

    __slots__ = ("_begun", "_buffer", "_count", "_given", "_going", "_id", "_sending", "_split", "_turn")

    def __init__(self, connection: "GrpcConnection", stream: int, due: float) -> None:
        super().__init__(connection, stream, due)
        self._buffer = bytearray()
        """What came and was not taken through the steps yet."""
        self._given: dict[bytes, bytes] = {}
        """The call's metadata, which all of its requests have."""
        self._split = b""
        self._count = 0
        self._id = ""
        """Of the request that is under way, as its client calls it."""
        self._going = False
        self._begun = False
        """The head went out."""
        self._turn = False
        """A request is under way."""
        self._sending = False
        """The client has not taken its answer yet."""

    # what comes
    def open(self, headers: Headers) -> None:
        """See `Call`."""
        super().open(headers)
        self._given = self._request.headers
        self._split = self._given.get(_REQUEST_ID) or new_id().encode()
        self._rest()

    def take(self, data: bytes) -> None:
        """Take a piece of the messages.

        Raises:
            Refusal: the process has no room for it.
        """
        if not self.done:
            self._hold(len(data))
            self._buffer += data
            self._go()

    def end(self) -> None:
        """The client sends no more."""
        self.ended = True
        self._go()

    def leave(self) -> None:
        """End the stream behind what is whole of it."""
        self._go()

    def release(self) -> None:
        """See `Call`."""
        super().release()
        self._buffer = bytearray()

    def late(self) -> Refusal:
        """Why it ends when nothing comes."""
        return super().late() if self._buffer else Refusal(408, f"no message came for {IDLE_SECONDS:g} s")

    def waits(self) -> bool:
        """Whether the answer of the request under way is still to come."""
        return self._turn and not self.done

    def _go(self) -> None:
        """Do all that can be done now. Once at a time: answers that are at hand would lead back here."""
        if self._going:
            return
        self._going = True
        try:
            for _ in range(AT_ONCE):
                if self.done or self._turn or self._sending or not self._step():
                    return
            self._connection.loop.call_soon(self._go)
        except Refusal as refusal:
            self.refuse(refusal)
        finally:
            self._going = False

    def _step(self) -> bool:
        """Take the next message, as far as it came; False when there is nothing to do before more comes."""
        if self._connection.outdated():
            raise Refusal(401, "the certificate of this connection counts no longer; start a new stream")
        if self._length < 0 and len(self._buffer) >= PREFIX:
            self._begin()
        size = len(self._buffer) - PREFIX
        whole = 0 <= self._length <= size
        if self._length >= 0 and not self._admitted and size >= min(self._length, PEEK):
            try:
                self._admit()
                self._meet()
            except Refusal as refusal:
                if not whole:
                    raise  # nobody wants the rest of it
                self._turned(refusal)
                return True
        if whole:
            self._turned(None)
            return True
        self._wait_or_end()
        return False

    def _begin(self) -> None:
        """The first bytes of a message are there."""
        self._measure()
        self.due = self._connection.loop.time() + MESSAGE_SECONDS
        request = self._request = self._connection.request()
        request.method, request.chunked_answers, request.split = b"POST", False, self._split
        request.headers = dict(self._given)
        if _REQUEST_ID in self._given:
            request.headers[_REQUEST_ID] = b"%b.%d" % (self._given[_REQUEST_ID], self._count)
        self._count += 1

    def _turned(self, refusal: Refusal | None) -> None:
        """Take a whole message through the steps, or answer it so."""
        end = PREFIX + self._length
        data = memoryview(bytes(memoryview(self._buffer)[PREFIX:end]))
        del self._buffer[:end]
        self._turn, self.due, self._id = True, 0.0, ""
        self._text, self._text_size = [], 0
        if refusal is None:
            self._ask(data)
        else:
            self._fail(refusal)  # counted where it was found

    def _wait_or_end(self) -> None:
        if self.ended:
            if self._buffer:
                raise Refusal(400, f"the stream ended within a message, of which {len(self._buffer)} bytes came")
            self._over()
            self._close(HEAD, GOOD)
        elif self._connection.leaving():
            raise Refusal(503, "the router goes away: start a new stream, and send again what has no answer")

    def _start(self, size: int) -> bytes:
        return bytes(self._buffer[:size])

    def _read(self, data: memoryview) -> Any:
        message = super()._read(data)
        self._id = message.id
        if _ANSWERED in message.parameters:
            del message.parameters[_ANSWERED]
        return message

    # what goes
    def _succeed(self, told: Headers, message: bytes) -> None:
        # Appended to a message, fields are merged into it.
        more = _about(told).SerializeToString()
        self._answer(b"".join((_TAG, _varint(len(message) + len(more)), message, more)))

    def _fail(self, refusal: Refusal, told: Headers | None = None) -> None:
        self._stop()
        about = _about(told if told is not None else lines_of(self._request.identity + refusal.headers()))
        about.id = self._id
        sentence = refusal.sentence.encode("utf-8", "backslashreplace").decode()
        answer = MESSAGES["ModelStreamInferResponse"](error_message=sentence, infer_response=about)
        self._answer(answer.SerializeToString())

    def _answer(self, message: bytes) -> None:
        """Send an answer; the next request is looked at when it went out."""
        self._turn, self._sending = False, True
        self._text, self._request.forms = [], None
        self._holds(len(self._buffer) + len(message))
        headers = [] if self._begun else HEAD
        self._begun = True
        self._connection.send(self, headers, message)

    def sent(self) -> None:
        """The client took an answer: the next request, where there is one."""
        size, self._length, self._admitted = PREFIX + self._length, -1, False
        self._sending, self.until = False, 0.0
        self._holds(len(self._buffer))
        self._rest()
        self._connection.let_follow(self, size)
        if not self._going:
            # Not at once: whoever wrote this answer may still have to end it, and would end the next one's.
            self._connection.loop.call_soon(self._go)

    def _rest(self) -> None:
        self.due = self._connection.loop.time() + IDLE_SECONDS

    def _close(self, headers: Headers, trailers: Headers) -> None:
        if self._begun:
            self._connection.end(self, trailers)
        else:
            super()._close(headers, trailers)


def _about(told: Headers) -> Any:
    """What REST tells in headers, as parameters: a stream has one head for all answers."""
    about = MESSAGES["ModelInferResponse"]()
    for name, value in told:
        about.parameters[name.decode()].string_param = value.decode("latin-1")
    about.parameters[_LAST].bool_param = True
    return about


def _varint(number: int) -> bytes:
    """A length as protobuf writes it."""
    out = bytearray()
    while number > _SEVEN:
        out.append(number & _SEVEN | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)
