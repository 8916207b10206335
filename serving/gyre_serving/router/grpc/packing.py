"""Compressed messages: inflated as far as a service takes bytes, and no further."""

import zlib

from gyre_serving.router.message import Refusal

ENCODINGS = b"identity,gzip"
"""As header `grpc-accept-encoding` names them."""
_GZIP = 31
"""zlib's `wbits` of the gzip format with the largest window."""


def check(encoding: bytes) -> None:
    """See whether a message that says it is compressed can be read.

    Raises:
        Refusal: 501 with the encodings that are taken.
    """
    if encoding != b"gzip":
        known = ENCODINGS.decode().replace(",", " or ")
        raise Refusal(501, f"grpc-encoding {encoding[:40].decode('latin-1')!r} is not taken: send {known}")


def beginning(data: bytes, size: int) -> bytes:
    """The first bytes of a message, as far as the first ones of its compressed form tell them.

    Raises:
        Refusal: 400 when it is no gzip.
    """
    return _inflated(zlib.decompressobj(_GZIP), data, size)


def inflate(data: memoryview, most: int) -> bytes:
    """A message.

    Raises:
        Refusal: 413 when it has more bytes than `most`, of which no more than one is made; 400 when it is no gzip.
    """
    reader = zlib.decompressobj(_GZIP)
    found = _inflated(reader, data, most + 1)
    if len(found) > most:
        raise Refusal(413, f"the message is larger than the {most} bytes that this service takes, once it is inflated")
    if not reader.eof or reader.unused_data:
        raise Refusal(400, "the message is not one whole gzip stream")
    return found


def _inflated(reader: "zlib._Decompress", data: bytes | memoryview, most: int) -> bytes:
    try:
        return reader.decompress(data, most)
    except zlib.error as error:
        raise Refusal(400, f"the message is no gzip: {error}") from error
