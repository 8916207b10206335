"""Nothing is written when the live object already is what the manifest wants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_operators.engine.differ import APPLIED, covers, stamped

_scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc1m", max_size=3)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)


@given(_json)
def test_every_value_covers_itself(value: Any) -> None:
    """What was applied and came back unchanged needs no write."""
    assert covers(value, value)


@given(st.dictionaries(st.sampled_from("abcd"), _json, max_size=4), _json)
def test_what_the_server_adds_does_not_count(wanted: dict[str, Any], added: Any) -> None:
    """Defaults and foreign fields beside ours are no difference."""
    assert covers({**wanted, "zz": added}, wanted)


CASES = {
    "a changed string differs": ({"image": "a:1"}, {"image": "a:2"}, False),
    "a missing field differs": ({}, {"replicas": 2}, False),
    "an empty list is as good as none": ({}, {"env": [], "labels": {}, "note": ""}, True),
    "None in a manifest means not said": ({}, {"replicas": None}, True),
    "a wanted empty list over a live one differs": ({"env": [{"name": "A"}]}, {"env": []}, False),
    "quantities match by amount": (
        {"requests": {"cpu": "500m", "memory": "1Gi"}},
        {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
        True,
    ),
    "other amounts differ": ({"cpu": "500m"}, {"cpu": "0.6"}, False),
    "named items match by name in any order": (
        {"c": [{"name": "b", "image": "2"}, {"name": "a", "image": "1", "added": True}]},
        {"c": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]},
        True,
    ),
    "a sidecar somebody injected is no difference": (
        {"c": [{"name": "a"}, {"name": "injected"}]},
        {"c": [{"name": "a"}]},
        True,
    ),
    "a missing named item differs": ({"c": [{"name": "a"}]}, {"c": [{"name": "b"}]}, False),
    "plain lists match in order and length": ({"args": ["a", "b"]}, {"args": ["a"]}, False),
    "zero that the server left out is no difference": ({}, {"minReadySeconds": 0}, True),
    "false over true differs": ({"paused": True}, {"paused": False}, False),
}


@pytest.mark.parametrize(("live", "wanted", "same"), CASES.values(), ids=CASES.keys())
def test_covers(live: Any, wanted: Any, same: bool) -> None:  # noqa: FBT001 -- a table column
    """Each line of the table says what counts as a difference."""
    assert covers(live, wanted) is same


def test_the_stamp_tells_that_a_field_left_the_manifest() -> None:
    """Dropping a field keeps the live object covering the rest; the digest differs."""
    before = {"metadata": {"name": "a"}, "data": {"x": "1", "y": "2"}}
    after = {"metadata": {"name": "a"}, "data": {"x": "1"}}

    assert covers(before, after)
    assert stamped(before)["metadata"]["annotations"][APPLIED] != (stamped(after)["metadata"]["annotations"][APPLIED])


def test_a_manifest_of_parts_is_not_stamped() -> None:
    """A label on somebody else's object brings no annotation with it."""
    part = {"metadata": {"name": "node", "uid": "u", "labels": {"a": "b"}}}

    assert stamped(part) == part
