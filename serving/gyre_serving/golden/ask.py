"""Ask a server the golden rows and judge its answer: the same for Triton and for the built-in server."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.contracts.golden import GoldenRows, Rows
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.golden.compare import compare
from gyre_serving.golden.tensors import from_rows, neutral
from gyre_serving.pod.failure import Failure

Array = NDArray[Any]
Infer = Callable[[Mapping[str, Array]], Awaitable[dict[str, Array]]]
"""Tensors to tensors, by name; raises Failure with the server's reason."""


async def prove(infer: Infer, version: str, signature: Signature, golden: GoldenRows | None) -> str:
    """Have the golden rows answered and compare with what training recorded.

    Args:
        infer: asks the server.
        version: ModelVersion, for the sentence.
        signature: what the version takes and gives.
        golden: rows with recorded predictions; None where the version carries none.

    Returns:
        What was proven, as a sentence.

    Raises:
        Failure: GoldenRowsDiffer naming the row, or whatever `infer` raises.
    """
    if golden is None:
        await infer(neutral(signature))
        return "the version has no golden rows; one row of zeros was answered"
    mismatch = compare(signature, golden, await _answers(infer, signature, golden.rows))
    if mismatch is not None:
        raise Failure(Inference.GOLDEN_ROWS_DIFFER, f"{version} does not answer as at training: {mismatch.message}")
    return f"{len(golden.predictions.labels)} golden rows came out as at training"


def first_row(signature: Signature, golden: GoldenRows | None) -> dict[str, Array]:
    """One row that the model can take, for a sign of life."""
    if golden is None or not golden.rows.values or not golden.rows.values[0]:
        return neutral(signature)
    return from_rows(signature, _slice(golden.rows, 0))


async def _answers(infer: Infer, signature: Signature, rows: Rows) -> dict[str, Array]:
    if all(tensor.shape[:1] == [-1] for tensor in signature.inputs):
        return await infer(from_rows(signature, rows))
    # A graph with a fixed first dimension takes one row at a time.
    count = len(rows.values[0]) if rows.values else 0
    single = [await infer(from_rows(signature, _slice(rows, row))) for row in range(count)]
    return {
        name: np.concatenate([one[name].reshape(1, -1) for one in single]) for name in (single[0] if single else ())
    }


def _slice(rows: Rows, row: int) -> Rows:
    return Rows(columns=rows.columns, values=[[column[row]] for column in rows.values])
