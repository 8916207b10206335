"""Argo CD's health, by running the Lua against statuses as the operator writes them."""

from pathlib import Path
from typing import Any

import pytest
from lupa import LuaRuntime

from gyre_crds.conditions import merge, summary

LUA = Path("charts/argocd/health/gyre.lua").read_text()


def _table(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _table(lua, item) for key, item in value.items()})
    if isinstance(value, list):
        return lua.table_from([_table(lua, item) for item in value])
    return value


def _health(obj: dict[str, Any]) -> tuple[str, str]:
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = _table(lua, obj)
    result = lua.execute(LUA)
    return result["status"], result["message"]


def _object(state: str | None, *, seen: int = 2, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    conditions = summary(state, "SomeReason", "A sentence.") if state else []
    return {
        "metadata": {"name": "x", "generation": 2},
        "spec": spec or {},
        "status": {
            "observedGeneration": seen,
            "conditions": [
                entry.dump() for entry in merge([], conditions, now="2026-01-01T00:00:00Z", generation=seen)
            ],
        },
    }


@pytest.mark.parametrize(
    ("obj", "status"),
    [
        (_object("Ready"), "Healthy"),
        (_object("Progressing"), "Progressing"),
        (_object("Unknown"), "Progressing"),
        (_object("Failed"), "Degraded"),
        (_object("Ready", seen=1), "Progressing"),
        (_object("Progressing", spec={"suspend": True}), "Suspended"),
        (_object("Ready", spec={"paused": True}), "Suspended"),
        (_object(None), "Progressing"),
        ({"metadata": {"generation": 1}}, "Progressing"),
    ],
    ids=[
        "ready", "work goes on", "an outside system is away", "failed for good", "an older generation was seen",
        "suspended by its owner", "paused by its owner", "no condition yet", "never looked at",
    ],
)  # fmt: skip
def test_health_follows_the_conditions(obj: dict[str, Any], status: str) -> None:
    """Each state of an object is one state of Argo CD."""
    assert _health(obj)[0] == status


def test_the_message_says_why() -> None:
    """A person reads reason and sentence in Argo CD's own view."""
    assert _health(_object("Failed"))[1] == "SomeReason: A sentence."
