"""Are the stored bytes the version's? By a Job before anything else, and again after each promotion."""

from datetime import datetime, timedelta

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import AdoptReport, VerifyReport
from gyre_crds.reasons import Version
from gyre_crds.v1alpha1.version import ModelVersionStatus, Verification
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.version.manifests import adopt_job, job_name, number_of, verify_job
from gyre_operators.version.part import SURROUNDINGS, Part, wait_for_rerun
from gyre_operators.version.seen import Observed
from gyre_operators.workload.tasks import outcome

_FIRST_WAIT = timedelta(minutes=1)


def verification(seen: Observed, now: datetime) -> Part[ModelVersionStatus]:
    """The status with its verification, and for an adopted version what adoption found."""
    status = seen.status
    done = status.verification
    if done is None or done.job is None:
        return _begin(seen, job_name(seen.name, _role(seen)))
    if done.verified is None:
        return _pursue(seen, done, now)
    if _is_stale(seen, done) if done.verified else _made_again(seen):
        return _begin(seen, job_name(seen.name, "verify", number=number_of(done.job) + 1))
    return Part(status)


def _role(seen: Observed) -> str:
    return "adopt" if seen.uri is None else "verify"


def _begin(seen: Observed, name: str) -> Part[ModelVersionStatus]:
    status = seen.status.model_copy(update={"verification": Verification(job=name)})
    return Part(status, create=() if name in seen.jobs else (_job(seen, name),))


def _job(seen: Observed, name: str) -> dict[str, object]:
    make = adopt_job if _role(seen) == "adopt" else verify_job
    return dict(make(seen, name))


def _pursue(seen: Observed, under_way: Verification, now: datetime) -> Part[ModelVersionStatus]:
    name = under_way.job or ""
    if under_way.at is not None:
        # This run was lost to the surroundings.
        wait = wait_for_rerun(number_of(name), under_way.at, now, first=_FIRST_WAIT)
        if wait > timedelta():
            return Part(seen.status, requeue=wait)
        return _begin(seen, job_name(seen.name, _role(seen), number=number_of(name) + 1))
    if name not in seen.jobs:
        return Part(seen.status, create=(_job(seen, name),))
    if _role(seen) == "adopt":
        return Part(_adopted(seen, under_way, outcome(AdoptReport, seen.jobs[name], seen.pods), now))
    return Part(_verified(seen, under_way, outcome(VerifyReport, seen.jobs[name], seen.pods), now))


def _verified(
    seen: Observed, under_way: Verification, report: VerifyReport | FailureReport | None, now: datetime
) -> ModelVersionStatus:
    if report is None:
        return seen.status
    if isinstance(report, FailureReport):
        return _failed(seen, under_way, report, now)
    update = {"verified": report.verified, "message": report.message, "at": rfc3339(now), "uid": _uid(seen, under_way)}
    return seen.status.model_copy(update={"verification": under_way.model_copy(update=update)})


def _adopted(
    seen: Observed, under_way: Verification, report: AdoptReport | FailureReport | None, now: datetime
) -> ModelVersionStatus:
    if report is None:
        return seen.status
    if isinstance(report, FailureReport):
        return _failed(seen, under_way, report, now)
    pinned = seen.version.spec.digest
    same = pinned is None or pinned == report.tree_digest
    message = "" if same else f"MLflow holds bytes of digest {report.tree_digest}, spec.digest says {pinned}"
    update = {"verified": same, "message": message, "at": rfc3339(now), "uid": _uid(seen, under_way)}
    return seen.status.model_copy(
        update={
            "verification": under_way.model_copy(update=update),
            "digest": report.tree_digest,
            "uri": report.uri,
            "signature": report.signature,
            "format": report.format,
        },
    )


def _failed(seen: Observed, under_way: Verification, report: FailureReport, now: datetime) -> ModelVersionStatus:
    """Lost to the surroundings: undecided, with the time. Otherwise the answer is no."""
    lost = report.reason in SURROUNDINGS
    prefix = f"{report.reason}: " if report.reason != Version.DIGEST_MISMATCH else ""
    update = {
        "verified": None if lost else False,
        "message": f"{prefix}{report.message}"[:1024],
        "at": rfc3339(now),
        "uid": _uid(seen, under_way),
    }
    return seen.status.model_copy(update={"verification": under_way.model_copy(update=update)})


def _uid(seen: Observed, under_way: Verification) -> str | None:
    job = seen.jobs.get(under_way.job or "")
    return job.metadata.uid if job else under_way.uid


_PRODUCERS = 64
"""As many as status.produced_by holds: with more, one that is new cannot be told from one that is left out."""


def _made_again(seen: Observed) -> bool:
    """A training brought the same bytes once more, which is the cure that a refuted version names."""
    known = seen.status.produced_by
    return len(known) < _PRODUCERS and not set(seen.producers) <= set(known)


def _is_stale(seen: Observed, done: Verification) -> bool:
    """Promotion asks for proof from after it: what serves from now on is what was trained."""
    champion = seen.model.status.champion if seen.model and seen.model.status else None
    if not seen.is_champion or champion is None or champion.since is None or done.at is None:
        return False
    return parse_time(done.at) < parse_time(champion.since)
