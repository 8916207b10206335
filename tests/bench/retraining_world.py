"""Worlds in batches of labelled rows, and what each version would have lost on each batch.

A logistic model of one family is trained on the newest labels at any batch; `Losses` holds what that
version loses on every batch, so that every policy and the oracle speak of the very same versions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BATCHES = 60
ROWS = 1000
FEATURES = 5
DELAY = 3
"""Batches until a label is known."""
TRAINED = 3
"""Labelled batches that train the first version."""
NEWEST, ALL = TRAINED, BATCHES
"""Newest labelled batches that a retraining takes: as many as the first training had, or all there are."""
_STRENGTH = 3.0
_RIDGE = 1.0


@dataclass(frozen=True)
class World:
    """Rows in batches, oldest first; the first `DELAY + TRAINED` trained the first version."""

    name: str
    features: list[Floats]
    """(rows, features) of each batch."""
    labels: list[Bools]
    """(rows,) of each batch."""
    chances: list[Floats] | None = None
    """(rows,) chance of a positive label, where the world is made: losses are then free of the labels' luck."""

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return len(self.labels[0])


@dataclass(frozen=True)
class Losses:
    """What versions do on batches; version `s` is the one trained at the end of batch `s`, the first is 0."""

    expected: Floats
    """(versions, batches): share of rows that are expected to be wrong."""
    wrong: list[list[Bools]]
    """wrong[version][batch]: which rows were wrong."""
    held: list[Bools]
    """Of each version, which rows held out of its own training were wrong; a fifth never trains."""
    history: int
    """Newest labelled batches that each training took, where there were so many."""


def steady(generator: np.random.Generator) -> World:
    """Nothing changes."""
    weights = _weights(generator)
    return _made("no drift", generator, lambda _: weights, lambda _: np.zeros(FEATURES))


def wandering(generator: np.random.Generator) -> World:
    """Inputs move far, and what they mean for the label stays."""
    weights = _weights(generator)
    steps = generator.normal(scale=0.15, size=(BATCHES, FEATURES))
    steps[:1] = 0.0
    means = np.cumsum(steps, axis=0)
    return _made("inputs move only", generator, lambda _: weights, lambda batch: means[batch])


def abrupt(generator: np.random.Generator) -> World:
    """Inputs stay, and at one batch their meaning changes."""
    at, before, after = int(generator.integers(15, 35)), *_two(generator)
    return _made("abrupt concept", generator, lambda b: after if b >= at else before, lambda _: np.zeros(FEATURES))


def gradual(generator: np.random.Generator) -> World:
    """Inputs stay, and over twenty-five batches their meaning changes."""
    start, before, after = int(generator.integers(12, 25)), *_two(generator)

    def weights(batch: int) -> Floats:
        part = min(max((batch - start) / 25, 0.0), 1.0)
        return (1 - part) * before + part * after

    return _made("gradual concept", generator, weights, lambda _: np.zeros(FEATURES))


def turning(generator: np.random.Generator, rows: int = ROWS) -> World:
    """Inputs stay, and their meaning changes by four degrees with every batch."""
    one, other = _two(generator)
    name = "concept turns all the time" + ("" if rows == ROWS else f", {rows} rows a batch")

    def weights(batch: int) -> Floats:
        angle = np.radians(4.0 * batch)
        found: Floats = np.cos(angle) * one + np.sin(angle) * other
        return found

    return _made(name, generator, weights, lambda _: np.zeros(FEATURES), rows=rows)


def turning_few(generator: np.random.Generator) -> World:
    """The same with few rows: what is lost can hardly be measured."""
    return turning(generator, 300)


def noisy(generator: np.random.Generator) -> World:
    """Losses that pass, with nothing to learn from them: for some days at a time labels are partly chance."""
    weights, noise = _weights(generator), np.zeros(BATCHES)
    for days in _spells(generator, 6):
        noise[days] = generator.uniform(0.2, 0.5)
    return _made("labels are noisy for days", generator, lambda _: weights, lambda _: np.zeros(FEATURES), noise=noise)


def returning(generator: np.random.Generator) -> World:
    """Losses that pass, with something to learn that soon is wrong again: for some days the meaning is another."""
    before, other = _two(generator)
    after = _STRENGTH * (before + other) / np.linalg.norm(before + other)
    changed = np.zeros(BATCHES, dtype=bool)
    for days in _spells(generator, 5):
        changed[days] = True
    return _made(
        "concept changes for days", generator, lambda b: after if changed[b] else before, lambda _: np.zeros(FEATURES)
    )


