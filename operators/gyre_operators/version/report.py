"""From the parts to the status: conditions, state, reason; the first rule that fits is what Ready says."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from gyre_crds.conditions import merge, summary
from gyre_crds.reasons import Common, Version
from gyre_crds.v1alpha1.version import Move
from gyre_operators.engine.clock import rfc3339
from gyre_operators.version import conditions
from gyre_operators.version.facts import Facts, Say
from gyre_operators.version.seen import Observed, RegistryAway
from gyre_operators.workload.messages import sentence
from gyre_operators.workload.tasks import hindrance

_MOVES = 20


def judge(facts: Facts) -> Say:
    """The first rule that fits."""
    for rule in RULES:
        say = rule(facts)
        if say is not None:
            return say
    return _ready(facts)


def _refuted(facts: Facts) -> Say | None:
    done = facts.status.verification
    if done is None or done.verified is not False:
        return None
    reason, _, rest = done.message.partition(": ")
    if reason in set(Version) | set(Common):
        return Say("Failed", "Failed", reason, sentence(rest))
    what = sentence(done.message)
    message = f"The stored bytes are not the version's: {what} Train again, or restore the file from a backup."
    return Say("Failed", "Failed", Version.DIGEST_MISMATCH, message)


def _verifying(facts: Facts) -> Say | None:
    done = facts.status.verification
    proved_before = facts.status.registry is not None
    if proved_before or (done is not None and done.verified):
        return None
    if done is not None and done.at is not None:
        return Say("Verifying", "Unknown", Version.VERIFYING, f"{sentence(done.message)} It is tried again.")
    why = hindrance(facts.seen.jobs.get(done.job or ""), facts.seen.pods) if done else None
    what = "copied from MLflow and digested" if facts.seen.uri is None else "digested again"
    return Say("Verifying", "Progressing", Version.VERIFYING, why.message if why else f"The stored bytes are {what}.")


def _no_model(facts: Facts) -> Say | None:
    if facts.seen.model is not None or (facts.status.registry is not None and facts.gates):
        return None
    model = facts.seen.version.spec.model
    message = f"Model {model!r} does not exist, so nobody says which gates to pass. Apply it."
    return Say("Waiting", "Progressing", Version.GATE_UNKNOWN, message)


def _gate_failed(facts: Facts) -> Say | None:
    failed = next((gate for gate in facts.gates if gate.state == "Failed"), None)
    if failed is None:
        return None
    return Say("Failed", "Failed", failed.reason, f"Gate {failed.name} refuses the version: {sentence(failed.message)}")


def _gates_running(facts: Facts) -> Say | None:
    running = [gate.name for gate in facts.gates if gate.state in ("Running", "Pending") and gate.type != "Approval"]
    if not running:
        return None
    jobs = facts.seen.jobs
    hindrances = (hindrance(jobs.get(gate.job or ""), facts.seen.pods) for gate in facts.gates)
    why = next((each for each in hindrances if each is not None), None)
    message = why.message if why else f"Gates under way: {', '.join(running)}."
    return Say("Gating", "Progressing", Version.GATES_RUNNING, message)


def _gate_unknown(facts: Facts) -> Say | None:
    unknown = next((gate for gate in facts.gates if gate.state == "Unknown"), None)
    if unknown is None:
        return None
    message = (
        f"Gate {unknown.name} could not decide, which is never a pass: {sentence(unknown.message)} It is asked again."
    )
    return Say("Waiting", "Unknown", Version.GATE_UNKNOWN, message)


def _approval(facts: Facts) -> Say | None:
    waiting = next((gate for gate in facts.gates if gate.reason == Version.WAITING_FOR_APPROVAL), None)
    if waiting is None:
        return None
    return Say("Waiting", "Progressing", Version.WAITING_FOR_APPROVAL, f"Every other gate passed. {waiting.message}")


def _registering(facts: Facts) -> Say | None:
    if facts.recording.registered is not None:
        return None
    trouble = facts.recording.trouble
    if isinstance(trouble, RegistryAway):
        message = f"{trouble.sentence}. Registration follows when it is back; what serves goes on."
        return Say("Registering", "Unknown", Common.REGISTRY_UNREACHABLE, message)
    if trouble is not None:
        return Say("Failed", "Failed", trouble.reason, trouble.sentence)
    source = facts.seen.version.spec.source.mlflow
    if source is not None and facts.seen.registry is not None and not facts.recording.effects:
        message = f"MLflow holds no version {source.version} of {source.name} any more."
        return Say("Failed", "Failed", Version.ARTIFACT_GONE, message)
    return Say("Registering", "Progressing", Version.REGISTERING, "MLflow is told of the version.")


def _archived(facts: Facts) -> Say | None:
    if facts.aliases or not facts.seen.was_champion:
        return None
    champion = facts.seen.champion.metadata.name if facts.seen.champion else "another version"
    return Say("Archived", "Ready", Version.ARCHIVED, f"{champion} took over; this version stays deployable.")


def _ready(facts: Facts) -> Say:
    carries = f" It is {' and '.join(facts.aliases)}." if facts.aliases else ""
    return Say("Ready", "Ready", Version.READY, f"Verified, registered, gates passed.{carries}")


RULES: tuple[Callable[[Facts], Say | None], ...] = (
    _refuted,
    _verifying,
    _no_model,
    _gate_failed,
    _gates_running,
    _gate_unknown,
    _approval,
    _registering,
    _archived,
)


def status(facts: Facts, say: Say, now: datetime) -> dict[str, Any]:
    """The whole status."""
    seen = facts.seen
    generation = seen.version.metadata.generation
    held = [
        *summary(say.summary, say.reason, say.message[:4000]),
        conditions.verified(facts),
        conditions.registered(facts),
        conditions.gates_passed(facts),
        *conditions.recorded(facts),
        *conditions.orphaned(facts),
    ]
    return facts.status.model_copy(
        update={
            "observed_generation": generation,
            "state": say.state,
            "reason": say.reason,
            "conditions": merge(seen.status.conditions, held, now=rfc3339(now), generation=generation),
            "registry": facts.recording.registered,
            "gates": facts.gates,
            "aliases": facts.aliases,
            "moves": _moves(facts, now),
            "used_by": sorted(seen.users)[:64],
            "produced_by": _producers(seen),
        },
    ).dump()


def _moves(facts: Facts, now: datetime) -> list[Move]:
    before, after = set(facts.seen.status.aliases), set(facts.aliases)
    model = facts.seen.version.spec.model
    gained = [
        Move(at=rfc3339(now), alias=alias, what="Gained", reason=f"Model {model} says so.")
        for alias in sorted(after - before)
    ]
    lost = [
        Move(at=rfc3339(now), alias=alias, what="Lost", reason=_successor(facts, alias))
        for alias in sorted(before - after)
    ]
    return [*gained, *lost, *facts.seen.status.moves][:_MOVES]


def _successor(facts: Facts, alias: str) -> str:
    status = facts.seen.model.status if facts.seen.model else None
    holder = getattr(status, alias, None) if status else None
    return f"{holder.name} has it now." if holder else "No version has it now."


def _producers(seen: Observed) -> list[str]:
    first = [seen.version.spec.lineage.job] if seen.version.spec.lineage.job else []
    return list(dict.fromkeys([*seen.status.produced_by, *first, *sorted(seen.producers)]))[:64]
