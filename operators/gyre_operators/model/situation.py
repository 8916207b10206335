"""The situation that a decision is taken in: what runs, what was trained, how the version came to serve. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gyre_crds.v1alpha1.drift import DriftReport
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Decision, TrainingTrigger
from gyre_operators.drift.windows import is_closed
from gyre_operators.engine.clock import parse_time, rfc3339, span
from gyre_operators.model.learned import expected, retrainings
from gyre_operators.model.observed import Observed, age, is_ready, is_stalled, unfinished
from gyre_operators.model.promotion import Roles
from gyre_operators.model.terms import FreshRollout, Situation


def open_reports(seen: Observed) -> list[DriftReport]:
    """Reports without an answer, oldest window first.

    A monitor's windows come in order, so those before its last answered one were answered too: their
    decisions may have left the status since. A report by hand on a window that is still to come answers for
    itself alone.
    """
    answered = {decision.report for decision in seen.status.decisions}
    done = [r for r in seen.reports if r.metadata.name in answered or (r.status is not None and r.status.decision)]
    until: dict[str, datetime] = {}
    for report in done:
        if report.spec.monitor is not None and is_closed(report):
            end = parse_time(report.spec.window.end)
            until[report.spec.monitor] = max(end, until.get(report.spec.monitor, end))
    return [
        report
        for report in seen.reports
        if report not in done
        and not (report.spec.monitor in until and parse_time(report.spec.window.end) <= until[report.spec.monitor])
    ]


def unheard(seen: Observed) -> frozenset[str]:
    """Reports made elsewhere that do not name their answer yet; a monitor's come in order, and need not to."""
    open_ = (r for r in seen.reports if r.spec.monitor is None and not (r.status is not None and r.status.decision))
    return frozenset(report.metadata.name for report in open_)


def unnamed(seen: Observed) -> frozenset[str]:
    """Reports whose answers must stay: `unheard` ones, and each monitor's newest, which answers for all before it."""
    newest = {
        r.spec.monitor if is_closed(r) else r.metadata.name: r for r in seen.reports if r.spec.monitor is not None
    }
    silent = (r for r in newest.values() if not (r.status is not None and r.status.decision))
    return unheard(seen) | {report.metadata.name for report in silent}


def situation_of(seen: Observed, roles: Roles, now: datetime) -> Situation:
    """What every decision of this round rests on."""
    policy = seen.model.spec.training.decision if seen.model.spec.training else Decision()
    starts = [parse_time(start) for start in trainings_of(seen, now)]
    period = span(policy.budget.per) if policy.budget else timedelta(0)
    return Situation(
        now=now,
        policy=policy,
        under_way=under_way(seen, roles, now),
        last_training=max(starts, default=None),
        trained=_trained(seen),
        maturity=span(seen.model.spec.contract.label.maturity),
        trainings=sum(start > now - period for start in starts),
        learned=expected(retrainings(seen), policy.assumed_decay),
        triggered=is_listed(seen, "Drift"),
        serving=frozenset(
            service.status.stable.version
            for service in seen.services
            if service.status is not None and service.status.stable is not None
        ),
    )


def under_way(seen: Observed, roles: Roles, now: datetime) -> str:
    """The training, judgement or rollout that runs, as a clause; empty when none does.

    A version that its gates could not decide on within horizon and maturity holds nothing up any more: two versions
    that are as good as each other may never be told apart.
    """
    training = training_under_way(seen)
    if training:
        return training
    moot = rfc3339(now - _patience(seen))
    champion = next((v for v in seen.versions if roles.champion and v.metadata.name == roles.champion.name), None)
    judged = [
        version
        for version in seen.versions
        if not is_ready(version.status)
        and not is_stalled(version.status)
        and (champion is None or age(version) > age(champion))
        and age(version) > (moot,)
    ]
    if judged:
        return f"the judgement of {judged[-1].metadata.name}"
    return f"the rollout of {roles.challenger.name}" if roles.challenger is not None else ""


def _patience(seen: Observed) -> timedelta:
    policy = seen.model.spec.training.decision if seen.model.spec.training else Decision()
    return span(policy.horizon) + span(seen.model.spec.contract.label.maturity)


def training_under_way(seen: Observed) -> str:
    """The training that runs or is decided, as a clause; empty when none is."""
    if seen.status.intent is not None:
        return f"training {seen.status.intent.job}"
    running = next((job.metadata.name for job in seen.jobs if unfinished(job)), None)
    return f"training {running}" if running is not None else ""


def rollout_of(seen: Observed, report: DriftReport) -> FreshRollout | None:
    """How the version that the report speaks of came to serve."""
    service = _service(seen, report)
    status = service.status if service is not None else None
    if status is None or status.stable is None or status.stable.since is None:
        return None
    taken = [entry.version for entry in status.history if entry.what == "Promoted"]
    previous = next((version for version in taken if version != status.stable.version), None)
    return FreshRollout(status.stable.version, parse_time(status.stable.since), previous)


def _service(seen: Observed, report: DriftReport) -> InferenceService | None:
    """The service of a report made elsewhere, by its name; of a monitor's, the one that served its version."""
    if report.spec.inference_service is not None:
        return next((s for s in seen.services if s.metadata.name == report.spec.inference_service), None)
    serving = [
        s
        for s in seen.services
        if s.status is not None and s.status.stable is not None and s.status.stable.version == report.spec.version
    ]
    return serving[0] if serving else None


def trainings_of(seen: Observed, now: datetime) -> list[str]:
    """Starts of retrainings that cooldown and budget still look at."""
    policy = seen.model.spec.training.decision if seen.model.spec.training else Decision()
    since = now - max(span(policy.cooldown), span(policy.budget.per) if policy.budget else timedelta(0))
    return [start for start in seen.status.trained_at if parse_time(start) > since]


def _trained(seen: Observed) -> datetime | None:
    """When the last training was: of the newest version, promoted or refused, or one that made none.

    What failed would else be tried again at each look, as old as before.
    """
    known = [version.spec.lineage.trained_at for version in seen.versions]
    tried = [decision.at for decision in seen.status.decisions if decision.action == "Retrain"]
    return max((parse_time(one) for one in [*known, *tried] if one is not None), default=None)


def triggers_of(seen: Observed) -> Sequence[TrainingTrigger]:
    """The triggers that the Model lists."""
    return seen.model.spec.training.triggers if seen.model.spec.training else ()


def is_listed(seen: Observed, wanted: str) -> bool:
    """Whether a trigger of that type is listed."""
    return any(trigger.type == wanted for trigger in triggers_of(seen))


def source_of(report: DriftReport) -> str:
    """Who looks: reports of one source come in the order of their windows."""
    return report.spec.monitor or f"service {report.spec.inference_service}"
