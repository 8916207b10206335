"""A request for predictions in the two forms that model servers take: JSON, and JSON followed by binary tensors.

A tensor that came raw goes on as it came, where the server takes binary ones: no number of it is looked at.
"""

import contextlib
import json
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np
import orjson

from gyre_serving.golden.tensors import DTYPES
from gyre_serving.router.checks import Checker
from gyre_serving.router.message import Refusal
from gyre_serving.router.prepare import Prepared
from gyre_serving.router.tensors import take_keys
from gyre_serving.server.wire import Array, count_of, from_binary, to_binary

RAW_ONLY = frozenset({"FP16", "BF16"})
"""Datatypes without typed contents, and without a place in the JSON of some model servers."""
HEADER_LENGTH = b"inference-header-content-length"
Values = bytes | list[Any]
"""What came raw, or the values of typed contents."""
Input = tuple[dict[str, Any], Values]
"""An input without its data, and these."""


class Forms:
    """One request.

    Args:
        document: the V2 document without its inputs.
        inputs: checked: what came raw fills the shape that it names.
    """

    __slots__ = ("_document", "_inputs", "raw")

    def __init__(self, document: dict[str, Any], inputs: list[Input]) -> None:
        self._document = document
        self._inputs = inputs
        self.raw = any(isinstance(values, bytes) for _, values in inputs)
        """Whether tensors came raw: they are wanted back so."""

    def json(self) -> bytes | None:
        """As JSON; None where it holds what JSON does not (FP16, BF16, BYTES that are no UTF-8).

        Raises:
            Refusal: 400 when it cannot be written so.
        """
        if any(head["datatype"] in RAW_ONLY for head, _ in self._inputs):
            return None
        with _told(), contextlib.suppress(UnicodeDecodeError):
            inputs = [{**head, "data": _data(head, values)} for head, values in self._inputs]
            return orjson.dumps({**self._document, "inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        return None

    def binary(self, checker: Checker | None = None) -> Prepared:
        """As JSON and binary tensors, which are to be answered so; looked at by the checker first.

        Raises:
            Refusal: 400 when the rows' keys are no list, or it cannot be written so.
        """
        document = {**self._document, "parameters": self._document.get("parameters", {}) | {"binary_data_output": True}}
        keys, _ = take_keys(document)
        problem = checker.problem(self._described(checker), values=False) if checker is not None else None
        blobs: list[bytes] = []
        document["inputs"] = []
        for head, values in self._inputs:
            with _told():
                blobs.append(values if isinstance(values, bytes) else _packed(values, head))
            size = {"binary_data_size": len(blobs[-1])}
            document["inputs"].append({**head, "parameters": head.get("parameters", {}) | size})
        text = orjson.dumps(document)
        headers = {HEADER_LENGTH: b"%d" % len(text), b"content-type": b"application/octet-stream"}
        return Prepared([text, *blobs], keys, problem, text, blobs, headers)

    def _described(self, checker: Checker) -> dict[str, Any]:
        """What there is to check: types and shapes, for the data fill these, and texts where only some may stand."""
        return {
            "inputs": [
                {**head, "data": [one.decode(errors="replace") for one in _texts(head, values)]}
                if head["datatype"] == "BYTES" and checker.knows(head["name"])
                else head
                for head, values in self._inputs
            ]
        }


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say what of a request cannot be passed on: nesting of 250 levels, shapes and numbers beyond their types."""
    try:
        yield
    except (orjson.JSONEncodeError, ValueError, OverflowError) as error:
        raise Refusal(400, f"the request cannot be passed on: {error}") from error


def _data(head: dict[str, Any], values: Values) -> Any:
    """What orjson writes as flat data; missing numbers become null."""
    if head["datatype"] == "BYTES":
        return [one.decode() for one in _texts(head, values)]
    if isinstance(values, list):
        return _finite(values)
    flat = from_binary(memoryview(values), head["datatype"], head["shape"]).ravel()
    return _finite(flat) if flat.dtype.kind == "f" else flat


def _texts(head: dict[str, Any], values: Values) -> Any:
    if isinstance(values, list):
        return values
    return from_binary(memoryview(values), "BYTES", head["shape"]).ravel()


def _finite(values: Array | list[Any]) -> Any:
    """The same, written by Python where it holds an infinity: orjson would make it null, a missing value."""
    if inf not in values and -inf not in values:
        return values
    return orjson.Fragment(json.dumps(values if isinstance(values, list) else values.tolist()))


def _packed(values: list[Any], head: dict[str, Any]) -> bytes:
    datatype, shape = head["datatype"], head["shape"]
    if len(values) != (wanted := count_of(shape)):
        raise ValueError(f"input {head['name']!r:.80}: shape {shape} means {wanted} values, got {len(values)}")
    return to_binary(np.array(values, dtype=DTYPES[datatype]), datatype)
