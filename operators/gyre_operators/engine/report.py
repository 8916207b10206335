"""What the engine itself says on an object: that it does not parse, or that a write was refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gyre_crds.conditions import Condition, merge, summary
from gyre_crds.reasons import Common
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.errors import ApiError

_LONGEST = 4096
_PLAIN = frozenset({str, int, float, bool})
"""Most values are of these, and asking for an abstract type takes ten times as long."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that the API server will refuse again until somebody changes something."""

    reason: str
    message: str


def refusal(error: ApiError, verb: str, what: str) -> Refusal:
    """The sentence for an object whose child was refused."""
    quota = "exceeded quota" in error.message
    reason = Common.QUOTA_EXCEEDED if quota else Common.FORBIDDEN
    return Refusal(reason, f"The API server refuses to {verb} {what}: {error.message}")


def overlaid(
    status: Mapping[str, Any],
    said: Refusal,
    *,
    old: Sequence[Any],
    generation: int,
    now: datetime,
) -> dict[str, Any]:
    """`status` with state, reason and the derived conditions saying the refusal; all else stays.

    `old` are the conditions on the live object, whose transition times are carried over.
    """
    trio = merge(
        [c for c in map(_condition, old) if c is not None],
        summary("Failed", said.reason, said.message[:_LONGEST]),
        now=rfc3339(now),
        generation=generation,
    )
    ours = {condition.type for condition in trio}
    others = [c for c in status.get("conditions") or [] if c.get("type") not in ours]
    return {
        **status,
        "observedGeneration": generation,
        "state": "Failed",
        "reason": str(said.reason),
        "conditions": [*(c.dump() for c in trio), *others],
    }


def _condition(raw: Any) -> Condition | None:
    try:
        return Condition.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError:
        # A condition in a shape nobody writes is no reason to keep the others from being read.
        return None


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that makes `old` into `new`; empty when they are equal."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        was = old.get(name)
        if value is was or (type(value) in _PLAIN and value == was):
            continue
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            inner = merge_patch(was, value)
            if inner:
                patch[name] = inner
        elif value != was or name not in old:
            patch[name] = value
    return patch


def without_nulls(value: Any) -> Any:
    """The value as the API server keeps it: fields that are null are not there."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict or isinstance(value, Mapping):
        return {k: v if type(v) in _PLAIN else without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value
