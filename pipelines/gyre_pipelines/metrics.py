"""How good predictions are: whole-set metrics, and losses row by row where a metric is their mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_pipelines.tables import spelled

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]
HIGHER_IS_BETTER = frozenset({"accuracy", "auc", "f1"})
_EPSILON = 1e-15
_BINARY = 2


@dataclass(frozen=True)
class Answers:
    """Truth and predictions of the same rows.

    `truth` and `labels` in one spelling; `scores` is (rows, classes) in the order of `classes`, or empty.
    """

    truth: Texts
    labels: Texts
    scores: Floats
    classes: list[str]

    def taken(self, rows: NDArray[np.int64]) -> "Answers":
        """The same answers for these rows."""
        return Answers(
            self.truth[rows],
            self.labels[rows],
            self.scores[rows] if len(self.scores) else self.scores,
            self.classes,
        )


def answers(
    truth: Sequence[Any], labels: Sequence[Any], scores: Sequence[Sequence[float]], classes: Sequence[Any]
) -> Answers:
    """Bring whatever types files and models gave into one spelling."""
    return Answers(
        np.array([spelled(value) or "" for value in truth], dtype=np.str_),
        np.array([spelled(value) or "" for value in labels], dtype=np.str_),
        np.asarray(scores, dtype=np.float64).reshape(len(scores), -1) if scores else np.zeros((0, 0)),
        [spelled(value) or "" for value in classes],
    )


def accuracy(given: Answers) -> float:
    """Share of right labels."""
    return float(np.mean(right(given)))


def log_loss(given: Answers) -> float:
    """Mean of minus the logarithm of the true class's score."""
    return float(np.mean(surprise(given)))


def brier(given: Answers) -> float:
    """Mean squared distance of the scores from the truth: of the positive class with two classes, else of all."""
    return float(np.mean(distances(given)))


def rmse(given: Answers) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(np.mean(_errors(given) ** 2)))


def mae(given: Answers) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(_errors(given))))


def f1(given: Answers) -> float:
    """Of the positive class with two classes, else the mean over classes."""
    binary = len(given.classes) == _BINARY
    names = [given.classes[1]] if binary else sorted({*given.truth.tolist(), *given.labels.tolist()})
    return float(np.mean([_f1(given, name) for name in names]))


def auc(given: Answers) -> float:
    """Area under the ROC curve of the positive class; with several classes the mean of one against the rest."""
    indices = [1] if len(given.classes) == _BINARY else range(len(given.classes))
    areas = [_auc(given.truth == given.classes[index], given.scores[:, index]) for index in indices]
    known = [area for area in areas if area == area]  # noqa: PLR0124  NaN: a class that no row has
    return float(np.mean(known)) if known else float("nan")


METRICS: dict[str, Callable[[Answers], float]] = {
    "accuracy": accuracy,
    "logLoss": log_loss,
    "auc": auc,
    "f1": f1,
    "brier": brier,
    "rmse": rmse,
    "mae": mae,
}
NEED_SCORES = frozenset({"logLoss", "auc", "brier"})
"""Metrics of scores, not of labels."""


def fitting(given: Answers, *, classification: bool) -> dict[str, float]:
    """Every metric that these answers allow."""
    names = ["accuracy", "f1", "logLoss", "auc", "brier"] if classification else ["rmse", "mae"]
    usable = [name for name in names if name not in NEED_SCORES or has_scores(given)]
    found = {name: METRICS[name](given) for name in usable} if len(given.truth) else {}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def has_scores(given: Answers) -> bool:
    """Whether class scores with known classes are there."""
    return len(given.classes) > 1 and given.scores.shape == (len(given.truth), len(given.classes))


def right(given: Answers) -> Floats:
    """1 where the label is right."""
    return np.asarray(given.truth == given.labels, dtype=np.float64)


def distances(given: Answers) -> Floats:
    """Squared distance of each row's scores from the truth, between 0 and 1 with two classes, else 0 and 2.

    A class the model does not know counts as score 0.
    """
    truth = np.asarray([given.truth == name for name in given.classes], dtype=np.float64).T
    squares, unknown = (given.scores - truth) ** 2, ~truth.any(axis=1)
    if len(given.classes) == _BINARY:
        return np.where(unknown, 1.0, squares[:, 1])
    return np.asarray(squares.sum(axis=1) + unknown)


def surprise(given: Answers) -> Floats:
    """Minus the logarithm of the true class's score; a class the model does not know counts as score 0."""
    scores = np.zeros(len(given.truth))
    for index, name in enumerate(given.classes):
        known = given.truth == name
        scores[known] = given.scores[known, index]
    return np.asarray(-np.log(np.clip(scores, _EPSILON, 1.0)), dtype=np.float64)


def _errors(given: Answers) -> Floats:
    return given.truth.astype(np.float64) - given.labels.astype(np.float64)


def absolute_errors(given: Answers) -> Floats:
    """Absolute error of each row."""
    return np.abs(_errors(given))


def _f1(given: Answers, name: str) -> float:
    truth, labels = given.truth == name, given.labels == name
    hits = float(np.sum(truth & labels))
    total = float(np.sum(truth) + np.sum(labels))
    return 2 * hits / total if total else 0.0


def _auc(positive: NDArray[np.bool_], score: Floats) -> float:
    """The share of pairs in right order, ties counted half."""
    count = int(positive.sum())
    rest = len(positive) - count
    if not count or not rest:
        return float("nan")
    _, inverse, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * rest))
