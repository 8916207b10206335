"""An attempt ended: put it on record, and end the job or let the next attempt come."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from gyre_crds.base import seconds
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.training import AttemptStatus
from gyre_operators.engine.clock import parse_time, rfc3339
from gyre_operators.engine.plan import Plan, Ref
from gyre_operators.training import attempts as counting
from gyre_operators.training.manifests import PUBLISH_MEMORY, memory_of
from gyre_operators.training.outcome import Ended, Outcome, judge, refused_root
from gyre_operators.training.pins import as_seen, pins
from gyre_operators.training.pulling import given_up_at
from gyre_operators.training.report import Say, told
from gyre_operators.training.seen import Observed
from gyre_operators.workload.messages import sentence, with_tail
from gyre_operators.workload.template import UID
from gyre_operators.workload.views import Pod

LINGER = timedelta(seconds=30)
"""A pod whose training failed gets this long to end by itself; a deleted one as long to be gone."""


def over(seen: Observed, now: datetime) -> Plan | None:
    """Judge the attempt under way, if it has ended."""
    attempt = seen.attempt
    if attempt is None or not _has_ended(seen, attempt, now):
        return None
    child, pod = seen.child(attempt), seen.pod(attempt)
    outcome = judge(Ended(attempt, child, pod, seen.job.spec.image, as_uid(seen)))
    if outcome.outcome == "Succeeded":
        return finish(seen, now, Say("Succeeded", "Ready", outcome.reason, sentence(outcome.message)), outcome)
    record = recorded(seen, outcome, now)
    for rule in _FINAL:
        verdict = rule(seen, outcome, record)
        if verdict is not None:
            return finish(seen, now, verdict, outcome)
    wait = counting.backoff(seen.job.spec.retry, record)
    what = f"Attempt {attempt.number} ended with {outcome.reason}: {sentence(outcome.message)}"
    say = Say("Retrying", "Progressing", Training.RETRYING, f"{what} The next one starts {_in(wait)}.")
    plan = told(seen, say, now, attempts=record, progress=None, **pins(seen))
    due = parse_time(record[-1].end) + wait - now if record[-1].end else wait
    return replace(plan, delete=leftover(seen, attempt), requeue=max(due, timedelta()))


def _has_ended(seen: Observed, attempt: AttemptStatus, now: datetime) -> bool:
    child, pod = seen.child(attempt), seen.pod(attempt)
    if child is None:
        return attempt.uid is not None
    if child.complete or child.failed is not None:
        return True
    if pod is None:
        return False
    given_up = given_up_at(pod, seen.site.image_grace)
    if given_up is not None and given_up <= now:
        return True
    return pod.ended or refused_root(pod) is not None or _is_stuck(pod, now)


def _is_stuck(pod: Pod, now: datetime) -> bool:
    """The training failed and the pod does not end, or it was told to go and its node does not answer."""
    train = pod.terminated("train")
    if train is not None and train.exit_code != 0 and train.finished_at is not None:
        return now - parse_time(train.finished_at) > LINGER
    deleted = pod.metadata.deletion_timestamp
    return pod.disruption is not None and deleted is not None and now - parse_time(deleted) > LINGER


def recorded(seen: Observed, outcome: Outcome, now: datetime) -> list[AttemptStatus]:
    """The attempts with the end of the last one on record."""
    attempt = seen.attempts[-1]
    return counting.ended(
        [*seen.attempts[:-1], as_seen(seen, attempt)],
        outcome=outcome.outcome,
        reason=outcome.reason,
        diagnosis=diagnosis(outcome),
        exit_code=outcome.exit_code,
        charged=outcome.outcome == "Failed",
        end=_ended_at(seen.pod(attempt)) or rfc3339(now),
    )


def diagnosis(outcome: Outcome) -> str:
    """The sentence with the output's last lines."""
    return with_tail(sentence(outcome.message), list(outcome.tail))


def _ended_at(pod: Pod | None) -> str | None:
    ends = [each.state.terminated.finished_at for each in pod.containers if each.state.terminated] if pod else []
    return max((end for end in ends if end), default=None)


