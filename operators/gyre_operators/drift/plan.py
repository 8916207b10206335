"""From what was seen of a DriftMonitor to the next step. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from gyre_crds.base import API_VERSION, seconds
from gyre_crds.conditions import merge, summary
from gyre_crds.contracts.task import Import, Report
from gyre_crds.reasons import Common, Drift
from gyre_crds.v1alpha1.drift import DriftMonitorStatus, DriftReport, LookStatus
from gyre_operators.drift.manifests import imported, imported_name, job_name, look_job, report, report_names
from gyre_operators.drift.observed import Failure, Observed
from gyre_operators.drift.target import Missing, Target, lateness_of, target_of
from gyre_operators.drift.windows import newest_closed, next_close
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import Event, Manifest, Plan, Ref

TRIES = 3
_BACKOFF = 10.0
_LONGEST_BACKOFF = 300.0
_STORE_PAUSE = timedelta(seconds=10)
_SENTENCE = 1000


@dataclass(frozen=True, slots=True)
class _Next:
    """What comes of a round, before it is a plan."""

    state: Literal["Ready", "Progressing", "Failed", "Unknown"]
    word: str
    reason: str
    message: str
    changes: dict[str, Any]
    """Fields of the status that change."""
    create: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    events: tuple[Event, ...] = ()
    requeue: timedelta | None = None


def plan(seen: Observed, now: datetime) -> Plan:
    """The next step of the monitor."""
    if seen.monitor.spec.paused or seen.ground.frozen:
        why = "the operator's settings say freeze" if seen.ground.frozen else "spec.paused is true"
        step = _Next("Ready", "Paused", Common.PAUSED, f"{why}: nobody looks", {})
    elif seen.status.look is not None:
        step = _looking(seen, seen.status.look, now)
    else:
        step = _between(seen, now)
    return Plan(
        create=step.create,
        delete=step.delete,
        status=_status(seen, step, now),
        events=step.events,
        requeue=step.requeue,
    )


# Between looks.


def _between(seen: Observed, now: datetime) -> _Next:
    target = target_of(seen)
    if isinstance(target, Missing):
        return _Next(target.state, "Waiting", target.reason, target.message, {})
    every, late = seconds(seen.monitor.spec.window.every), lateness_of(seen)
    span = newest_closed(every, now, late)
    last = seen.status.last_window_end
    if span.end <= target.since or (last is not None and span.end <= parse_time(last)):
        closes = next_close(every, now, late)
        return replace(_at_rest(seen, closes), requeue=max(closes - now, timedelta(seconds=1)))
    start = rfc3339(span.start)
    look = LookStatus(
        window_start=start, window_end=rfc3339(span.end), job=job_name(seen.monitor.metadata.name, start, 0)
    )
    return _started(seen, target, look)


def _at_rest(seen: Observed, closes: datetime) -> _Next:
    status = seen.status
    said = next((c.message for c in status.conditions if c.type == "Ready"), "")
    if status.reason == Drift.LOOK_FAILED:
        return _Next("Failed", "Failed", Drift.LOOK_FAILED, said, {})
    if status.verdict is None:
        message = f"the first window closes at {rfc3339(closes)}"
        return _Next("Ready", "Watching", Drift.WAITING_FOR_WINDOW, message, {})
    message = f"the window until {status.last_window_end} was {status.verdict} (level {status.level})"
    # What else was said of this window stays until the next.
    return _Next("Ready", "Watching", Drift.WATCHING, said if said.startswith(message) else message, {})


def _started(seen: Observed, target: Target, look: LookStatus) -> _Next:
    """The intent stands in the status before the Job is made."""
    message = f"job {look.job} looks at {look.window_start} to {look.window_end}"
    made = look_job(seen.monitor, target, look, seen.ground)
    return _Next("Ready", "Looking", Drift.LOOKING, message, {"look": look}, create=(made,))


# While a look is under way.


def _looking(seen: Observed, look: LookStatus, now: datetime) -> _Next:
    may_be = report_names(seen.monitor.metadata.name, look.window_start)
    done = next((r for r in seen.reports if r.metadata.name in may_be), None)
    if done is not None:
        return _concluded(seen, look, done)
    if seen.job is None and look.uid is None:
        target = target_of(seen)
        if isinstance(target, Missing):
            # What was to be looked at went away between the intent and its Job.
            return _Next(target.state, "Waiting", target.reason, target.message, {"look": None})
        return _started(seen, target, look)
    if seen.job is None:
        return _failed(seen, look, Failure(f"job {look.job} went away without a report"), now)
    if look.uid is None:
        look = look.model_copy(update={"uid": seen.job.metadata.uid})
    if seen.finished is not None:
        return _ended(seen, look, now)
    waits = f": {seen.waits}" if seen.waits else ""
    again = f", try {look.failures + 1} of {TRIES}" if look.failures else ""
    message = f"job {look.job} looks at {look.window_start} to {look.window_end}{again}{waits}"
    return _Next("Ready", "Looking", Drift.LOOKING, message, {"look": look})


def _ended(seen: Observed, look: LookStatus, now: datetime) -> _Next:
    finished = seen.finished
    if finished is None:
        raise AssertionError("asked only of a look whose job ended")
    if finished.away:
        message = f"the report of job {look.job} cannot be read: {finished.away}"
        return _Next("Unknown", "Looking", Common.STORE_UNREACHABLE, message, {"look": look}, requeue=_STORE_PAUSE)
    if finished.report is not None:
        message = f"the look at {look.window_start} is done, its report is written"
        return _Next(
            "Ready",
            "Looking",
            Drift.LOOKING,
            message,
            {"look": look},
            create=_reports(seen, look, finished.report),
            events=_refused(seen, finished.report),
        )
    return _failed(seen, look, finished.failure or Failure(f"job {look.job} left no report"), now)


def _reports(seen: Observed, look: LookStatus, found: Report) -> tuple[Manifest, ...]:
    """The look's own comes last: where it stands, Evidently's stand too. A name that is taken stops none of them."""
    own = report(seen.monitor, _report_name(seen, look), found.spec)
    theirs = (imported(seen.monitor, one) for one in found.imports if not _is_taken(seen, one))
    return (*(made for made in theirs if made is not None), own)


def _is_taken(seen: Observed, one: Import) -> bool:
    """Whether something made by hand has the name of an import's report."""
    name = imported_name(seen.monitor.metadata.name, one.key)
    return name in seen.taken and all(report.metadata.name != name for report in seen.imported)


