"""Does a retraining pay? The decision on one look: rules in order, the first that speaks decides. Pure.

    loss        = lower bound of the gap, on labels later than the ones that alarmed, in points
    points      = loss x recoverable, which past retrainings teach unless the user sets it
    benefit     = points x benefitPerPoint
    retrain     <=> benefit > costPerRun, and labels, cooldown, budget and approval allow it

Inputs that move cost nothing by themselves, and a retraining on broken data learns the fault: neither
leads to one. Each answer carries its arithmetic, "no, because" too. A simulation can drive `decide`
with made-up `Evidence`; nothing here knows a cluster.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from gyre_crds.base import seconds
from gyre_crds.reasons import ModelReason
from gyre_crds.v1alpha1.model import Decision
from gyre_operators.model.evidence import Evidence, first_alarm, later_loss
from gyre_operators.model.learned import Expected

Action = Literal["Retrain", "Nothing", "Wait"]

_UPSTREAM = {"SchemaBreak", "QualityIncident"}
_UNPROVEN = {"CovariateShift", "PredictionShift", "EstimatedLoss"}


@dataclass(frozen=True, slots=True)
class FreshRollout:
    """The change of version that the stable revision came with."""

    version: str
    at: datetime
    previous: str | None
    """The version before; None where there is nothing to roll back to."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What else a decision rests on."""

    now: datetime
    policy: Decision
    earlier: tuple[Evidence, ...] = ()
    """Looks before this one, of the same service."""
    under_way: str = ""
    """The training or rollout that runs, as a clause; empty when none does."""
    last_training: datetime | None = None
    trainings: int = 0
    """Within the budget's period, the initial one not counted."""
    rollout: FreshRollout | None = None
    serving: frozenset[str] = frozenset()
    """Versions that serve now; empty where that is not known."""
    learned: Expected = field(default_factory=Expected)
    """What past retrainings won back."""
    triggered: bool = True
    """Whether the Model lists a trigger of type Drift."""
    waits_for_person: bool = True
    """False once a person has approved."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided, why, and with which numbers."""

    action: Action
    reason: ModelReason
    message: str
    arithmetic: Mapping[str, float] = field(default_factory=dict)


def decide(look: Evidence, situation: Situation) -> Decided:
    """The decision on one look."""
    for rule in _BY_VERDICT:
        decided = rule(look, situation)
        if decided is not None:
            return decided
    return _on_loss(look, situation)


def allowance(situation: Situation, *, cooldown: bool = True) -> Decided | None:
    """What forbids any retraining now, whatever asks for it; None when nothing does."""
    rules = (_in_flight, *((_cooldown,) if cooldown else ()), _budget)
    return next((decided for rule in rules if (decided := rule(situation)) is not None), None)


# By verdict alone.

_Rule = Callable[[Evidence, Situation], Decided | None]


def _healthy(look: Evidence, _: Situation) -> Decided | None:
    if look.verdict != "Healthy":
        return None
    return Decided("Nothing", ModelReason.HEALTHY, "the look found nothing to retrain for", _labels(look))


def _too_few_rows(look: Evidence, _: Situation) -> Decided | None:
    if look.verdict != "InsufficientData":
        return None
    return Decided("Wait", ModelReason.WAITING_FOR_LABELS, "the window held too few rows to judge", _labels(look))


def _upstream(look: Evidence, _: Situation) -> Decided | None:
    if look.verdict not in _UPSTREAM:
        return None
    message = f"{look.verdict}: the data is broken upstream; retraining would learn the fault, so repair the source"
    return Decided("Nothing", ModelReason.NOT_A_MODEL_PROBLEM, message)


def _unproven(look: Evidence, _: Situation) -> Decided | None:
    if look.verdict not in _UNPROVEN:
        return None
    message = f"{look.verdict} alone costs nothing that is proven; labels must show a loss before a retraining can pay"
    return Decided("Wait", ModelReason.WAITING_FOR_LABELS, message, _labels(look))


def _replaced(look: Evidence, situation: Situation) -> Decided | None:
    """A retraining cures the version that serves, not the one before."""
    if look.version is None or not situation.serving or look.version in situation.serving:
        return None
    now = ", ".join(sorted(situation.serving))
    message = f"the look speaks of {look.version}, which {now} has replaced since; the next look judges what serves"
    return Decided("Wait", ModelReason.CHAMPION_STANDS, message, _labels(look))


def _not_triggered(_: Evidence, situation: Situation) -> Decided | None:
    if situation.triggered:
        return None
    message = "labels prove a loss, but no retraining is asked for: list {type: Drift} in spec.training.triggers"
    return Decided("Nothing", ModelReason.NOT_TRIGGERED, message)


def _too_few_labels(look: Evidence, situation: Situation) -> Decided | None:
    least = situation.policy.min_labels
    if look.lower is not None and look.labels >= least:
        return None
    message = f"{look.labels} mature labels came in, spec.training.decision.minLabels wants {least}"
    return Decided("Wait", ModelReason.WAITING_FOR_LABELS, message, {**_labels(look), "minLabels": float(least)})


def _rollout_explains(look: Evidence, situation: Situation) -> Decided | None:
    rollout = situation.rollout
    if rollout is None or rollout.previous is None or rollout.version != look.version:
        return None
    began = look.since or look.start
    alarmed_before = any(e.is_loss and e.end <= rollout.at for e in situation.earlier)
    if rollout.at < began or alarmed_before:
        return None
    message = (
        f"{rollout.version} took over at {rollout.at:%Y-%m-%dT%H:%MZ}, and no loss was seen before: "
        f"roll back to {rollout.previous} instead of retraining"
    )
    return Decided("Nothing", ModelReason.ROLLOUT_EXPLAINS, message, _labels(look))


