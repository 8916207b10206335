"""What the engine asks of every controller that is registered."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import KINDS
from gyre_operators import registry
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.runtime import kinds_of

ALL = registry.load()
_IDS = [controller.__name__ for controller in ALL]


def test_names_are_unique() -> None:
    """Two controllers of one name would share metrics and take fields from each other."""
    assert len({controller.name for controller in ALL}) == len(ALL)


def test_no_two_controllers_write_the_status_of_one_kind() -> None:
    """A status is whole, so it has one writer."""
    kinds = [controller.kind for controller in ALL if controller.kind is not None]

    assert len(set(kinds)) == len(kinds)


def test_every_kind_of_gyre_is_reconciled_or_looked_at() -> None:
    """No CRD is installed that nothing stands behind."""
    assert {kind.KIND for kind in kinds_of(ALL)} == {kind.KIND for kind in KINDS}


@pytest.mark.parametrize("controller", ALL, ids=_IDS)
def test_what_is_applied_is_watched_whole(controller: type[Controller[Any]]) -> None:
    """Without the whole live object in a store, each round would cost a GET for each child."""
    whole = {watch.kind for watch in controller.children if watch.type is dict}
    applied = {g.kind for g in controller.grants if "patch" in g.verbs and not g.subresource}

    assert applied <= whole


@pytest.mark.parametrize("controller", ALL, ids=_IDS)
def test_no_controller_asks_for_more_than_it_could_need(controller: type[Controller[Any]]) -> None:
    """No wildcard, no secrets by list, no write to what users own."""
    for grant in controller.grants:
        assert "*" not in (*grant.verbs, grant.kind.plural, grant.kind.group)
        if grant.kind.plural == "secrets":
            assert not set(grant.verbs) & {"list", "watch"}
    if controller.kind is not None:
        written = [g for g in controller.grants if g.kind == gyre(controller.kind)]
        assert not any("update" in grant.verbs for grant in written)
    assert not any(watch.kind.plural == "secrets" for watch in controller.children)
