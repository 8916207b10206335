"""How an answer of the steps, which speak HTTP, is told over gRPC."""

from typing import Final

from gyre_serving.router.message import Refusal

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 7, 8, 12, 13, 14, 16

_STATUS: Final = {
    400: INVALID_ARGUMENT, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 404: NOT_FOUND, 405: UNIMPLEMENTED,
    408: DEADLINE_EXCEEDED, 411: INVALID_ARGUMENT, 413: RESOURCE_EXHAUSTED, 415: INVALID_ARGUMENT,
    422: INVALID_ARGUMENT, 429: RESOURCE_EXHAUSTED, 431: RESOURCE_EXHAUSTED, 499: CANCELLED, 501: UNIMPLEMENTED,
    502: UNAVAILABLE, 503: UNAVAILABLE, 504: DEADLINE_EXCEEDED,
}  # fmt: skip
_LONGEST = 1300
"""Bytes of a sentence: gRPC clients take heads of 8 kB, and an encoded byte may take three."""
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_DIGITS = 8
_FIRST, _LAST, _PERCENT = b" ~%"


def status_of(http: int) -> int:
    """The gRPC status of an HTTP status."""
    if http == 200:  # noqa: PLR2004  the one good answer
        return OK
    return _STATUS.get(http, INTERNAL if http >= 500 else UNKNOWN)  # noqa: PLR2004  a server's fault


def message_of(sentence: str) -> bytes:
    """The sentence as header `grpc-message` holds it: percent-encoded UTF-8."""
    text = sentence.encode("utf-8", "backslashreplace")[:_LONGEST]
    return b"".join(b"%c" % one if _FIRST <= one <= _LAST and one != _PERCENT else b"%%%02X" % one for one in text)


def timeout_of(value: bytes) -> float:
    """Seconds of header `grpc-timeout`.

    Raises:
        Refusal: 400 when it is none.
    """
    digits, unit = value[:-1], value[-1:]
    if unit not in _UNITS or not digits.isdigit() or len(digits) > _DIGITS:
        raise Refusal(400, "header grpc-timeout: give at most eight digits and one of H, M, S, m, u, n")
    return int(digits) * _UNITS[unit]
