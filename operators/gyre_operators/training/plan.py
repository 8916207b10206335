"""What happens next to a TrainingJob: steps in a list, the first that has something to say decides.

The attempt under way is judged first; only when there is none does the next one come into question.
Everything is read from status and children, so any step may be repeated after a crash.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from gyre_crds import names
from gyre_crds.base import seconds
from gyre_crds.contracts.attempt import PublishResult
from gyre_crds.reasons import Common, Training
from gyre_crds.v1alpha1.training import AttemptStatus
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import NOTHING, Plan, Ref
from gyre_operators.gpu.fit import Fit, fit
from gyre_operators.training import attempts as counting
from gyre_operators.training import manifests
from gyre_operators.training.deadline import limit_of, time_left, waited_for
from gyre_operators.training.ending import LINGER, as_uid, finish, grown, kept, leftover, over
from gyre_operators.training.outcome import Outcome
from gyre_operators.training.pins import as_seen, pinned, pins
from gyre_operators.training.pulling import given_up_at
from gyre_operators.training.report import Say, told
from gyre_operators.training.seen import Away, Observed
from gyre_operators.training.stage import stage, starting
from gyre_operators.workload.views import Pod

POLL = timedelta(seconds=10)
"""How often a running attempt is looked at for progress."""
STORE_RETRY = timedelta(seconds=15)
NO_GPU_RETRY = timedelta(minutes=1)
"""Changes of nodes wake the job; this bounds how long one that was missed keeps it waiting."""

Step = Callable[[Observed, datetime], Plan | None]


def plan(seen: Observed, now: datetime) -> Plan:
    """The next step of one TrainingJob."""
    for step in STEPS:
        decided = step(seen, now)
        if decided is not None:
            return decided
    return NOTHING


def _rest(seen: Observed, now: datetime) -> Plan | None:
    """A finished job never trains again; after its TTL the pods go, and the object stays."""
    finished = seen.job.status.finished_at if seen.job.status else None
    if finished is None:
        return None
    keep = seen.job.spec.ttl_after_finished
    left = tuple(
        Ref("batch/v1", "Job", seen.job.metadata.namespace, child.metadata.name, child.metadata.uid)
        for child in (seen.jobs or {}).values()
        if child.metadata.deletion_timestamp is None
    )
    if keep is None or not left:
        return NOTHING
    due = parse_time(finished) + timedelta(seconds=seconds(keep)) - now
    return Plan(delete=left) if due <= timedelta() else Plan(requeue=due)


# The attempt under way.


def _published(seen: Observed, now: datetime) -> Plan | None:
    """The result is in the store: make its ModelVersion, and finish when that exists."""
    if not isinstance(seen.result, PublishResult) or seen.attempt is None:
        return None
    if seen.version is None:
        return Plan(create=(manifests.model_version(seen, seen.result, pinned(seen)),))
    outcome = Outcome("Succeeded", Training.SUCCEEDED, "The result is published.", exit_code=0)
    name = seen.version.metadata.name
    say = Say("Succeeded", "Ready", Training.SUCCEEDED, f"ModelVersion {name} holds the result.")
    return finish(seen, now, say, outcome, version=name)


def _store_away(seen: Observed, now: datetime) -> Plan | None:
    if not isinstance(seen.result, Away):
        return None
    say = Say("Publishing", "Unknown", Common.STORE_UNREACHABLE, f"{seen.result.sentence}. It is asked again.")
    return replace(told(seen, say, now), requeue=STORE_RETRY)


def _suspended(seen: Observed, now: datetime) -> Plan | None:
    if not seen.job.spec.suspend:
        return None
    say = Say("Suspended", "Progressing", Training.SUSPENDED, "spec.suspend is true; set it to false to go on.")
    attempt = seen.attempt
    if attempt is None:
        return told(seen, say, now)
    record = counting.ended(
        [*seen.attempts[:-1], as_seen(seen, attempt)],
        outcome="Suspended",
        reason=Training.SUSPENDED,
        end=rfc3339(now),
        charged=False,
    )
    return replace(told(seen, say, now, attempts=record, progress=None, **pins(seen)), delete=leftover(seen, attempt))


def _deadline(seen: Observed, now: datetime) -> Plan | None:
    if time_left(seen, now) > timedelta():
        return None
    message = (
        f"The deadline of {limit_of(seen)} for all attempts has passed{waited_for(seen)}. "
        "Raise spec.deadline in a new job, or make the training shorter."
    )
    say = Say("Failed", "Failed", Training.DEADLINE_EXCEEDED, message)
    if seen.attempt is None:
        # No look follows the write of a status alone, so this one has to say when the next is due.
        return replace(told(seen, say, now, finished_at=rfc3339(now)), requeue=kept(seen))
    return finish(seen, now, say, Outcome("Failed", Training.DEADLINE_EXCEEDED, message))


def _going(seen: Observed, now: datetime) -> Plan | None:
    """The attempt goes on: say where it stands, and create its Job if a crash came in between."""
    attempt = seen.attempt
    if attempt is None:
        return None
    left = time_left(seen, now)
    if seen.child(attempt) is None:
        return Plan(create=(manifests.attempt_job(seen, attempt, gpu=_fit(seen), as_uid=as_uid(seen)),), requeue=left)
    say = stage(seen, attempt)
    changes = pins(seen)
    if say != starting(attempt):
        changes["attempts"] = [*seen.attempts[:-1], as_seen(seen, attempt)]
    if seen.progress is not None:
        changes["progress"] = seen.progress
    return replace(told(seen, say, now, **changes), requeue=_look_again(seen, attempt, say, now))


def _look_again(seen: Observed, attempt: AttemptStatus, say: Say, now: datetime) -> timedelta:
    """Progress is polled; a pod that is dying is looked at until it counts as lost; all else wakes us."""
    pod, left = seen.pod(attempt), time_left(seen, now)
    given_up = given_up_at(pod, seen.site.image_grace) if pod else None
    if given_up is not None:
        return max(min(left, given_up - now), timedelta())
    train = pod.terminated("train") if pod else None
    dying = pod is not None and (pod.disruption is not None or (train is not None and train.exit_code != 0))
    return min(left, POLL) if say.reason == Training.RUNNING or dying else left


# The next attempt.


def _old_pods(seen: Observed, now: datetime) -> Plan | None:
    """Two attempts never train side by side: they share checkpoints."""
    lingering = [pod for pod in seen.pods if not pod.ended and not _harmless(pod, now)]
    return Plan(requeue=min(POLL, max(time_left(seen, now), timedelta()))) if lingering else None


def _harmless(pod: Pod, now: datetime) -> bool:
    """It was told to go, and either never trained or its node is away and may never confirm."""
    deleted = pod.metadata.deletion_timestamp
    if deleted is None:
        return False
    return not pod.runs("train") or now - parse_time(deleted) > 2 * LINGER


def _backing_off(seen: Observed, now: datetime) -> Plan | None:
    last = seen.attempts[-1] if seen.attempts else None
    if last is None or last.end is None:
        return None
    wait = parse_time(last.end) + counting.backoff(seen.job.spec.retry, seen.attempts) - now
    return Plan(requeue=wait) if wait > timedelta() else None


def _no_gpu(seen: Observed, now: datetime) -> Plan | None:
    gpu = _fit(seen)
    if gpu is None or gpu.found:
        return None
    say = Say("Pending", "Progressing", Training.NO_GPU_FITS, gpu.status.reason)
    started = seen.job.status.started_at if seen.job.status else None
    plan = told(seen, say, now, gpu=gpu.status, started_at=started or rfc3339(now))
    return replace(plan, requeue=min(time_left(seen, now), NO_GPU_RETRY) if started else POLL)


def _next(seen: Observed, now: datetime) -> Plan:
    """Record the intent, then create the Job."""
    gpu = _fit(seen)
    number = seen.attempts[-1].number + 1 if seen.attempts else 1
    attempt = AttemptStatus(
        number=number,
        job=names.attempt(seen.job.metadata.name, number),
        memory=_next_memory(seen),
    )
    started = seen.job.status.started_at if seen.job.status else None
    plan = told(
        seen,
        starting(attempt),
        now,
        attempts=counting.begun(seen.attempts, attempt),
        gpu=gpu.status if gpu else None,
        started_at=started or rfc3339(now),
        progress=None,
    )
    job = manifests.attempt_job(seen, attempt, gpu=gpu, as_uid=as_uid(seen))
    # No event: the next one says what became of the start, a moment later in most cases.
    return replace(plan, create=(job,), events=())


def _next_memory(seen: Observed) -> str:
    last = seen.attempts[-1] if seen.attempts else None
    if last is None or last.memory is None:
        return manifests.memory_of(seen)
    if last.reason == Training.OUT_OF_MEMORY:
        return grown(seen, last) or last.memory
    return last.memory


def _fit(seen: Observed) -> Fit | None:
    return fit(seen.job.spec.gpu, seen.nodes) if seen.job.spec.gpu else None


STEPS: tuple[Step, ...] = (
    _rest,
    _published,
    _store_away,
    over,
    _suspended,
    _deadline,
    _going,
    _old_pods,
    _backing_off,
    _no_gpu,
    _next,
)
