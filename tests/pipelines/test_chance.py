"""How often chance alone passes a gate, and a real gain."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gyre_pipelines.gates.paired import gain
from gyre_pipelines.metrics import Answers, answers, distances


def said(generator: np.random.Generator, truth: np.ndarray[Any, Any], right: float) -> Answers:
    """Answers that are right with this chance."""
    labels = np.where(generator.random(len(truth)) < right, truth, 1 - truth)
    score = np.clip(0.5 + (labels - 0.5) * generator.uniform(0.2, 1.0, len(truth)), 0.01, 0.99)
    return answers(truth.tolist(), labels.tolist(), np.column_stack([1 - score, score]).tolist(), [0, 1])


@pytest.mark.parametrize(
    ("classes", "scores", "squares"),
    [
        pytest.param([0, 1], [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0.01, 0.81, 1.0], id="two classes"),
        pytest.param(
            [0, 1, 3], [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.9, 0.1, 0.0]], [0.02, 1.62, 1.82], id="three classes"
        ),
    ],
)
def test_brier_of_a_class_that_the_model_does_not_know(
    classes: list[int], scores: list[list[float]], squares: list[float]
) -> None:
    """Such a row is as wrong as can be: with two classes it counted as one of the first, mostly as right."""
    given = answers([0, 1, 2], [0, 0, 0], scores, classes)
    assert distances(given) == pytest.approx(squares)


@pytest.mark.parametrize(("metric", "runs"), [("accuracy", 1000), ("logLoss", 1000), ("brier", 1000), ("auc", 20)])
def test_chance_alone_rarely_passes(metric: str, runs: int) -> None:
    """Of candidates exactly as good as the champion about one in twenty has a lower bound above zero, not more."""
    generator = np.random.default_rng(7)
    passed = 0
    for _ in range(runs):
        truth = generator.integers(0, 2, 300)
        passed += gain(metric, said(generator, truth, 0.8), said(generator, truth, 0.8)).lower > 0
    assert passed / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_real_gain_is_found() -> None:
    """Three points of accuracy on 2,000 paired rows of which the two share most errors: found in most runs."""
    generator = np.random.default_rng(8)
    found = 0
    for _ in range(200):
        truth = generator.integers(0, 2, 2000)
        champion = said(generator, truth, 0.78)
        better = champion.labels.astype(int)
        repaired = (better != truth) & (generator.random(2000) < 0.15)
        candidate = replace(champion, labels=np.where(repaired, truth, better).astype(str))
        found += gain("accuracy", candidate, champion).lower > 0
    assert found / 200 > 0.95