def _report_name(seen: Observed, look: LookStatus) -> str:
    """The first of its names that nobody else has; where all are taken, the API server's refusal is told of."""
    may_be = report_names(seen.monitor.metadata.name, look.window_start)
    return next((name for name in may_be if name not in seen.taken), may_be[0])


def _refused(seen: Observed, found: Report) -> tuple[Event, ...]:
    told = [(one.uri, one.problem) for one in found.imports if one.problem]
    for one in found.imports:
        name = imported_name(seen.monitor.metadata.name, one.key)
        if not one.problem and _is_taken(seen, one):
            told.append((one.uri, f"DriftReport {name}, made by hand, has its name; delete that one"))
    return tuple(Event("EvidentlyRefused", f"{uri}: {problem}"[:1024], "Warning") for uri, problem in told)


def _failed(seen: Observed, look: LookStatus, failure: Failure, now: datetime) -> _Next:
    """Another try after a pause, or the window is given up: the next one is looked at in its turn."""
    failures = look.failures + 1
    if failure.final or failures >= TRIES:
        message = f"the look at {look.window_start} to {look.window_end} failed: {failure.message}"
        changes = {"look": None, "last_window_end": look.window_end}
        event = Event("LookFailed", f"{message}. The next window is looked at again.", "Warning")
        return _Next("Failed", "Failed", Drift.LOOK_FAILED, message, changes, events=(event,))
    pause = timedelta(seconds=min(_BACKOFF * 2**look.failures, _LONGEST_BACKOFF))
    due = failure.at + pause if failure.at is not None else now
    message = f"try {failures} of {TRIES} failed: {failure.message}"
    if now < due:
        return _Next("Ready", "Looking", Drift.LOOKING, message, {"look": look}, requeue=due - now)
    target = target_of(seen)
    if isinstance(target, Missing):
        return _Next(target.state, "Waiting", target.reason, target.message, {"look": None})
    again = LookStatus(
        window_start=look.window_start,
        window_end=look.window_end,
        job=job_name(seen.monitor.metadata.name, look.window_start, failures),
        failures=failures,
    )
    event = Event("LookRetried", f"{message}. Job {again.job} looks again.", "Warning")
    return replace(_started(seen, target, again), message=message, events=(event,))


