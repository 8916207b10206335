"""The status of an InferenceService: one value for people, kstatus, Argo, Helm and /scale."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from gyre_crds.conditions import Condition, merge, summary
from gyre_crds.reasons import Common, Inference
from gyre_crds.v1alpha1.inference import CandidateStatus, InferenceServiceStatus, Rejected, RevisionRef, TrafficStatus
from gyre_operators.engine.clock import rfc3339
from gyre_operators.inference.manifests import selector_text
from gyre_operators.inference.moves import FULL, Rollout
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.protection import FAULTS, protection, shut
from gyre_operators.inference.protection import TYPE as PROTECTED
from gyre_operators.inference.routing import confirmed, runs, waits_for

State = Literal["Ready", "Progressing", "Failed"]


def status_of(seen: Observed, here: Rollout, now: datetime) -> Mapping[str, Any]:
    """The whole status for where the rollout stands."""
    old, meta = seen.status, seen.service.metadata
    state, word, reason, message = verdict_on(seen, here)
    stable = _counted(seen, here.stable)
    return InferenceServiceStatus(
        observed_generation=meta.generation,
        state=word,
        reason=reason,
        conditions=merge(
            old.conditions,
            [*_conditions(state, reason, message, moving=here.candidate is not None), *_protection(seen)],
            now=rfc3339(now),
            generation=meta.generation,
        ),
        url=f"http://{meta.name}.{meta.namespace}.svc/v2/models/{meta.name}",
        stable=stable,
        candidate=_counted_candidate(seen, here.candidate),
        traffic=traffic_of(here),
        generation=_generation(seen, here),
        rejected=list(here.rejected),
        history=list(here.history),
        replicas=int(_live_status(seen, stable).get("replicas") or 0),
        selector=selector_text(meta.name, stable.revision) if stable else "",
    ).dump()


def paused_status(seen: Observed, now: datetime) -> Mapping[str, Any]:
    """The status as it stands, saying that nothing is written for now."""
    why = "the operator's settings say freeze" if seen.ground.frozen else "spec.paused is true"
    message = f"{why}: what serves goes on, nothing else is changed"
    old = seen.status
    said = merge(
        old.conditions,
        [
            *_conditions("Ready" if old.stable else "Progressing", Common.PAUSED, message, moving=False),
            *(condition for condition in old.conditions if condition.type == PROTECTED),
        ],
        now=rfc3339(now),
        generation=seen.service.metadata.generation,
    )
    changed = {
        "observed_generation": seen.service.metadata.generation,
        "state": "Paused",
        "reason": Common.PAUSED.value,
        "conditions": said,
        "stable": _counted(seen, old.stable),
    }
    return old.model_copy(update=changed).dump()


def verdict_on(seen: Observed, here: Rollout) -> tuple[State, str, str, str]:
    """State for kstatus, the word for people, the reason and its sentence."""
    if here.stable is None:
        return _without_stable(here)
    serving = seen.ready_replicas(here.stable.revision) > 0 or seen.service.spec.replicas == 0
    if not serving:
        fault = seen.faults.get(here.stable.revision)
        reason = fault.reason if fault else Inference.STARTING.value
        return "Progressing", "Starting", reason, fault.message if fault else f"no pod of {here.stable.version} answers"
    if not _routed(seen, here):
        return "Progressing", "Starting", *_why_not_routed(seen)
    if (guard := protection(seen)) is not None and shut(seen) and _guards_all(seen):
        return "Progressing", "Starting", guard.reason, guard.message
    if here.candidate is not None:
        word = "Halted" if here.reason == Inference.HALTED else "RollingOut"
        return "Ready", word, here.reason, here.message
    reason, message = _at_rest(here, here.stable)
    if guard is not None and guard.status != "True":
        message = f"{message}; {guard.message}"
        if reason == Inference.SERVING and guard.reason in FAULTS:
            reason = guard.reason
    return "Ready", "Serving", reason, message


def _at_rest(here: Rollout, stable: RevisionRef) -> tuple[str, str]:
    if here.reason:
        return here.reason, f"{stable.version} serves; {here.message}"
    refusal = _last_refusal(here)
    if refusal is not None:
        said = f"{stable.version} serves all traffic; {refusal.version} was refused: {refusal.message}"
        return Inference.ROLLED_BACK.value, said
    return Inference.SERVING.value, f"{stable.version} serves all traffic"


def _last_refusal(here: Rollout) -> Rejected | None:
    """The refusal that was the last thing to happen, so that a person who comes later sees it."""
    if not here.rejected or not here.history or here.history[0].what != "RolledBack":
        return None
    return here.rejected[0] if here.history[0].revision == here.rejected[0].revision else None


def traffic_of(here: Rollout) -> list[TrafficStatus]:
    """Wanted traffic, and during a step what was observed of it.

    The stable revision comes first. At rest nothing is observed, so that nothing has to be written.
    """
    weights = here.weights()
    observed = _observed(here)
    shares = [TrafficStatus(revision=revision, wanted=weight) for revision, weight in weights.items()]
    if observed is None:
        return shares
    return [
        share.model_copy(update={"observed": round(percent, 1), "requests": requests, "errors": errors})
        for share in shares
        for requests, errors, percent in [observed[share.revision]]
    ]


def _observed(here: Rollout) -> dict[str, tuple[int, int, float]] | None:
    """(requests, errors, share in percent) of both revisions in the step under way."""
    if here.candidate is None or here.stable is None or not here.candidate.strata:
        return None
    stratum = here.candidate.strata[-1]
    total = stratum.candidate_requests + stratum.stable_requests
    if not total:
        return None
    share = FULL * stratum.candidate_requests / total
    return {
        here.candidate.revision: (stratum.candidate_requests, stratum.candidate_errors, share),
        here.stable.revision: (stratum.stable_requests, stratum.stable_errors, FULL - share),
    }


def _without_stable(here: Rollout) -> tuple[State, str, str, str]:
    """Nothing serves yet. A refusal stays the answer until another revision starts."""
    if here.candidate is None and here.rejected:
        refusal = here.rejected[0]
        return "Failed", "Failed", refusal.reason, f"{refusal.version} was refused: {refusal.message}"
    waiting = here.reason in (Inference.WAITING_FOR_VERSION, Inference.VERSION_NOT_READY)
    return "Progressing", "Waiting" if waiting else "Starting", here.reason or Inference.STARTING.value, here.message


def _routed(seen: Observed, here: Rollout) -> bool:
    """Whether requests reach the stable revision: some router is ready, and a table was confirmed once."""
    ready = any(router.ready for router in seen.routers)
    return ready and (seen.status.generation is not None or runs(seen, here.weights()))


def _why_not_routed(seen: Observed) -> tuple[str, str]:
    guard = protection(seen)
    if guard is not None and guard.reason == Inference.ROUTERS_RESTARTING:
        return guard.reason, guard.message
    return Inference.ROUTER_STARTING.value, waits_for(seen)


def _guards_all(seen: Observed) -> bool:
    """Whether nobody gets an answer without a token."""
    return seen.service.spec.auth is not None and seen.service.spec.auth.predict


def _protection(seen: Observed) -> list[Condition]:
    guard = protection(seen)
    return [] if guard is None else [guard]


def _generation(seen: Observed, here: Rollout) -> str | None:
    """The table that routers confirmed with the wanted weights; kept while they are not asked."""
    return confirmed(seen) if here.weights() and runs(seen, here.weights()) else seen.status.generation


def _conditions(state: State, reason: str, message: str, *, moving: bool) -> list[Condition]:
    """The trio; a service whose stable revision answers is Ready while its candidate is on the way."""
    trio = summary(state, reason, message)
    if not moving or state != "Ready":
        return trio
    under_way = Condition(type="Reconciling", status="True", reason=reason, message=message)
    return [under_way if condition.type == "Reconciling" else condition for condition in trio]


def _counted(seen: Observed, ref: RevisionRef | None) -> RevisionRef | None:
    return None if ref is None else ref.model_copy(update=_facts(seen, ref))


def _counted_candidate(seen: Observed, candidate: CandidateStatus | None) -> CandidateStatus | None:
    return None if candidate is None else candidate.model_copy(update=_facts(seen, candidate))


def _facts(seen: Observed, ref: RevisionRef) -> dict[str, Any]:
    """What may change while a revision keeps its role: its pods, and the number that MLflow gives late."""
    version = seen.versions.get(ref.version)
    registry = version.status.registry if version is not None and version.status is not None else None
    number = registry.version if registry is not None else ref.number
    return {"ready_replicas": seen.ready_replicas(ref.revision), "number": number}


def _live_status(seen: Observed, stable: RevisionRef | None) -> Mapping[str, Any]:
    live = seen.deployments.get(stable.revision) if stable is not None else None
    return (live or {}).get("status") or {}
