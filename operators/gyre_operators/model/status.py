"""The status of a Model. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from gyre_crds.conditions import Condition, merge, summary
from gyre_crds.reasons import Common, ModelReason, Training
from gyre_crds.v1alpha1.inference import InferenceService, Rejected
from gyre_crds.v1alpha1.model import DecisionStatus, ModelStatus
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_operators.engine.clock import rfc3339
from gyre_operators.model.learned import retrainings
from gyre_operators.model.observed import Observed, is_ready, is_stalled, ready_condition, unfinished
from gyre_operators.model.promotion import Roles, rejected
from gyre_operators.model.situation import trainings_of
from gyre_operators.model.triggers import Answers
from gyre_operators.workload.messages import on_one_line, sentence

_ON_ITS_WAY = frozenset({Training.PENDING, Training.PREPARING, Training.RUNNING, Training.PUBLISHING})
"""Reasons of a training that needs nobody's help; a Model that repeated them would write at each step."""


class Said(NamedTuple):
    """What the Ready condition says."""

    state: Literal["Ready", "Progressing", "Failed"]
    word: str
    reason: str
    message: str


def status_of(
    seen: Observed,
    who: Roles,
    told: Answers,
    *,
    intent: DecisionStatus | None,
    decisions: Sequence[DecisionStatus],
    now: datetime,
) -> Mapping[str, Any]:
    """The whole status."""
    running = next((job.metadata.name for job in seen.jobs if unfinished(job)), None)
    said = _said(seen, who, told, running or (intent.job if intent else None))
    starts = [decision.at for decision in told.decisions if _counts(decision)]
    return ModelStatus(
        observed_generation=seen.model.metadata.generation,
        state=said.word,
        reason=said.reason,
        conditions=_conditions(seen, said, now),
        champion=who.champion,
        challenger=who.challenger,
        versions=len(seen.versions),
        used_by=_users(seen),
        running=running,
        intent=intent,
        decisions=list(decisions),
        manual_token=told.manual_token,
        last_schedule=told.last_schedule,
        trained_at=[*trainings_of(seen, now), *starts],
        retrainings=retrainings(seen),
    ).dump()


def paused_status(seen: Observed, now: datetime) -> Mapping[str, Any]:
    """The status as it stands, saying that nothing is decided for now."""
    why = "the operator's settings say freeze" if seen.frozen else "spec.paused is true"
    message = f"{why}: nothing is trained, promoted or removed; looks are answered later"
    said = Said("Ready" if seen.status.champion else "Progressing", "Paused", Common.PAUSED.value, message)
    return _as_it_stands(seen, said, now)


def blind_status(seen: Observed, now: datetime) -> Mapping[str, Any]:
    """The status as it stands, saying what cannot be read: it may be the champion, or use what would be removed."""
    what = "; ".join(f"{name} cannot be read ({problem})" for name, problem in sorted(seen.unread.items()))
    message = f"{what}: correct or delete it; until then nothing is trained, promoted or removed"
    return _as_it_stands(seen, Said("Failed", "Failed", Common.INVALID_SPEC.value, message[:4096]), now)


def _as_it_stands(seen: Observed, said: Said, now: datetime) -> Mapping[str, Any]:
    changed = {
        "observed_generation": seen.model.metadata.generation,
        "state": said.word,
        "reason": said.reason,
        "conditions": _conditions(seen, said, now),
        "versions": len(seen.versions),
        "used_by": _users(seen),
    }
    return seen.status.model_copy(update=changed).dump()


def _users(seen: Observed) -> list[str]:
    """Services that name the Model: a policy keeps it from being deleted under them."""
    unread = {name for name in seen.status.used_by if f"{InferenceService.KIND} {name}" in seen.unread}
    return sorted(unread | {service.metadata.name for service in seen.services})[:64]


def _counts(decision: DecisionStatus) -> bool:
    """Whether cooldown and budget count it; the initial training is free."""
    return decision.action == "Retrain" and decision.trigger != "Initial"


