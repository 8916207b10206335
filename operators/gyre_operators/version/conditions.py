"""The conditions of a version beside the derived trio: what holds, one fact each."""

from gyre_crds.conditions import Condition, ConditionStatus
from gyre_crds.reasons import Common, Version
from gyre_crds.v1alpha1.version import Registered
from gyre_operators.version.facts import Facts
from gyre_operators.version.recording import RECORDED
from gyre_operators.version.seen import RegistryAway

ORPHANED = "Orphaned"
"""Condition: the Model is gone and the version keeps its aliases for a Model of that name. It may be deleted."""
REGISTERED = "Registered"
"""Condition: MLflow holds an entry of the version."""


def orphaned(facts: Facts) -> list[Condition]:
    """A policy keeps whoever has an alias from being deleted; without a Model nobody could ever take it away."""
    seen = facts.seen
    if not seen.model_gone or seen.users or not facts.aliases:
        return []
    carries = " and ".join(facts.aliases)
    message = (
        f"Model {seen.version.spec.model} is gone; this version stays {carries} for a Model of that name. "
        "Delete it if none is to come."
    )
    return [Condition(type=ORPHANED, status="True", reason=ORPHANED, message=message)]


def verified(facts: Facts) -> Condition:
    """Whether the stored bytes are those of the digest."""
    done = facts.status.verification
    holds: ConditionStatus = "Unknown"
    if done is not None and done.verified is not None:
        holds = "True" if done.verified else "False"
    reason = {"True": "Verified", "False": Version.DIGEST_MISMATCH, "Unknown": Version.VERIFYING}[holds]
    return Condition(type="Verified", status=holds, reason=reason, message=done.message if done else "")


def registered(facts: Facts) -> Condition:
    """Whether MLflow holds an entry of the version."""
    registered, trouble = facts.recording.registered, facts.recording.trouble
    before = next((each for each in facts.seen.status.conditions if each.type == REGISTERED), None)
    if facts.recording.lost and registered is not None:
        message = f"{_entry(registered)} was deleted in MLflow; the version is registered again under a new number."
        return Condition(type=REGISTERED, status="False", reason=Version.REGISTERING, message=message)
    if trouble is None and registered is not None:
        return _standing(facts, registered, before)
    if registered is not None and (before is None or before.status == "True"):
        return before or Condition(type=REGISTERED, status="True", reason="Registered", message=_entry(registered))
    if isinstance(trouble, RegistryAway):
        return Condition(
            type=REGISTERED, status="Unknown", reason=Common.REGISTRY_UNREACHABLE, message=trouble.sentence
        )
    if trouble is not None:
        return Condition(type=REGISTERED, status="False", reason=trouble.reason, message=trouble.sentence)
    return Condition(type=REGISTERED, status="False", reason=Version.REGISTERING, message="")


def _standing(facts: Facts, registered: Registered, before: Condition | None) -> Condition:
    """The entry stands; one that took a deleted one's place says so as long as it stands."""
    message = registered_again(facts) or f"{_entry(registered)}."
    if before is not None and before.status == "True" and before.message.startswith(f"{_entry(registered)}."):
        message = before.message
    return Condition(type=REGISTERED, status="True", reason="Registered", message=message)


def registered_again(facts: Facts) -> str:
    """The sentence about an entry that took the place of one that somebody deleted; empty where none did."""
    before, now = facts.seen.status.registry, facts.recording.registered
    if (
        before is None
        or now is None
        or facts.recording.lost
        or (before.name, before.version) == (now.name, now.version)
    ):
        return ""
    return f"{_entry(now)}. Version {before.version} was deleted in MLflow, so the same bytes were registered again."


def _entry(registered: Registered) -> str:
    return f"Version {registered.version} of {registered.name}"


def gates_passed(facts: Facts) -> Condition:
    """Whether every gate of the Model said yes."""
    states = {gate.state for gate in facts.gates}
    if facts.seen.model is None and not facts.gates:
        return Condition(
            type="GatesPassed", status="Unknown", reason=Version.GATE_UNKNOWN, message="The Model is missing."
        )
    if states <= {"Passed"}:
        return Condition(type="GatesPassed", status="True", reason=Version.PASSED, message="")
    worst = next(gate for gate in facts.gates if gate.state == min(states, key=_ORDER.index))
    holds: ConditionStatus = "False" if worst.state == "Failed" else "Unknown"
    return Condition(type="GatesPassed", status=holds, reason=worst.reason, message=f"{worst.name}: {worst.message}")


_ORDER = ("Failed", "Unknown", "Running", "Pending", "Passed")


def recorded(facts: Facts) -> list[Condition]:
    """Whether MLflow's tags and aliases say what this object says."""
    recording = facts.recording
    if recording.registered is None:
        return []
    if recording.recorded is not None:
        return [Condition(type=RECORDED, status="True", reason="Recorded", message=recording.recorded)]
    if isinstance(recording.trouble, RegistryAway):
        sentence = recording.trouble.sentence
        return [Condition(type=RECORDED, status="Unknown", reason=Common.REGISTRY_UNREACHABLE, message=sentence)]
    if recording.trouble is not None:
        trouble = recording.trouble
        return [Condition(type=RECORDED, status="False", reason=trouble.reason, message=trouble.sentence)]
    old = next((each for each in facts.seen.status.conditions if each.type == RECORDED), None)
    # Between the effect and the look that confirms it nothing is written.
    return [old or Condition(type=RECORDED, status="Unknown", reason=Version.REGISTERING, message="")]
