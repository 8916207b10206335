"""From the body that came to the body that is sent: checked, keys taken out, null made NaN."""

from typing import NamedTuple

import orjson

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.checks import Checker
from gyre_serving.router.message import Refusal, Request
from gyre_serving.router.tensors import Parsed, encode, parse, take_keys
from gyre_serving.router.v1 import to_v2


class Prepared(NamedTuple):
    """What is sent and what is known of it."""

    body: list[bytes]
    keys: list[str | None] | None = None
    problem: str | None = None
    """What does not fit the signature."""
    loggable: bytes | None = None
    """The request as JSON for the payload log; None for bodies that pass unparsed."""


def prepare(request: Request, checker: Checker | None) -> Prepared:
    """A V2 body. Binary tensors and encoded bodies pass untouched.

    Raises:
        Refusal: 400 when it should be JSON and is not, and a signature is to be checked.
    """
    headers = request.headers
    if b"inference-header-content-length" in headers or b"content-encoding" in headers:
        return Prepared(request.body)
    body = request.content()
    if checker is None and b"null" not in body and b'"keys"' not in body:
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
    prepared = _finished(Parsed(document, parsed.exact), orjson.dumps(document), checker, changed=True)
    return prepared._replace(keys=keys)


def _finished(parsed: Parsed, body: bytes, checker: Checker | None, *, changed: bool) -> Prepared:
    keys, taken = take_keys(parsed.document)
    problem = checker.problem(parsed.document) if checker is not None else None
    if taken or changed or b"null" in body:
        sent = encode(parsed) if isinstance(parsed.document, dict) else body
        return Prepared([sent], keys=keys, problem=problem, loggable=body)
    return Prepared([body], keys=keys, problem=problem, loggable=body)
