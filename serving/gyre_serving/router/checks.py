"""Does a V2 JSON request fit the version's signature? One sentence when it does not."""

from collections.abc import Collection, Iterator
from itertools import islice
from math import prod
from typing import Any

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.router import glance

MAX_DEPTH = 8
"""The most dimensions of a signature's tensor."""
_SHOWN = 10
"""Categories that a refusal names."""
_KINDS: dict[str, tuple[frozenset[type], str]] = {
    "FP": (frozenset({float, int, type(None)}), "numbers or null"),
    "IN": (frozenset({int}), "whole numbers"),
    "UI": (frozenset({int}), "whole numbers"),
    "BO": (frozenset({bool, int}), "true or false"),
    "BY": (frozenset({str}), "strings"),
}
"""JSON types that a datatype's first two letters take."""
_JSON_NAMES = {float: "fractions", int: "whole numbers", str: "strings", bool: "true/false", type(None): "null",
               dict: "objects", list: "ragged lists"}  # fmt: skip


class Checker:
    """A signature, compiled for checking."""

    __slots__ = ("_categories", "_inputs", "signature")

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._inputs = {tensor.name: tensor for tensor in signature.inputs}
        texts = (tensor for tensor in signature.inputs if tensor.datatype == "BYTES" and tensor.categories)
        self._categories = {tensor.name: dict.fromkeys(tensor.categories) for tensor in texts}

    def fits(self, body: bytes) -> bool:
        """Whether a glance at the unparsed body shows that nothing is wrong; False says nothing."""
        return glance.fits(body, self._inputs)

    def knows(self, name: str) -> bool:
        """Whether only some texts may stand in the input."""
        return name in self._categories

    def problem(self, document: Any, *, values: bool = True) -> str | None:
        """What is wrong with a parsed request, naming the input, what is wanted and what came.

        Args:
            document: the request.
            values: False where inputs without data are binary tensors that fill their shapes.
        """
        inputs = document.get("inputs") if isinstance(document, dict) else None
        if not isinstance(inputs, list):
            return 'the request has no list "inputs"'
        seen = set()
        for given in inputs:
            name = given.get("name") if isinstance(given, dict) else None
            tensor = self._inputs.get(name) if isinstance(name, str) else None
            if tensor is None:
                return f"input {name!r:.80} is unknown: the model takes {', '.join(self._inputs)}"
            if name in seen:
                return f"input {name!r} stands twice"
            seen.add(name)
            problem = _check(tensor, given, values=values)
            if problem is None and tensor.name in self._categories:
                problem = _check_categories(self._categories[tensor.name], given["data"])
            if problem is not None:
                return f"input {name!r}: {problem}"
        for name, tensor in self._inputs.items():
            if name not in seen:
                return f"input {name!r} is missing: the model takes {tensor.datatype} {tensor.shape}"
        return None


def _check(tensor: Tensor, given: dict[str, Any], *, values: bool) -> str | None:
    datatype, shape = given.get("datatype"), given.get("shape")
    if datatype != tensor.datatype:
        return f"datatype {tensor.datatype} is wanted, got {datatype!s:.40}"
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        return f"shape {tensor.shape} is wanted, got {shape!r:.80}"
    if not glance.fits_shape(shape, tensor.shape):
        return f"shape {tensor.shape} is wanted, got {shape!r:.80}{_columns(tensor)}"
    if "data" in given:
        return _check_data(tensor, shape, given["data"])
    return "it has no data" if values else None


def _check_data(tensor: Tensor, shape: list[int], data: Any) -> str | None:
    count, types = survey(data)
    if count != prod(shape):
        return f"shape {shape} means {prod(shape)} values, got {count}"
    allowed, words = _KINDS[tensor.datatype[:2]]
    if not types <= allowed:
        odd = ", ".join(sorted(_JSON_NAMES.get(one, one.__name__) for one in types - allowed))
        return f"{tensor.datatype} takes {words}, got {odd}"
    return None


def _check_categories(known: Collection[str], data: Any) -> str | None:
    odd = next((text for text in _texts(data) if text not in known), None)
    if odd is None:
        return None
    more = ", ..." if len(known) > _SHOWN else ""
    return f"{odd!r:.80} is none of its categories ({', '.join(islice(known, _SHOWN))}{more})"


def _texts(data: Any) -> Iterator[str]:
    """The values of flat or nested lists, in their order."""
    if not isinstance(data, list):
        yield data
        return
    for one in data:
        yield from _texts(one)


def _columns(tensor: Tensor) -> str:
    return f"; the columns are {', '.join(tensor.columns)}" if tensor.columns else ""


def survey(data: Any, depth: int = 0) -> tuple[int, set[type]]:
    """How many values flat or nested lists hold, and of which JSON types; a bare value counts as one.

    Lists below `MAX_DEPTH` are a type of their own, which no tensor takes.
    """
    if not isinstance(data, list) or depth > MAX_DEPTH:
        return 1, {type(data)}
    if not data:
        return 0, set()
    kinds = list(map(type, data))
    first = kinds[0]
    # Nearly all lists hold one type: counting it takes a quarter of what a set of all types takes.
    types = {first} if kinds.count(first) == len(kinds) else set(kinds)
    if list not in types:
        return len(data), types
    if len(types) > 1:
        return len(data), types
    count = 0
    inner: set[type] = set()
    for row in data:
        size, found = survey(row, depth + 1)
        count += size
        inner |= found
    return count, inner