def finish(seen: Observed, now: datetime, say: Say, outcome: Outcome, *, version: str | None = None) -> Plan:
    """The end of the job, with the end of its last attempt."""
    progress = seen.job.status.progress if seen.job.status else None
    if say.summary == "Ready" and progress is not None:
        progress = progress.model_copy(update={"percent": 100, "eta": None})
    plan = told(
        seen,
        say,
        now,
        attempts=recorded(seen, outcome, now),
        finished_at=rfc3339(now),
        version=version,
        progress=progress,
        **pins(seen),
    )
    left = leftover(seen, seen.attempts[-1]) if say.summary == "Failed" else ()
    return replace(plan, delete=left, requeue=kept(seen))


def kept(seen: Observed) -> timedelta | None:
    """How long the Jobs and pods of a finished job stay; None where nobody set a time."""
    keep = seen.job.spec.ttl_after_finished
    return timedelta(seconds=seconds(keep)) if keep else None


def leftover(seen: Observed, attempt: AttemptStatus) -> tuple[Ref, ...]:
    """The attempt's Job, if something of it may still run; ended pods stay for their logs."""
    child, pod = seen.child(attempt), seen.pod(attempt)
    if child is None or child.complete or child.failed is not None or (pod is not None and pod.ended):
        return ()
    return (Ref("batch/v1", "Job", seen.job.metadata.namespace, attempt.job, child.metadata.uid),)


def as_uid(seen: Observed) -> int | None:
    """Our user, once the kubelet said that the image's own is root."""
    tried = any(each.reason == Training.NEEDS_ROOT and each.outcome == "Disrupted" for each in seen.attempts)
    return UID if tried else None


def grown(seen: Observed, attempt: AttemptStatus) -> str | None:
    """The memory of the attempt after one that ran out of it; None when no node has more."""
    largest = counting.largest_node(seen.nodes, seen.job.spec.node_selector, beside=PUBLISH_MEMORY)
    return counting.grown(attempt.memory or memory_of(seen), largest)


# What ends the job.


def _not_worth_it(_seen: Observed, outcome: Outcome, _record: list[AttemptStatus]) -> Say | None:
    return None if outcome.retry else Say("Failed", "Failed", outcome.reason, diagnosis(outcome))


def _no_more_memory(seen: Observed, outcome: Outcome, record: list[AttemptStatus]) -> Say | None:
    if outcome.reason != Training.OUT_OF_MEMORY:
        return None
    if seen.job.spec.on_out_of_memory == "Fail":
        cure = "Raise resources.limits.memory, or set onOutOfMemory: Grow."
    elif grown(seen, record[-1]) is None:
        cure = "No node that the pod may use has more. Add a larger node, or make the training smaller."
    else:
        return None
    return Say("Failed", "Failed", outcome.reason, f"{sentence(outcome.message)} {cure}")


def _retries_spent(seen: Observed, outcome: Outcome, record: list[AttemptStatus]) -> Say | None:
    limit = seen.job.spec.retry.limit
    if outcome.outcome != "Failed" or counting.charged(record) <= limit:
        return None
    if limit == 0:
        return Say("Failed", "Failed", outcome.reason, diagnosis(outcome))
    head = f"All {counting.charged(record)} attempts that retry.limit {limit} allows have failed, the last so"
    return Say("Failed", "Failed", outcome.reason, f"{head}: {diagnosis(outcome)}", final=Training.RETRIES_EXHAUSTED)


def _disrupted_too_often(_seen: Observed, outcome: Outcome, record: list[AttemptStatus]) -> Say | None:
    count = counting.disruptions(record)
    if outcome.outcome != "Disrupted" or count < counting.DISRUPTION_LIMIT:
        return None
    return Say(
        "Failed", "Failed", outcome.reason, f"{count} attempts were disrupted, the last so: {diagnosis(outcome)}"
    )


_FINAL: tuple[Callable[[Observed, Outcome, list[AttemptStatus]], Say | None], ...] = (
    _not_worth_it,
    _no_more_memory,
    _retries_spent,
    _disrupted_too_often,
)


def _in(wait: timedelta) -> str:
    return f"in {wait.total_seconds():g} s" if wait > timedelta() else "now"
