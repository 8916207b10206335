"""From the body that came to the body that is sent: checked, keys taken out, null made NaN."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.checks import Checker
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.tensors import Parsed, dumps, encode, parse, take_keys
from gyre_serving.router.v1 import to_v2

_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
_HITS = 100
_SHORT = 2048
"""Bytes of a body that are searched faster than they are thought about."""


class Prepared(NamedTuple):
    """What is sent and what is known of it."""

    body: list[bytes]
    keys: list[str | None] | None = None
    problem: str | None = None
    """What does not fit the signature."""
    loggable: bytes | None = None
    """The request as JSON for the payload log; None for bodies that pass unparsed."""
    tensors: Sequence[bytes] = ()
    """Binary tensors that belong to it."""
    headers: Mapping[bytes, bytes] = _NO_HEADERS
    """In which form the body is, where the request's own do not say it."""


def mentions(body: bytes, word: bytes) -> bool:
    """Whether the body holds the word.

    Bodies are mostly digits: looking for the word's last letter goes at the speed of memory, and is
    given up where a text has many of them.
    """
    if len(body) < _SHORT:
        return word in body
    last = word[-1:]
    position = body.find(last)
    for _ in range(_HITS):
        if position < 0:
            return False
        if body.endswith(word, 0, position + 1):
            return True
        position = body.find(last, position + 1)
    return position >= 0 and body.find(word, max(0, position - len(word))) >= 0


def prepare(request: Request, checker: Checker | None) -> Prepared:
    """A V2 body. Binary tensors and encoded bodies pass untouched.

    Raises:
        Refusal: 400 when it should be JSON and is not, and a signature is to be checked.
    """
    headers = request.headers
    if b"inference-header-content-length" in headers or b"content-encoding" in headers:
        return Prepared(request.body)
    body = request.content()
    if checker.fits(body) if checker is not None else not (mentions(body, b"null") or mentions(body, b"keys")):
        return Prepared([body], loggable=body)
    try:
        parsed = parse(body)
    except Refusal:
        if checker is None:
            return Prepared([body])
        raise
    return _finished(parsed, body, checker, changed=False)


def prepare_v1(body: bytes, signature: Signature | None, checker: Checker | None) -> Prepared:
    """The V2 body of a V1 request.

    Raises:
        Refusal: when the request cannot be translated.
    """
    parsed = parse(body)
    keys, _ = take_keys(parsed.document)
    document = to_v2(parsed.document, signature)
    prepared = _finished(Parsed(document, parsed.exact), dumps(document), checker, changed=True)
    return prepared._replace(keys=keys)


def _finished(parsed: Parsed, body: bytes, checker: Checker | None, *, changed: bool) -> Prepared:
    keys, taken = take_keys(parsed.document)
    problem = checker.problem(parsed.document) if checker is not None else None
    if taken or changed or mentions(body, b"null"):
        sent = encode(parsed) if isinstance(parsed.document, dict) else body
        return Prepared([sent], keys=keys, problem=problem, loggable=body)
    return Prepared([body], keys=keys, problem=problem, loggable=body)