def _concluded(seen: Observed, look: LookStatus, done: DriftReport) -> _Next:
    """The report stands: take its verdict over, and let the oldest go."""
    spec, status = done.spec, seen.status
    kept = seen.reports[-seen.monitor.spec.history :]
    theirs = seen.imported[: -seen.monitor.spec.history]
    gone = [*(r for r in seen.reports if r not in kept and r is not done), *theirs]
    changes = {
        "look": None,
        "last_window_end": look.window_end,
        "verdict": spec.verdict,
        "level": spec.level,
        "last_report": done.metadata.name,
        "reports": len(seen.reports) - len(gone) + len(theirs),
        "imported_until": look.window_start if seen.monitor.spec.evidently else seen.status.imported_until,
        "consecutive": consecutive(status, spec.verdict),
    }
    renamed = _renamed(seen, look, done)
    return _Next(
        "Ready",
        "Watching",
        Drift.WATCHING,
        f"the window until {look.window_end} was {spec.verdict} (level {spec.level}){_said(seen, look, done)}{renamed}",
        changes,
        delete=tuple(
            Ref(API_VERSION, "DriftReport", r.metadata.namespace, r.metadata.name, r.metadata.uid) for r in gone
        ),
        events=(*_alarm(done), *((Event("ReportRenamed", renamed.removeprefix("; "), "Warning"),) if renamed else ())),
        requeue=timedelta(seconds=1),
    )


def _said(seen: Observed, look: LookStatus, done: DriftReport) -> str:
    """The report's own sentence, and from when on nobody looked before it: such rows were seen by no monitor."""
    before = seen.status.last_window_end
    missed = before is not None and parse_time(before) < parse_time(look.window_start)
    gap = f"; nobody looked at {before} to {look.window_start}" if missed else ""
    return f": {done.spec.reason.rstrip('.')[:_SENTENCE]}{gap}"


def _renamed(seen: Observed, look: LookStatus, done: DriftReport) -> str:
    """A clause about a report that has not its first name; empty for all others."""
    first, *_ = report_names(seen.monitor.metadata.name, look.window_start)
    if done.metadata.name == first:
        return ""
    return (
        f"; its report is {done.metadata.name}, since a DriftReport {first} was made by hand: "
        "name reports of your own otherwise"
    )


def consecutive(status: DriftMonitorStatus, verdict: str) -> int:
    """Windows in a row with this alarming verdict; a window with too few rows neither ends nor continues a row."""
    if verdict == Drift.INSUFFICIENT_DATA:
        return status.consecutive
    if verdict == Drift.HEALTHY:
        return 0
    return status.consecutive + 1 if status.verdict == verdict else 1


def _alarm(done: DriftReport) -> tuple[Event, ...]:
    if done.spec.verdict in (Drift.HEALTHY, Drift.INSUFFICIENT_DATA):
        return ()
    event_type: Literal["Normal", "Warning"] = "Normal" if done.spec.level == "None" else "Warning"
    return (Event(done.spec.verdict, f"{done.spec.reason} (report {done.metadata.name})", event_type),)


def _status(seen: Observed, step: _Next, now: datetime) -> dict[str, Any]:
    generation = seen.monitor.metadata.generation
    conditions = merge(
        seen.status.conditions,
        summary(step.state, step.reason, step.message[:4096]),
        now=rfc3339(now),
        generation=generation,
    )
    update = {
        "observed_generation": generation,
        "state": step.word,
        "reason": str(step.reason),
        "conditions": conditions,
        **step.changes,
    }
    return seen.status.model_copy(update=update).dump()
