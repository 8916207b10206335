"""Counting attempts: pure functions over `status.attempts`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from gyre_crds.base import amount, seconds
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import AttemptStatus, Retry
from gyre_operators.workload.views import Node, holds

LONGEST_BACKOFF = 600.0
DISRUPTION_LIMIT = 16
"""Disruptions are not charged, but a cluster that breaks every attempt must not be asked for ever."""
KEPT = 60
"""Entries of status.attempts; the schema allows 64."""
GROWTH = 1.5
_MEBI = 2**20
_WORTH = 1.05
"""Growing by less than this share is no growth."""


def ended(attempts: Sequence[AttemptStatus], **changes: object) -> list[AttemptStatus]:
    """The attempts with the last one changed."""
    return [*attempts[:-1], attempts[-1].model_copy(update=changes)]


def begun(attempts: Sequence[AttemptStatus], attempt: AttemptStatus) -> list[AttemptStatus]:
    """The attempts with one more; of too many, the oldest suspended one is forgotten, as it counts for nothing."""
    kept = list(attempts)
    if len(kept) >= KEPT:
        idle = next((each for each in kept if each.outcome == "Suspended"), kept[0])
        kept.remove(idle)
    return [*kept, attempt]


def charged(attempts: Iterable[AttemptStatus]) -> int:
    """Failures that count against retry.limit."""
    return sum(each.outcome == "Failed" and each.charged for each in attempts)


def disruptions(attempts: Iterable[AttemptStatus]) -> int:
    """Attempts that the cluster ended."""
    return sum(each.outcome == "Disrupted" for each in attempts)


def backoff(retry: Retry, attempts: Sequence[AttemptStatus]) -> timedelta:
    """The wait after the last attempt: doubles with each one in a row that ended badly, at most ten minutes."""
    in_row = 0
    for each in reversed(attempts):
        # Starting again as another user repairs something that time does not.
        if each.outcome not in ("Failed", "Disrupted") or each.reason == Training.NEEDS_ROOT:
            break
        in_row += 1
    if in_row == 0:
        return timedelta()
    return timedelta(seconds=min(seconds(retry.backoff) * 2 ** (in_row - 1), LONGEST_BACKOFF))


def grown(memory: str, largest: float | None) -> str | None:
    """One and a half times the memory, in whole Mi, capped at `largest` bytes; None when that is no growth."""
    had = amount(memory)
    wanted = had * GROWTH
    if largest is not None:
        wanted = min(wanted, largest)
    if wanted < had * _WORTH:
        return None
    return f"{math.floor(wanted / _MEBI)}Mi"


def largest_node(nodes: Iterable[Node], selector: Mapping[str, str], *, beside: str) -> float | None:
    """Allocatable bytes of the largest ready node that the selector admits, less what else runs in the pod."""
    sizes = [
        amount(node.status.allocatable.get("memory", "0"))
        for node in nodes
        if holds(node.status.conditions, "Ready")
        and not node.spec.unschedulable
        and all(node.metadata.labels.get(name) == value for name, value in selector.items())
    ]
    return max(sizes) - amount(beside) if sizes else None
