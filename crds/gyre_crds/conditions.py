"""Conditions after metav1.Condition, and the three that kstatus, Helm, Flux and Argo CD read."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import ApiModel, Time

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(ApiModel):
    """One fact about an object: what, whether, why, and since when."""

    type: Annotated[str, StringConstraints(max_length=316)]
    """What is said, e.g. `Ready`."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Why, as one CamelCase word from `gyre_crds.reasons`."""
    message: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Why, as a sentence that names the field and the next action."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec this was said of."""
    last_transition_time: Time | None = None
    """When `status` last changed."""


def merge(old: Sequence[Condition], new: Iterable[Condition], *, now: str, generation: int) -> list[Condition]:
    """`new` as the whole list of conditions, with transition times carried over from `old`.

    A condition keeps its `lastTransitionTime` as long as its status stays; `now` (RFC 3339) stamps
    the others. The order is that of `new`, so the same facts always serialise to the same bytes.
    """
    before = {condition.type: condition for condition in old}
    merged = []
    for condition in new:
        was = before.get(condition.type)
        since = was.last_transition_time if was and was.status == condition.status else now
        merged.append(condition.model_copy(update={"last_transition_time": since, "observed_generation": generation}))
    return merged


def summary(state: str, reason: str, message: str) -> list[Condition]:
    """The derived trio for a state: `Ready`, `Reconciling` and `Stalled`.

    `state` is one of Ready, Progressing, Failed, Unknown; kstatus reads the trio as Current, InProgress, Failed and
    InProgress.
    """
    ready: dict[str, ConditionStatus] = {
        "Ready": "True", "Progressing": "False", "Failed": "False", "Unknown": "Unknown",
    }  # fmt: skip
    return [
        Condition(type="Ready", status=ready[state], reason=reason, message=message),
        Condition(
            type="Reconciling",
            status="True" if state in ("Progressing", "Unknown") else "False",
            reason=reason,
            message=message if state in ("Progressing", "Unknown") else "",
        ),
        Condition(
            type="Stalled",
            status="True" if state == "Failed" else "False",
            reason=reason,
            message=message if state == "Failed" else "",
        ),
    ]