def _said(seen: Observed, who: Roles, told: Answers, training: str | None) -> Said:
    if told.problem:
        return Said("Failed", "Failed", ModelReason.INVALID_SCHEDULE.value, told.problem)
    if who.problem is ModelReason.ALIAS_OF_NOTHING:
        return Said("Failed", "Failed", ModelReason.ALIAS_OF_NOTHING.value, who.message)
    state: Literal["Ready", "Progressing"] = "Ready" if who.champion else "Progressing"
    serves = f"{who.champion.name} is champion; " if who.champion else ""
    if training is not None:
        message = f"{serves}training {training} {_how_it_goes(seen, training)}"
        return Said(state, "Training", ModelReason.TRAINING.value, message[:4096])
    if who.challenger is not None:
        message = who.message or f"{who.challenger.name} passed its gates"
        return Said(state, "Proving", ModelReason.PROVING.value, f"{serves}{message}")
    return _failed(seen, who, serves) or _at_rest(seen, who, serves)


def _how_it_goes(seen: Observed, training: str) -> str:
    """Whether the training runs, or what keeps it from that: who looks at the Model alone has to learn it."""
    job = next((job for job in seen.jobs if job.metadata.name == training and unfinished(job)), None)
    said = ready_condition(job.status) if job is not None else None
    if said is None or said.reason in _ON_ITS_WAY:
        return "runs"
    return f"waits ({said.reason}): {said.message}"


def _failed(seen: Observed, who: Roles, serves: str) -> Said | None:
    """The last training, or the version it made, did not get through."""
    job = seen.jobs[-1] if seen.jobs else None
    if job is not None and is_stalled(job.status):
        said = ready_condition(job.status)
        if said is not None and said.reason != Training.NO_NEW_DATA:
            return _failure(
                who,
                ModelReason.TRAINING_FAILED,
                f"{serves}training {job.metadata.name} failed ({said.reason}): {said.message}",
            )
    version = _made_by(seen, job)
    refused = next((v for v in seen.versions if v.metadata.name == version and is_stalled(v.status)), None)
    said = ready_condition(refused.status) if refused is not None else None
    if refused is None or said is None:
        return None
    return _failure(
        who, ModelReason.VERSION_REFUSED, f"{serves}{refused.metadata.name} is refused ({said.reason}): {said.message}"
    )


def _failure(who: Roles, reason: ModelReason, message: str) -> Said:
    # The job, or the version, shows its whole output itself; here a cure comes after the sentence.
    said = sentence(on_one_line(message))
    first = "Correct the gate, change the template" if reason == ModelReason.VERSION_REFUSED else "Change the template"
    cure = f"{first}, or ask again by the annotation gyre.dev/retrain."
    state: Literal["Ready", "Failed"] = "Ready" if who.champion else "Failed"
    word = "Ready" if who.champion else "Failed"
    return Said(state, word, reason.value, f"{said} {cure}"[:4096])


def _made_by(seen: Observed, job: TrainingJob | None) -> str | None:
    if job is not None and job.status is not None and job.status.version is not None:
        return job.status.version
    return seen.versions[-1].metadata.name if seen.versions and job is None else None


def _at_rest(seen: Observed, who: Roles, serves: str) -> Said:
    if who.champion is not None:
        refused = sorted(rejected(seen) & {version.metadata.name for version in seen.versions[-1:]})
        also = f"; {refused[0]} was refused by its rollout" if refused else ""
        return Said("Ready", "Ready", ModelReason.CHAMPION_STANDS.value, f"{serves.removesuffix('; ')}{also}")
    waiting = [v.metadata.name for v in seen.versions if not is_ready(v.status) and not is_stalled(v.status)]
    if waiting:
        return Said("Progressing", "Proving", ModelReason.PROVING.value, f"{waiting[-1]} goes through its gates")
    refusal = _refusal(seen)
    if refusal is not None:
        message = f"{refusal.version} was refused by its rollout ({refusal.reason}): {refusal.message}"
        return Said("Failed", "Failed", ModelReason.WAITING_FOR_VERSION.value, message[:4096])
    message = "no version exists; give spec.training, or register one in MLflow"
    if seen.versions:
        message = "no version may be champion: each is refused, or spec.aliases.champion names none"
    return Said("Progressing", "Waiting", ModelReason.WAITING_FOR_VERSION.value, message)


def _refusal(seen: Observed) -> Rejected | None:
    """What the rollout said of the newest version, where it refused it."""
    newest = seen.versions[-1].metadata.name if seen.versions else None
    entries = (entry for service in seen.services if service.status for entry in service.status.rejected)
    return next((entry for entry in entries if entry.version == newest), None)


def _conditions(seen: Observed, said: Said, now: datetime) -> list[Condition]:
    return merge(
        seen.status.conditions,
        summary(said.state, said.reason, said.message),
        now=rfc3339(now),
        generation=seen.model.metadata.generation,
    )
