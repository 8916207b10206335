"""The access log: one JSON line an answer on standard output, of a share of the answers and of every failure.

No value of a body, no header but the trace's id, and no query stand in it: what a client keeps secret
must not come to light in a log.
"""

import logging
import os
import queue
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import orjson

from gyre_serving.router.identity import sampled
from gyre_serving.router.message import Request

if TYPE_CHECKING:
    from gyre_serving.router.service import Revision, Service

logger = logging.getLogger(__name__)

WAITING = 8192
"""Most lines that wait for a reader of standard output that does not keep up."""
PATH_LENGTH = 512
STDOUT = 1
"""By number: sys.stdout may be another object, which has none, and nothing of its buffer is wanted."""
END_SECONDS = 2.0
FAILED = 500
GONE = 499
"""Status of a request whose client went away before the answer, as other proxies write it."""


class Ending(NamedTuple):
    """How a request ended."""

    status: int
    sent: int
    """Bytes of the answer's body."""
    seconds: float
    """From the request's last byte to its end."""
    client: str
    cut: bool = False
    """The answer had begun and was broken off."""


class AccessLog:
    """Writes lines in a thread of its own: a full pipe must never hold up a request."""

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self.counts = {"written": 0, "dropped": 0}

    @staticmethod
    def wants(service: "Service | None", request_id: str, status: int) -> bool:
        """Whether an answer is told: each failure, and of the rest the service's share, the same ids always."""
        if status >= FAILED:
            return True
        share = service.route.access_sample if service is not None else 0.0
        return share > 0 and sampled(request_id, share)

    def note(self, request: Request, service: "Service | None", revision: "Revision | None", end: Ending) -> None:
        """Take a line, or drop it when too many wait."""
        line = _line(request, service, revision, end)
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.counts["dropped"] += 1

    def close(self) -> None:
        """Write what waits; a reader that hangs gets two seconds."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=END_SECONDS)
        except queue.Full:
            return
        self._thread.join(END_SECONDS)

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                # One write a line, below PIPE_BUF: the lines of several processes do not mix.
                os.write(self._descriptor, line)
            except OSError as error:
                self.counts["dropped"] += 1
                logger.debug("a line of the access log could not be written: %s", error)
            else:
                self.counts["written"] += 1


def id_of(request: Request) -> str:
    """The id that the request's answer carries; empty before it has one."""
    return request.identity.partition(b": ")[2].decode("latin-1").strip()


def _line(request: Request, service: "Service | None", revision: "Revision | None", end: Ending) -> bytes:
    trace = request.headers.get(b"traceparent", b"").split(b"-")
    fields = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "id": id_of(request),
        "trace": trace[1].decode("latin-1")[:32] if len(trace) > 1 else "",
        "client": end.client,
        "method": request.method.decode("latin-1"),
        "path": request.url.partition(b"?")[0][:PATH_LENGTH].decode("latin-1"),
        "service": service.name if service is not None else "",
        "revision": revision.route.revision if revision is not None else "",
        "version": revision.version if revision is not None else "",
        "status": end.status,
        "received": request.length,
        "sent": end.sent,
        "seconds": round(end.seconds, 6),
    }
    return orjson.dumps(fields | ({"cut": True} if end.cut else {}), option=orjson.OPT_APPEND_NEWLINE)
