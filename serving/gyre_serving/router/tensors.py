"""Request bodies of the V2 protocol: parsed once, checked, and rewritten only where they must be.

A missing value is `null` in JSON and NaN in a tensor. Model servers differ in what they make of a
null (Triton fails the request), so a null in a floating-point input leaves the router as NaN.
"""

import json
from typing import Any, NamedTuple

import orjson

from gyre_serving.router.message import Refusal


class Parsed(NamedTuple):
    """A JSON body. `exact` is False when it holds literals (NaN, Infinity) that only Python's json writes."""

    document: Any
    exact: bool


def parse(body: bytes) -> Parsed:
    """A JSON body; NaN and Infinity are taken, as most servers take them.

    Raises:
        Refusal: 400 with the place where it stops being JSON.
    """
    try:
        return Parsed(orjson.loads(body), exact=True)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise Refusal(400, f"the body is no JSON: {error}") from error
    try:
        return Parsed(json.loads(body), exact=False)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}") from error


def take_keys(document: Any) -> tuple[list[str | None] | None, bool]:
    """Take the rows' business keys out of `parameters.keys`, which model servers do not know.

    Returns:
        the keys as strings, one a row, and whether the document was changed.

    Raises:
        Refusal: 400 when `keys` is no flat list.
    """
    parameters = document.get("parameters") if isinstance(document, dict) else None
    if not isinstance(parameters, dict) or "keys" not in parameters:
        return None, False
    keys = parameters["keys"]
    if not isinstance(keys, list) or any(isinstance(key, (dict, list)) for key in keys):
        raise Refusal(400, "parameters.keys: give a list with one key a row")
    del parameters["keys"]
    if not parameters:
        del document["parameters"]
    return [None if key is None else str(key) for key in keys], True


def encode(parsed: Parsed) -> bytes:
    """The body again, with null as NaN in floating-point inputs.

    Raises:
        Refusal: 400 when it holds what JSON writers refuse.
    """
    document = dict(parsed.document)
    inputs = document.get("inputs")
    if isinstance(inputs, list):
        document["inputs"] = [_encode_input(one, exact=parsed.exact) for one in inputs]
    return dumps(document)


def dumps(document: Any) -> bytes:
    """Compact JSON.

    Raises:
        Refusal: 400 for nesting beyond 250 levels, numbers beyond 64 bits and broken Unicode.
    """
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise Refusal(400, f"the body cannot be passed on: {error}") from error


def _encode_input(given: Any, *, exact: bool) -> Any:
    if not isinstance(given, dict) or "data" not in given or not str(given.get("datatype", "")).startswith("FP"):
        return given
    # Lists of numbers hold no string, so the word null stands for nothing but a missing value in them.
    data = dumps(given["data"]) if exact else json.dumps(given["data"]).encode()
    return {**given, "data": orjson.Fragment(data.replace(b"null", b"NaN"))}
