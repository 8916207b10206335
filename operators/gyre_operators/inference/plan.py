"""From what was seen of an InferenceService to the next step. Pure."""

from datetime import datetime, timedelta

from gyre_crds.base import seconds
from gyre_crds.v1alpha1.inference import CandidateStatus, RevisionRef
from gyre_operators.engine.plan import Manifest, Plan, Ref, ref
from gyre_operators.inference import manifests
from gyre_operators.inference.moves import Rollout
from gyre_operators.inference.observed import Observed
from gyre_operators.inference.protection import news, protection
from gyre_operators.inference.revision import Missing, Target, target_of
from gyre_operators.inference.rollout import advance
from gyre_operators.inference.routing import is_drained, runs
from gyre_operators.inference.status import paused_status, status_of
from gyre_operators.inference.sweeping import sweep_of

_SOON = timedelta(seconds=1)
"""While routers are waited for: they tell nobody, so they are asked."""

_UNPROTECTED = timedelta(seconds=5)
_WATCHED = timedelta(minutes=1)
"""How often routers are asked whether they know tokens: a Secret tells us nothing, and may be emptied."""

_WHILE_STARTING = timedelta(seconds=10)
"""Watches tell of pods; this only bounds how late a time-out is seen."""


def plan(seen: Observed, now: datetime) -> Plan:
    """The next step towards what the spec asks for."""
    if seen.service.spec.paused or seen.ground.frozen:
        return Plan(status=paused_status(seen, now))
    target = target_of(seen)
    here = advance(seen, target, now)
    gone = _drained(seen, here)
    sweep = sweep_of(seen, now)
    return Plan(
        apply=(manifests.endpoint(seen.service), *_children(seen, here, target)),
        delete=tuple(reference for revision in gone for reference in _of_revision(seen, revision)),
        effects=(sweep,) if sweep is not None else (),
        status=status_of(seen, here, now),
        events=(*here.events, *news(seen)),
        requeue=_pause(seen, here),
        rests=_only_counts(seen.status.candidate, here.candidate),
    )


def asks_routers(seen: Observed) -> bool:
    """Whether the routers' state or counters bear on the next step: at rest they are left alone.

    Whether they know a caller's token nobody else can tell.
    """
    return seen.service.spec.auth is not None or _is_moving(seen, seen.status.stable, seen.status.candidate)


def _only_counts(before: CandidateStatus | None, now: CandidateStatus | None) -> bool:
    """Whether a candidate that gets requests or copies stays where it is, so that evidence is all that changes.

    The next look is the interval's business: under traffic the counters differ at every look, and each write of
    them would bring the next one at once.
    """
    if before is None or now is None or not _collects(now):
        return False
    return _place(before) == _place(now)


def _collects(candidate: CandidateStatus) -> bool:
    return candidate.step_since is not None if candidate.strata else candidate.shadow is not None


def _place(candidate: CandidateStatus) -> tuple[object, ...]:
    shadow = candidate.shadow
    copies = (shadow.since, shadow.verdict == "Pass") if shadow is not None else None
    return candidate.revision, len(candidate.strata), candidate.step, candidate.step_since, copies


def _is_moving(seen: Observed, stable: RevisionRef | None, candidate: RevisionRef | None) -> bool:
    kept = {ref.revision for ref in (stable, candidate) if ref is not None}
    unconfirmed = stable is not None and seen.status.generation is None
    return candidate is not None or unconfirmed or bool(set(seen.deployments) - kept)


def _children(seen: Observed, here: Rollout, target: Target | Missing) -> list[Manifest]:
    """Deployments and Services of the revisions that serve or are about to."""
    wanted = seen.service.spec.replicas
    children: list[Manifest] = []
    if here.stable is not None:
        children += _revision(seen, here.stable.revision, target, replicas=wanted)
    if here.candidate is not None:
        # Golden rows and the baseline want at least one pod, also of a service that sleeps.
        children += _revision(seen, here.candidate.revision, target, replicas=max(wanted, 1))
    return children


def _revision(seen: Observed, revision: str, target: Target | Missing, *, replicas: int) -> list[Manifest]:
    live = seen.deployments.get(revision)
    if live is not None:
        same = live["spec"].get("replicas") == replicas
        pods = [] if same else [manifests.rescaled(live, replicas)]
        return [*pods, manifests.headless(seen.service, revision)]
    made = _remade(seen, revision, target)
    if made is None:
        return []
    pods_of = manifests.deployment(seen.service, made, seen.ground, replicas=replicas)
    return [pods_of, manifests.headless(seen.service, revision)]


def _remade(seen: Observed, revision: str, target: Target | Missing) -> Target | None:
    """What a revision without a Deployment is made of.

    The stable revision's Deployment may have been deleted while the spec has moved on already: then
    its version with today's settings, under its name, is better than none.
    """
    if isinstance(target, Target) and target.revision == revision:
        return target
    stable = seen.status.stable
    version = seen.versions.get(stable.version) if stable is not None and stable.revision == revision else None
    if stable is None or version is None:
        return None
    uri = version.spec.source.uri or (version.status.uri if version.status else None)
    if uri is None:
        return None
    return Target(revision=revision, version=version, digest=stable.digest, uri=uri, number=stable.number)


def _drained(seen: Observed, here: Rollout) -> list[str]:
    """Revisions that nobody wants and no router uses any more."""
    kept = {ref.revision for ref in (here.stable, here.candidate) if ref is not None}
    known = set(seen.deployments) | set(seen.headless)
    return sorted(revision for revision in known - kept if is_drained(seen, revision))


def _of_revision(seen: Observed, revision: str) -> list[Ref]:
    live = (seen.deployments.get(revision), seen.headless.get(revision))
    return [ref(manifest, uid=manifest["metadata"].get("uid")) for manifest in live if manifest is not None]


def _pause(seen: Observed, here: Rollout) -> timedelta | None:
    """When to look again, where no watch tells."""
    candidate = here.candidate
    if not _is_moving(seen, here.stable, candidate):
        guard = protection(seen)
        return None if guard is None else _WATCHED if guard.status == "True" else _UNPROTECTED
    if candidate is not None and candidate.shadow is not None and not candidate.strata:
        return _interval(seen)
    if candidate is not None and not candidate.strata and not seen.is_ready(candidate.revision):
        return _WHILE_STARTING
    if candidate is not None and candidate.strata and runs(seen, here.weights()):
        return _interval(seen)
    return _SOON


def _interval(seen: Observed) -> timedelta:
    return timedelta(seconds=max(seconds(seen.service.spec.rollout.analysis.interval), 1.0))
