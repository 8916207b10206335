"""The operator's rule for retraining, driven through made worlds: `tests/bench/retraining.py` in small."""

import numpy as np
import pytest

from tests.bench.retraining import BOUND, COSTS, ratio
from tests.bench.retraining_world import WORLDS, Losses, World, losses

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def worlds() -> dict[str, tuple[list[World], list[Losses]]]:
    """Two worlds of each kind, with what every version would lose in them."""
    made = [[make(np.random.default_rng(seed)) for seed in SEEDS] for make in WORLDS]
    return {group[0].name: (group, [losses(one) for one in group]) for group in made}


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", ["no drift", "inputs move only", "abrupt concept", "gradual concept"])
def test_rule_costs_little_more_than_knowing_the_future(
    name: str, cost: float, worlds: dict[str, tuple[list[World], list[Losses]]]
) -> None:
    """Within the bench's bound of the oracle in each kind of world, and no retraining where none can pay."""
    mean, _, count = ratio("Gyre", *worlds[name], cost)
    assert mean <= BOUND
    assert (count > 0) == name.endswith("concept")


def test_drift_share_is_wrong_in_both_directions(worlds: dict[str, tuple[list[World], list[Losses]]]) -> None:
    """The usual trigger pays for inputs that only move, and sleeps through a concept that changes."""
    moved = ratio("drift share", *worlds["inputs move only"], 0.5)
    changed = ratio("drift share", *worlds["abrupt concept"], 0.5)
    assert moved[0] > 2
    assert changed[0] > 1.5


def test_oracle_is_below_every_policy(worlds: dict[str, tuple[list[World], list[Losses]]]) -> None:
    """Nothing beats dynamic programming over the same versions."""
    for name in ("never", "every 5", "every 15", "accuracy drop", "Gyre"):
        assert ratio(name, *worlds["gradual concept"], 0.05)[0] >= 1 - 1e-9
