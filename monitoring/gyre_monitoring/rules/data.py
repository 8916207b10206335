"""Verdicts about the data themselves: nothing that a retraining could cure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gyre_crds.v1alpha1.drift import Level
from gyre_monitoring.evidence import Evidence, Finding, Incident

if TYPE_CHECKING:
    from gyre_crds.v1alpha1.drift import Level

_NAMED = 3
_WINDOW_WIDE = frozenset({"absent", "retyped"})


def insufficient(evidence: Evidence) -> Finding | None:
    """Too few rows to judge; a column that every row lacks is told even so."""
    least = evidence.spec.window.min_rows
    if evidence.rows >= least:
        return None
    if not evidence.rows and evidence.broken:
        reason = f"No row could be read: {evidence.broken[0]}. Look at who writes these parts; nothing retrains."
        return Finding("QualityIncident", "P0", reason)
    sure = [one for one in evidence.schema if one.check in _WINDOW_WIDE and one.share == 1 and evidence.rows]
    hint = f" (and {_listed(sure)})" if sure else ""
    reason = (
        f"{evidence.rows} rows arrived, {least} are needed to judge{hint}: "
        "wait for a fuller window, lengthen window.every or lower window.minRows."
    )
    return Finding("InsufficientData", "None", reason)


def schema_break(evidence: Evidence) -> Finding | None:
    """A column is missing, extra, retyped, or in another unit."""
    if not evidence.schema:
        return None
    heavy = any(one.heavy for one in evidence.schema)
    harmless = all(one.check == "extra" for one in evidence.schema)
    level: Level = "P0" if heavy else "P2" if harmless else "P1"
    action = (
        "the model does not read it; take it out of the request or name contract.features"
        if harmless
        else "tell whoever sends it; nothing retrains"
    )
    return Finding("SchemaBreak", level, f"{_listed(evidence.schema)}: {action}.")


def quality_incident(evidence: Evidence) -> Finding | None:
    """Values are broken beyond what the monitor allows."""
    if not evidence.quality:
        return None
    level: Level = "P0" if any(one.heavy for one in evidence.quality) else "P1"
    together = _together(evidence.quality)
    source = " These columns fail together, which points at one source." if together else ""
    action = "look at what feeds it; nothing retrains"
    return Finding("QualityIncident", level, f"{_listed(evidence.quality)}: {action}.{source}")


def _listed(incidents: Sequence[Incident]) -> str:
    named = [f"{one.column} {one.words}" if one.column else one.words for one in incidents[:_NAMED]]
    more = f", and {len(incidents) - _NAMED} more" if len(incidents) > _NAMED else ""
    text = ", ".join(named) + more
    return text if incidents[0].column else text[:1].upper() + text[1:]


def _together(incidents: Sequence[Incident]) -> bool:
    """Several columns with the same check and nearly the same share of rows."""
    first = incidents[0]
    same = [
        one for one in incidents
        if one.column and one.check == first.check and abs(one.share - first.share) <= 0.1 * first.share
    ]  # fmt: skip
    return bool(first.column) and len({one.column for one in same}) > 1
