"""What answers for a revision that nobody can reach: another revision, or numbers set beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import orjson

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.router.message import Refusal
from gyre_serving.router.tensors import parse

if TYPE_CHECKING:
    from gyre_serving.router.service import Revision


@dataclass(frozen=True, slots=True)
class Fallback:
    """A service's rule, compiled."""

    revisions: "tuple[Revision, ...]"
    """Asked in this order."""
    static: Mapping[str, float]
    """Output to the number that fills it."""


def static_answer(
    values: Mapping[str, float], service: str, signature: Signature | None, body: list[bytes]
) -> bytes | None:
    """A V2 answer to a V2 JSON request, each row filled with the numbers.

    Args:
        values: output to number; outputs that are missing here or hold text are left out.
        service: the model's name in the answer.
        signature: gives the outputs' types and shapes; free dimensions behind the batch become 1.
        body: the request.

    Returns:
        None where nothing can be filled: no signature, no numeric output of these names, no JSON body.
    """
    rows = _rows(body)
    if signature is None or rows is None:
        return None
    known = [one for one in signature.outputs if one.name in values and one.datatype != "BYTES"]
    if not known:
        return None
    outputs = [_filled(one, values[one.name], rows) for one in known]
    return orjson.dumps({"model_name": service, "outputs": outputs})


def _filled(tensor: Tensor, value: float, rows: int) -> dict[str, Any]:
    shape = [rows, *(max(size, 1) for size in tensor.shape[1:])]
    if tensor.datatype == "BOOL":
        one: float = bool(value)
    else:
        one = value if tensor.datatype.startswith(("FP", "BF")) else round(value)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": [one] * prod(shape)}


def _rows(body: list[bytes]) -> int | None:
    """Rows of the request's first input; None for what is no V2 JSON."""
    text = b"".join(body)
    try:
        rows = parse(text).document["inputs"][0]["shape"][0]
    except (Refusal, KeyError, IndexError, TypeError):
        return None
    # A row takes a byte at least: a shape that says more would only make the router fill its memory.
    return rows if isinstance(rows, int) and 0 <= rows <= len(text) else None
