"""What happens next to a ModelVersion: each part of its status says what it needs, then one sentence is found."""

from dataclasses import replace
from datetime import datetime, timedelta

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import ProfileReport
from gyre_crds.v1alpha1.version import GateStatus, ModelVersionStatus, ProfileStatus
from gyre_operators.engine.plan import Event, Plan
from gyre_operators.version.conditions import registered_again
from gyre_operators.version.facts import Facts, Say
from gyre_operators.version.gates import gates
from gyre_operators.version.manifests import job_name, number_of, profile_job
from gyre_operators.version.part import SURROUNDINGS, Part
from gyre_operators.version.recording import Recording, recording, wanted_aliases
from gyre_operators.version.report import judge, status
from gyre_operators.version.seen import Observed
from gyre_operators.version.verifying import verification
from gyre_operators.workload.tasks import outcome

_REGISTRY_RETRY = timedelta(seconds=15)
_PROFILE_RUNS = 3


def plan(seen: Observed, now: datetime) -> Plan:
    """The next step of one ModelVersion."""
    verified = verification(seen, now)
    proved = _is_proved(seen, verified.value)
    # Adoption has just told digest and place: what follows needs them.
    known_bytes = replace(seen, version=seen.version.model_copy(update={"status": verified.value}))
    gated = gates(known_bytes, now) if proved else Part(seen.status.gates)
    profiled = _profile(known_bytes) if proved and _is_decided(gated.value) else Part(seen.status.profile)
    facts = Facts(
        seen=seen,
        status=verified.value.model_copy(update={"profile": profiled.value}),
        gates=gated.value,
        recording=Recording(seen.status.registry),
        aliases=wanted_aliases(seen),
    )
    # What the registry is told of the state must not depend on whether it has been told.
    known = replace(facts, recording=recording(seen, gated.value, _state_tag(facts)))
    say = judge(known)
    waits = [verified.requeue, gated.requeue, _REGISTRY_RETRY if known.recording.trouble else None]
    return Plan(
        create=(*verified.create, *gated.create, *profiled.create),
        effects=known.recording.effects,
        status=status(known, say, now),
        events=_events(known, say),
        requeue=min((wait for wait in waits if wait is not None), default=None),
    )


def _is_proved(seen: Observed, now_known: ModelVersionStatus) -> bool:
    """The bytes were verified, by now or, while they are verified again after a promotion, before."""
    done = now_known.verification
    if done is not None and done.verified is not None:
        return done.verified
    return seen.status.registry is not None


def _is_decided(gates: list[GateStatus]) -> bool:
    """No gate runs any more and none said no.

    Rollout waits for the gates and nothing waits for the profile: on a small node they would share
    the cores, and a version that is refused needs no profile.
    """
    return all(gate.state in ("Passed", "Unknown") or gate.type == "Approval" for gate in gates)


def _state_tag(facts: Facts) -> str:
    if any(gate.state == "Failed" for gate in facts.gates):
        return "Failed"
    if "champion" in facts.aliases:
        return "Champion"
    if facts.seen.was_champion:
        return "Archived"
    return "Ready" if all(gate.state == "Passed" for gate in facts.gates) else "Gating"


def _profile(seen: Observed) -> Part[ProfileStatus | None]:
    """The drift profile of the reference rows: monitoring wants it, nothing waits for it."""
    old = seen.status.profile
    if seen.model is None or (old is not None and old.ready is not None):
        return Part(old)
    if seen.version.spec.evidence.reference is None:
        return Part(ProfileStatus(ready=False, message="The version has no reference rows to profile."))
    name = old.job if old is not None and old.job else job_name(seen.name, "profile")
    job = seen.jobs.get(name)
    if job is None:
        return Part(ProfileStatus(job=name), create=(profile_job(seen, name, seen.model.spec.contract),))
    report = outcome(ProfileReport, job, seen.pods)
    if report is None:
        return Part(ProfileStatus(job=name))
    if isinstance(report, ProfileReport):
        return Part(ProfileStatus(job=name, uid=job.metadata.uid, ready=True, digest=report.digest))
    return _profile_failed(seen, name, job.metadata.uid, report)


def _profile_failed(seen: Observed, name: str, uid: str, report: FailureReport) -> Part[ProfileStatus | None]:
    number = number_of(name)
    if report.reason in SURROUNDINGS and number < _PROFILE_RUNS and seen.model is not None:
        again = job_name(seen.name, "profile", number=number + 1)
        create = () if again in seen.jobs else (profile_job(seen, again, seen.model.spec.contract),)
        return Part(ProfileStatus(job=again), create=create)
    return Part(ProfileStatus(job=name, uid=uid, ready=False, message=f"{report.reason}: {report.message}"[:1024]))


def _events(facts: Facts, say: Say) -> tuple[Event, ...]:
    """One event where the reason changed, one for each gate that was decided, one for an alias or entry put back."""
    seen = facts.seen
    decided = _decided_now(facts)
    told = [
        Event(
            f"Gate{gate.state}",
            f"{gate.name}: {gate.message}"[:1024],
            "Normal" if gate.state == "Passed" else "Warning",
        )
        for gate in decided
    ]
    # What a gate has just said is what the version says: once is enough.
    said = any(gate.state != "Passed" and gate.message.rstrip(".") in say.message for gate in decided)
    if seen.status.reason != say.reason and not said:
        warns = say.summary in ("Failed", "Unknown")
        told.append(Event(say.reason, say.message[:1024], "Warning" if warns else "Normal"))
    again = registered_again(facts)
    if again:
        told.append(Event("RegisteredAgain", again, "Warning"))
    for alias in facts.recording.regained:
        message = f"Somebody moved alias {alias} in MLflow; it is put back, since the Model decides about it."
        told.append(Event("AliasDrift", message, "Warning"))
    return tuple(told)


def _decided_now(facts: Facts) -> list[GateStatus]:
    before = {gate.name: gate.state for gate in facts.seen.status.gates}
    decided = (gate for gate in facts.gates if gate.state in ("Passed", "Failed", "Unknown"))
    return [gate for gate in decided if before.get(gate.name) != gate.state]