_BY_VERDICT: tuple[_Rule, ...] = (
    _healthy,
    _too_few_rows,
    _upstream,
    _unproven,
    _replaced,
    _not_triggered,
    _too_few_labels,
    _rollout_explains,
)


# On a proven loss.


def _on_loss(look: Evidence, situation: Situation) -> Decided:
    policy = situation.policy
    first = first_alarm(look, situation.earlier)
    if first is None:
        lost = look.points(look.lower or 0.0)
        message = f"a loss of {lost:.2f} points or more is proven; it is measured again on later labels before paying"
        return Decided("Wait", ModelReason.CONFIRMING, message, {"gapLower": _rounded(lost), **_labels(look)})
    later = later_loss(first, look)
    numbers = {"gapAlarmed": _rounded(first.points(first.gap or 0.0)), **_labels(look)}
    if later is None or later.lower <= 0:
        message = f"the alarm of {first.report} is not yet proven again on labels later than it"
        numbers |= {"laterLabels": float(later.labels), "gapLower": _rounded(look.points(later.lower))} if later else {}
        return Decided("Wait", ModelReason.CONFIRMING, message, numbers)
    if later.labels < policy.min_labels:
        message = (
            f"{later.labels} mature labels are later than the alarm of {first.report}, "
            f"spec.training.decision.minLabels wants {policy.min_labels}: a training now would mostly learn what was"
        )
        numbers |= {"laterLabels": float(later.labels), "minLabels": float(policy.min_labels)}
        return Decided("Wait", ModelReason.WAITING_FOR_LABELS, message, numbers)
    lost = look.points(later.lower)
    won = lost * _recoverable(situation)
    benefit = won * policy.benefit_per_point
    numbers |= {
        "gap": _rounded(look.points(later.gap)),
        "gapLower": _rounded(lost),
        "laterLabels": float(later.labels),
        "recoverable": _rounded(_recoverable(situation)),
        "pointsPerUnit": _rounded(look.points(1.0)),
        "points": _rounded(won),
        "benefitPerPoint": policy.benefit_per_point,
        "benefit": _rounded(benefit),
        "cost": policy.cost_per_run,
    }
    sum_ = (
        f"{lost:.2f} points are lost at least (of {look.points(later.gap):.2f}, on {later.labels} later labels), "
        f"{won:.2f} can be won back ({_told(situation)}), "
        f"worth {benefit:.2f} against a cost of {policy.cost_per_run:.2f}"
    )
    if benefit <= policy.cost_per_run:
        return Decided("Nothing", ModelReason.DOES_NOT_PAY, f"{sum_}: it does not pay", numbers)
    forbidden = allowance(situation) or approval(situation)
    if forbidden is not None:
        message = f"{sum_}; but {forbidden.message}"
        return Decided(forbidden.action, forbidden.reason, message, {**numbers, **forbidden.arithmetic})
    return Decided("Retrain", ModelReason.PAYS, f"{sum_}: retrain", numbers)


def _recoverable(situation: Situation) -> float:
    return situation.policy.recoverable or situation.learned.share


def _told(situation: Situation) -> str:
    """The share that can be won back, and whence it is known."""
    learned, value = situation.learned, f"recoverable {_recoverable(situation):.2f}"
    if situation.policy.recoverable is not None:
        return f"{value} as set"
    if not learned.retrainings:
        return f"{value} until retrainings teach it"
    return f"{value} from {learned.retrainings} retraining{'s' if learned.retrainings > 1 else ''}"


# What forbids it whatever asks.


def _in_flight(situation: Situation) -> Decided | None:
    if not situation.under_way:
        return None
    return Decided("Wait", ModelReason.IN_FLIGHT, f"{situation.under_way} is under way already")


def _cooldown(situation: Situation) -> Decided | None:
    last, pause = situation.last_training, timedelta(seconds=seconds(situation.policy.cooldown))
    if last is None or situation.now - last >= pause:
        return None
    ends = last + pause
    message = f"the last training started at {last:%Y-%m-%dT%H:%M:%SZ}; cooldown until {ends:%Y-%m-%dT%H:%M:%SZ}"
    return Decided("Wait", ModelReason.COOLDOWN, message, {"cooldownSeconds": (ends - situation.now).total_seconds()})


def _budget(situation: Situation) -> Decided | None:
    budget = situation.policy.budget
    if budget is None or situation.trainings < budget.runs:
        return None
    message = f"{situation.trainings} of {budget.runs} trainings within {budget.per} are used: raise decision.budget"
    numbers = {"trainings": float(situation.trainings), "budget": float(budget.runs)}
    return Decided("Nothing", ModelReason.BUDGET_SPENT, message, numbers)


def approval(situation: Situation) -> Decided | None:
    """Whether a person has to approve first."""
    if not (situation.policy.approval and situation.waits_for_person):
        return None
    message = "a person has to approve: annotate the Model with gyre.dev/approve=<id of this decision>"
    return Decided("Wait", ModelReason.NEEDS_APPROVAL, message)


def _labels(look: Evidence) -> dict[str, float]:
    return {"labels": float(look.labels)} if look.labels else {}


def _rounded(value: float) -> float:
    return round(value, 4)
