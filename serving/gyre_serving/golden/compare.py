"""Answers beside the recorded predictions: labels equal, scores within the tolerance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.contracts.golden import GoldenRows
from gyre_crds.v1alpha1.version import Prediction, Signature

Array = NDArray[Any]


@dataclass(frozen=True)
class Mismatch:
    """The first row that came out wrong."""

    row: int
    """Index of the row, from 0; -1 where the whole answer has the wrong form."""
    message: str
    """The sentence with the numbers."""


def compare(signature: Signature, golden: GoldenRows, outputs: Mapping[str, Array]) -> Mismatch | None:
    """The first difference between the answer and what training recorded; None when all rows match.

    Args:
        signature: says which output is the prediction and which holds the scores.
        golden: the rows with the native model's predictions.
        outputs: answered tensors by name, rows along the first dimension.
    """
    wanted = signature.prediction or _guess(signature)
    absent = [name for name in (wanted.output, wanted.score) if name is not None and name not in outputs]
    if absent:
        return Mismatch(-1, f"the answer holds no output {absent[0]}, only {', '.join(outputs)}")
    return _labels(wanted, golden, outputs[wanted.output]) or _scores(wanted, golden, outputs)


def _guess(signature: Signature) -> Prediction:
    first = signature.outputs[0]
    real = first.datatype in {"FP16", "FP32", "FP64"}
    return Prediction(output=first.name, task="Regression" if real else "Classification")


def _labels(wanted: Prediction, golden: GoldenRows, answered: Array) -> Mismatch | None:
    recorded = golden.predictions.labels
    found = [_plain(value) for value in answered.reshape(-1)]
    if len(found) != len(recorded):
        return Mismatch(-1, f"output {wanted.output} holds {len(found)} values for {len(recorded)} golden rows")
    for row, (new, old) in enumerate(zip(found, recorded, strict=True)):
        if not _same(wanted, new, old, golden.tolerance):
            return Mismatch(row, f"golden row {row}: {wanted.output} is {new}, at training it was {old}")
    return None


def _same(wanted: Prediction, new: Any, old: Any, tolerance: float) -> bool:
    if wanted.task == "Regression":
        # A price of 300,000 in float32 is 0.03 off by its type alone: beyond 1 the tolerance is relative.
        return bool(abs(float(new) - float(old)) <= tolerance * max(1.0, abs(float(old))))
    return bool(new == old or str(new) == str(old))


def _scores(wanted: Prediction, golden: GoldenRows, outputs: Mapping[str, Array]) -> Mismatch | None:
    recorded = golden.predictions.scores
    if wanted.score is None or not recorded:
        return None
    old = _recorded(recorded, outputs[wanted.score], wanted)
    new = outputs[wanted.score].astype(np.float64)
    if new.shape != old.shape:
        return Mismatch(-1, f"output {wanted.score} has shape {list(new.shape)}, at training {list(old.shape)}")
    difference = np.abs(new - old).reshape(len(recorded), -1).max(axis=1)
    wrong = ~(difference <= golden.tolerance)  # NaN is never within
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return Mismatch(
        row,
        f"golden row {row}: {wanted.score} differs by {difference[row]:.3g}, allowed is {golden.tolerance:.3g}; "
        f"{int(wrong.sum())} of {len(recorded)} rows differ, at most by {np.nanmax(difference):.3g}",
    )


def _recorded(recorded: Sequence[Sequence[float]], answered: Array, wanted: Prediction) -> Array:
    """The recorded scores in the form of the output: all classes, or the positive class alone."""
    table = np.array(recorded, dtype=np.float64)
    width = answered.size // max(1, len(recorded))
    if width == 1 and table.shape[1] > 1:
        positive = wanted.positive if wanted.positive is not None else table.shape[1] - 1
        table = table[:, positive]
        return table.reshape(answered.shape) if answered.size == table.size else table
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value
