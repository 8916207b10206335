"""A call's metadata: gRPC's own is read, the client's goes on as headers of the steps' request."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from gyre_serving.router.grpc.status import timeout_of
from gyre_serving.router.message import HOP_BY_HOP, Refusal
from gyre_serving.router.paths import Ask, Call

Headers = list[tuple[bytes, bytes]]

MOST_HEADERS = 100
_NAME = re.compile(rb"[0-9a-z_.-]+")
_VALUE = re.compile(rb"[\x20-\x7e]*")
_OURS = HOP_BY_HOP | {
    b"content-type", b"content-length", b"content-encoding", b"inference-header-content-length", b"host", b"expect",
    b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding", b"accept-encoding",
}  # fmt: skip
"""What says how the call comes, not what it asks."""
_SUFFIX = {Ask.INFER: "/infer", Ask.MODEL_READY: "/ready"}


class Head(NamedTuple):
    """What a call's first headers say."""

    path: bytes
    headers: dict[bytes, bytes]
    """What goes on."""
    timeout: float | None
    """Seconds that the client waits."""
    encoding: bytes
    """Of the messages that say that they are compressed."""


def read(headers: Headers) -> Head:
    """Take a call's first headers. Binary metadata (`-bin`) has no equal among headers and stays here.

    Raises:
        Refusal: when they are not those of a gRPC call, or could not stand in an HTTP/1.1 request.
    """
    found: dict[bytes, bytes] = {}
    pseudo: dict[bytes, bytes] = {}
    timeout, encoding = None, b"identity"
    if len(headers) > MOST_HEADERS:
        raise Refusal(431, f"more than {MOST_HEADERS} headers")
    for name, value in headers:
        if name[:1] == b":":
            pseudo[name] = value
        elif name == b"grpc-timeout":
            timeout = timeout_of(value)
        elif name == b"grpc-encoding":
            encoding = value
        elif name == b"content-type" and not value.startswith(b"application/grpc"):
            raise Refusal(415, "content-type: application/grpc is wanted")
        elif name not in _OURS and not name.endswith(b"-bin"):
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                raise Refusal(400, f"metadata {name[:80].decode('latin-1')!r} holds what a header may not")
            found[name] = found[name] + b", " + value if name in found else value
    if pseudo.get(b":method") != b"POST":
        raise Refusal(405, "gRPC is asked with POST")
    return Head(pseudo.get(b":path", b""), found, timeout, encoding)


def lines_of(lines: bytes) -> Headers:
    """Header lines, as answers of the steps have them, as metadata."""
    pairs = (line.partition(b": ") for line in lines.split(b"\r\n") if line)
    return [(name, value) for name, _, value in pairs]


@lru_cache(maxsize=4096)
def target_of(ask: Ask, name: str, version: str) -> tuple[Call, bytes]:
    """The call of the steps, and the URL that the access log and the counters know it by."""
    suffix = _SUFFIX.get(ask, "")
    path = f"/v2/models/{quote(name, safe='')}" + (f"/versions/{quote(version, safe='')}" if version else "") + suffix
    return Call(ask, name, version or None, suffix.encode()), path.encode()
