"""V2 JSON documents of many rows, cut into requests and put together again from their answers. Pure."""

import json
from math import prod
from typing import Any

import orjson

from gyre_serving.router.message import Refusal
from gyre_serving.router.tensors import Parsed, dumps, encode, parse
from gyre_serving.server.wire import MOST_SIZES

MOST_VALUES = 2_000_000
"""Values in the answer of one call: about 50 bytes each while it is put together."""


class Rows:
    """A request of many rows.

    Raises:
        Refusal: 400 naming the input whose rows cannot be told apart.
    """

    def __init__(self, body: bytes) -> None:
        document, self._exact = parse(body)
        inputs = document.get("inputs") if isinstance(document, dict) else None
        if not isinstance(inputs, list) or not inputs:
            raise Refusal(400, '"inputs": give a list with one tensor or more')
        self.document: dict[str, Any] = document
        self._inputs = [_Tensor(one, "input") for one in inputs]
        self.count = self._inputs[0].rows
        odd = next((one for one in self._inputs if one.rows != self.count), None)
        if odd is not None:
            raise Refusal(
                400, f"input {odd.name!r} has {odd.rows} rows, the first input {self.count}; give all the same"
            )
        self._keys = self._own_keys()

    def _own_keys(self) -> list[Any] | None:
        parameters = self.document.get("parameters")
        keys = parameters.get("keys") if isinstance(parameters, dict) else None
        if keys is not None and (not isinstance(keys, list) or len(keys) != self.count):
            raise Refusal(400, f"parameters.keys: give a list with one key a row, {self.count} in all")
        return keys

    def cut(self, first: int, rows: int) -> dict[str, Any]:
        """The request with `rows` rows from `first` on, without the id of the whole."""
        made = {name: value for name, value in self.document.items() if name not in ("id", "inputs")}
        made["inputs"] = [one.cut(first, rows) for one in self._inputs]
        if self._keys is not None:
            made["parameters"] = {**made["parameters"], "keys": self._keys[first : first + rows]}
        return made

    def body(self, first: int, rows: int) -> bytes:
        """The same as JSON, with NaN and Infinity as they came.

        Raises:
            Refusal: 400 when it holds what JSON writers refuse.
        """
        made = self.cut(first, rows)
        return dumps(made) if self._exact else encode(Parsed(made, exact=False))


class _Tensor:
    """A tensor whose first dimension is rows; its data is flat, or a list of rows."""

    def __init__(self, given: Any, role: str) -> None:
        name = given.get("name") if isinstance(given, dict) else None
        if not isinstance(name, str):
            raise Refusal(400, f"{role}s: each needs a name")
        self.name = name
        shape, data = given.get("shape"), given.get("data")
        if not isinstance(data, list):
            raise Refusal(400, f"{role} {self.name!r:.80}: give its data as a list; a batch is JSON")
        if not isinstance(shape, list) or not shape or not all(type(size) is int and size >= 0 for size in shape):
            raise Refusal(400, f"{role} {self.name!r:.80}: give a shape whose first size is the rows")
        if len(shape) > MOST_SIZES:
            raise Refusal(400, f"{role} {self.name!r:.80}: shape: at most {MOST_SIZES} sizes are taken")
        self.given = given
        self.rows, self.inner = shape[0], shape[1:]
        self.width = prod(self.inner)
        self.data = data
        self.nested = bool(data) and isinstance(data[0], list)
        if len(data) != (self.rows if self.nested else self.rows * self.width):
            raise Refusal(400, f"{role} {self.name!r:.80}: shape {shape!r:.80} does not fit its {len(data)} values")

    def cut(self, first: int, rows: int) -> dict[str, Any]:
        """The tensor with some of its rows."""
        width = 1 if self.nested else self.width
        data = self.data[first * width : (first + rows) * width]
        return {**self.given, "shape": [rows, *self.inner], "data": data}

    def flat(self) -> list[Any]:
        """All values, row by row."""
        values = self.data
        while any(isinstance(value, list) for value in values):
            if not all(isinstance(value, list) for value in values):
                raise Refusal(502, f"output {self.name!r:.80} has ragged data")
            values = [value for row in values for value in row]
        if len(values) != self.rows * self.width:
            raise Refusal(502, f"output {self.name!r:.80} does not fill its shape")
        return values


class Answers:
    """Answers of parts, put together in the order of their rows; rows without an answer are null."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._heads: list[dict[str, Any]] = []
        self._values: dict[str, list[Any]] = {}
        self._exact = True
        self.head: dict[str, Any] = {}
        """What the first answer says beside its outputs."""

    def add(self, first: int, rows: int, body: bytes) -> None:
        """Take the answer of `rows` rows from `first` on.

        Raises:
            Refusal: 502 where it is no V2 answer of so many rows, or unlike those before; 413 where all rows
                together would have more than `MOST_VALUES` values.
        """
        answer = _parsed(body)
        outputs = [_Tensor(one, "output") for one in answer.document["outputs"]]
        if any(one.rows != rows for one in outputs):
            raise Refusal(502, f"the model gave {outputs[0].rows} rows for {rows}; ask for such a model with /infer")
        if self._rows * sum(one.width for one in outputs) > MOST_VALUES:
            raise Refusal(413, f"{self._rows} rows have answers of more than {MOST_VALUES} values; ask about fewer")
        flat = [one.flat() for one in outputs]
        heads = [{**one.given, "shape": [self._rows, *one.inner]} for one in outputs]
        for head in heads:
            head.pop("data")
        if not self._heads:
            self._heads = heads
            self._values = {one.name: [None] * (self._rows * one.width) for one in outputs}
            self.head = {name: value for name, value in answer.document.items() if name not in ("id", "outputs")}
        elif heads != self._heads:
            raise Refusal(502, "the model answers this part with outputs of another form than the parts before")
        self._exact = self._exact and answer.exact
        for one, values in zip(outputs, flat, strict=True):
            self._values[one.name][first * one.width : (first + rows) * one.width] = values

    def outputs(self) -> list[dict[str, Any]]:
        """The whole outputs, flat; as JSON already where it holds NaN or Infinity."""
        values = ((head, self._values[head["name"]]) for head in self._heads)
        return [{**head, "data": data if self._exact else orjson.Fragment(json.dumps(data))} for head, data in values]


def _parsed(body: bytes) -> Parsed:
    try:
        answer = parse(body)
        outputs = answer.document["outputs"]
    except (Refusal, KeyError, TypeError) as error:
        raise Refusal(502, "the model's answer is no V2 document") from error
    if not isinstance(outputs, list) or not outputs:
        raise Refusal(502, "the model's answer has no outputs")
    return answer
