"""What a token says of itself, before anybody vouches for it: enough to refuse it, never to let it in."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson


class Claims(NamedTuple):
    """Unproven claims of a JSON Web Token."""

    audiences: frozenset[str]
    expires: float
    """Seconds since 1970; infinite where it does not say."""


def claims_of(token: bytes) -> Claims | None:
    """The claims; None for what has not the form of a JSON Web Token, as all of Kubernetes' own have."""
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004  header, claims, signature
        return None
    try:
        found: Any = orjson.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    expires = found.get("exp", float("inf"))
    if not isinstance(expires, (int, float)):
        return None
    return Claims(frozenset(_texts(found.get("aud"))), float(expires))


def _texts(given: Any) -> Iterable[str]:
    listed = given if isinstance(given, list) else [given]
    return (one for one in listed if isinstance(one, str))