def _spells(generator: np.random.Generator, longest: int) -> list[slice]:
    """Two days and more at a time, with a week or two between them."""
    start, found = 8, []
    while start < BATCHES:
        length = int(generator.integers(2, longest))
        found.append(slice(start, start + length))
        start += length + int(generator.integers(6, 14))
    return found


WORLDS: Sequence[Callable[[np.random.Generator], World]] = (steady, wandering, abrupt, gradual)
"""Those with a bound."""
MORE_WORLDS: Sequence[Callable[[np.random.Generator], World]] = (turning, turning_few, noisy, returning)
"""What real streams do besides: never rest, or lose for a while only."""


def losses(world: World, history: int = NEWEST) -> Losses:
    """What every version would lose on every batch, each trained on so many of its newest labelled batches."""
    versions = [_fit(world, batch, history) for batch in range(len(world.features))]
    expected = np.array([[_expected(world, one, batch) for batch in range(len(world.features))] for one in versions])
    wrong = [[_wrong(one, world, batch) for batch in range(len(world.features))] for one in versions]
    held = [_wrong_rows(one, *_newest(world, batch, history, held=True)) for batch, one in enumerate(versions)]
    return Losses(expected, wrong, held, history)


def labelled(batch: int) -> int:
    """The newest batch whose labels are known at the end of a batch."""
    return batch - DELAY


def training(batch: int, history: int) -> range:
    """The batches that train at the end of a batch."""
    last = max(labelled(batch), TRAINED - 1)
    return range(max(last - history + 1, 0), last + 1)


def _made(
    name: str,
    generator: np.random.Generator,
    weights: Callable[[int], Floats],
    mean: Callable[[int], Floats],
    *,
    rows: int = ROWS,
    noise: Floats | None = None,
) -> World:
    """`noise` is the share of labels of each batch that is mere chance."""
    features, chances, labels = [], [], []
    for batch in range(BATCHES):
        drawn = generator.normal(size=(rows, FEATURES)) + mean(batch)
        chance = _logistic(drawn @ weights(batch))
        if noise is not None:
            chance = (1 - noise[batch]) * chance + noise[batch] / 2
        features.append(drawn)
        chances.append(chance)
        labels.append(generator.random(rows) < chance)
    return World(name, features, labels, chances)


def _weights(generator: np.random.Generator) -> Floats:
    drawn = generator.normal(size=FEATURES)
    found: Floats = _STRENGTH * drawn / np.linalg.norm(drawn)
    return found


def _two(generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Two meanings at a right angle."""
    one, other = _weights(generator), _weights(generator)
    other = other - one * (one @ other) / (one @ one)
    return one, _STRENGTH * other / np.linalg.norm(other)


def _newest(world: World, batch: int, history: int, *, held: bool) -> tuple[Floats, Bools]:
    """The labelled rows that train at the end of a batch: every fifth is held out, the others train."""
    chosen = training(batch, history)
    features = np.concatenate([world.features[one] for one in chosen])
    labels = np.concatenate([world.labels[one] for one in chosen])
    out = np.arange(labels.size) % 5 == 0
    return features[out == held], labels[out == held]


def _fit(world: World, batch: int, history: int) -> Floats:
    """Logistic regression by Newton's method, intercept last."""
    features, labels = _newest(world, batch, history, held=False)
    rows = _with_one(features)
    weights = np.zeros(rows.shape[1])
    for _ in range(12):
        chance = _logistic(rows @ weights)
        slope = rows.T @ (labels - chance) - _RIDGE * weights
        curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + _RIDGE * np.eye(rows.shape[1])
        step = np.linalg.solve(curve, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _expected(world: World, weights: Floats, batch: int) -> float:
    if world.chances is None:
        return float(_wrong(weights, world, batch).mean())
    chance = world.chances[batch]
    says = _with_one(world.features[batch]) @ weights > 0
    return float(np.where(says, 1 - chance, chance).mean())


def _wrong(weights: Floats, world: World, batch: int) -> Bools:
    return _wrong_rows(weights, world.features[batch], world.labels[batch])


def _wrong_rows(weights: Floats, features: Floats, labels: Bools) -> Bools:
    found: Bools = (_with_one(features) @ weights > 0) != labels
    return found


def _with_one(rows: Floats) -> Floats:
    return np.column_stack([rows, np.ones(len(rows))])


def _logistic(value: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(value, -30, 30)))
