"""Request ids, the signed ids that labels come back with, and who is sampled."""

import hmac
import os
import random
import re
from hashlib import blake2b, shake_128
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gyre_crds.contracts.routing import REQUEST_ID
from gyre_serving.router.message import Refusal

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_random = random.Random(os.urandom(32))  # noqa: S311  see new_id
_MAC_BYTES = 12
_SCALE = 2.0**-64
_MAX_ROW = 2**31


def new_id() -> str:
    """A fresh request id, 32 hex digits."""
    # Unique is enough: what must not be guessed is signed. It saves a system call a request.
    return f"{_random.getrandbits(128):032x}"


def given_id(value: bytes) -> str:
    """The request id that a client sent.

    Raises:
        Refusal: 400 when it cannot be stored and sent back safely.
    """
    text = value.decode("latin-1")
    if not _ID.fullmatch(text):
        raise Refusal(400, f"header {REQUEST_ID}: use 1 to 128 of the characters A-Z a-z 0-9 . _ : / + = @ -")
    return text


def sampled(request_id: str, share: float) -> bool:
    """Whether the request is of the sample: the same id always is, or never is."""
    if share >= 1.0:
        return True
    draw = blake2b(request_id.encode(), digest_size=8, person=b"gyre-sample").digest()
    return int.from_bytes(draw, "big") * _SCALE < share


def for_labelling(request_id: str, rows: int, share: float) -> npt.NDArray[np.bool_]:
    """Whether each row is picked for human labelling: independent of what is logged, and the same whoever asks.

    One stream of draws serves all rows: a hash for each row cost more than writing the part.
    """
    if share <= 0:
        return np.zeros(rows, np.bool_)
    draws = np.frombuffer(shake_128(b"gyre-label\0" + request_id.encode()).digest(4 * rows), np.uint32)
    return draws < share * 2.0**32


class Issued(NamedTuple):
    """What a genuine feedback id names: one row of one answered request."""

    service: str
    request_id: str
    row: int


class Signer:
    """Issues and checks feedback ids `<service>~<row base>~<mac>~<request id>`: no lookup, no memory."""

    def __init__(self, key: str, namespace: str) -> None:
        self._seed = blake2b(
            namespace.encode(),
            key=blake2b(key.encode()).digest(),
            digest_size=_MAC_BYTES,
            person=b"gyre-feedback",
        )

    def issue(self, service: str, request_id: str, base: int = 0) -> str:
        """The id of a request's rows from `base` on."""
        return f"{service}~{base}~{self._mac(service, request_id, base)}~{request_id}"

    def verify(self, text: str) -> Issued | None:
        """What the id names, `#<row>` counted from its base; None when it was not issued here."""
        issued, _, row = text.partition("#")
        parts = issued.split("~", 3)
        if len(parts) != 4 or not _is_row(parts[1]) or not (row == "" or _is_row(row)):  # noqa: PLR2004  four parts
            return None
        service, base, mac, request_id = parts
        if not hmac.compare_digest(mac.encode(), self._mac(service, request_id, int(base)).encode()):
            return None
        return Issued(service, request_id, int(base) + int(row or 0))

    def _mac(self, service: str, request_id: str, base: int) -> str:
        digest = self._seed.copy()
        digest.update(f"\0{service}\0{base}\0{request_id}".encode())
        return digest.hexdigest()


def _is_row(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11 and int(text) < _MAX_ROW  # noqa: PLR2004  int32
