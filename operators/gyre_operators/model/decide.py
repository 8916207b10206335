"""Does a retraining pay? The decision on one look: rules in order, the first that speaks decides. Pure.

    loss        = midway between the gap and its lower bound, on labels later than the ones that alarmed, in points
    expected    = loss x recoverable, which past retrainings teach unless the user sets it;
                  or, once retrainings were measured (or a decay is assumed), what they won per day of age, weighed
                  with what labels show
    benefit     = expected x benefitPerPoint x lasting, the share of the horizon until the next retraining
    retrain     <=> benefit > costPerRun, and labels, cooldown, budget and approval allow it

Inputs that move cost nothing by themselves, and a retraining on broken data learns the fault: neither
leads to one. Each answer carries its arithmetic, "no, because" too. A simulation can drive `decide`
with made-up `Evidence`; nothing here knows a cluster.
"""

from collections.abc import Callable, Mapping
from math import ceil

from gyre_crds.base import seconds
from gyre_crds.reasons import ModelReason
from gyre_crds.v1alpha1.model import Decision
from gyre_operators.model.allowance import allowance, approval
from gyre_operators.model.evidence import Evidence, Later, first_alarm, later_loss
from gyre_operators.model.experience import Expectation, expectation
from gyre_operators.model.terms import Decided, Situation

_DAY = 86_400.0
_LEAST_PART = 0.25
"""Of minLabels that must be later than the alarm, however cheap the training is."""
_UPSTREAM = {"SchemaBreak", "QualityIncident"}
_UNPROVEN = {"CovariateShift", "PredictionShift", "EstimatedLoss"}
_OPEN = {ModelReason.HEALTHY, ModelReason.WAITING_FOR_LABELS, ModelReason.CONFIRMING, ModelReason.DOES_NOT_PAY}
"""Answers of the labels alone that experience may overrule: nothing forbids a training, only no loss is proven yet."""


def decide(look: Evidence, situation: Situation) -> Decided:
    """The decision on one look: what its labels prove, else what past retrainings let expect."""
    said = _by_labels(look, situation)
    if said.reason not in _OPEN or look.verdict == "InsufficientData" or not situation.triggered:
        return said
    return _by_experience(look, situation, said)


def _by_labels(look: Evidence, situation: Situation) -> Decided:
    for rule in _BY_VERDICT:
        decided = rule(look, situation)
        if decided is not None:
            return decided
    return _on_loss(look, situation)


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
    return _weigh(look, first, later, situation, numbers)


def _weigh(
    look: Evidence, first: Evidence, later: Later, situation: Situation, numbers: Mapping[str, float]
) -> Decided:
    """What a proven loss is worth: its bound proves it, and midway to the measured gap is what to count on."""
    policy, lasting = situation.policy, _lasting(situation)
    gap, lower = look.points(later.gap), look.points(later.lower)
    lost = (gap + lower) / 2
    won = lost * _recoverable(situation)
    benefit = won * policy.benefit_per_point * lasting
    numbers = {**numbers, "laterLabels": float(later.labels)}
    needed = _needed(policy, benefit)
    if later.labels < needed:
        message = (
            f"{later.labels} mature labels are later than the alarm of {first.report}, {needed} are needed of "
            f"spec.training.decision.minLabels ({policy.min_labels}) at a cost of {policy.cost_per_run:.2f} against a "
            f"benefit of {benefit:.2f}: a training now would mostly learn what was"
        )
        return Decided("Wait", ModelReason.WAITING_FOR_LABELS, message, {**numbers, "minLabels": float(needed)})
    numbers |= {"gap": _rounded(gap), "gapLower": _rounded(lower), "recoverable": _rounded(_recoverable(situation))}
    numbers |= _worth(won, look.points(1.0), benefit, situation)
    sum_ = (
        f"{lost:.2f} points are lost (midway between the {gap:.2f} measured on {later.labels} later labels and their "
        f"lower bound of {lower:.2f}), {won:.2f} can be won back ({_told(situation)}), "
        f"worth {benefit:.2f}{_for(lasting)} against a cost of {policy.cost_per_run:.2f}"
    )
    if benefit <= policy.cost_per_run:
        return Decided("Nothing", ModelReason.DOES_NOT_PAY, f"{sum_}: it does not pay", numbers)
    return _unless_forbidden(sum_, situation, numbers)


def _worth(points: float, unit: float, benefit: float, situation: Situation) -> dict[str, float]:
    """The part of the arithmetic that a proven loss and experience share."""
    policy, days = situation.policy, _days(situation)
    worth = {
        "pointsPerUnit": _rounded(unit),
        "points": _rounded(points),
        "benefitPerPoint": policy.benefit_per_point,
        "lasting": _rounded(_lasting(situation)),
        "benefit": _rounded(benefit),
        "cost": policy.cost_per_run,
    }
    return worth if days is None else {**worth, "ageDays": _rounded(days)}


def _needed(policy: Decision, benefit: float) -> int:
    """Labels later than the alarm: the cheaper a training beside its benefit, the sooner it may be in vain.

    Cost over benefit is the chance of success at which it pays; where that is one half or more, all are needed.
    """
    part = 2 * policy.cost_per_run / benefit if benefit > 0 else 1.0
    return ceil(policy.min_labels * min(max(part, _LEAST_PART), 1.0))


def _unless_forbidden(sum_: str, situation: Situation, numbers: Mapping[str, float]) -> Decided:
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
    return f"{value} from {_counted(learned.retrainings)}"


# On experience, where labels prove no loss yet.


def _by_experience(look: Evidence, situation: Situation, said: Decided) -> Decided:
    """A training that past ones let expect to pay; else what was said, with what was expected."""
    policy, days = situation.policy, _days(situation)
    # Without a cost nothing can be weighed: then each retraining needs a loss that is proven.
    if days is None or policy.cost_per_run <= 0 or _replaced(look, situation) is not None:
        return said
    # Too few labels for the proof that it asks for are enough to say that a fresh rollout may be what went wrong.
    if look.is_loss and _rollout_explains(look, situation) is not None:
        return said
    found = expectation(look, situation, _recoverable(situation), days)
    if found is None:
        return said
    lasting = _lasting(situation)
    benefit = found.points * policy.benefit_per_point * lasting
    numbers = {
        "perDay": _rounded(situation.learned.per_day),
        "ageDays": _rounded(days),
        "expected": _rounded(found.points),
    }
    if benefit <= policy.cost_per_run or found.labels < policy.min_labels:
        return Decided(said.action, said.reason, said.message, {**said.arithmetic, **numbers})
    numbers |= {**_shown(look, found), "newLabels": _rounded(found.labels)}
    numbers |= _worth(found.points, found.unit, benefit, situation)
    labels = "no label of this version yet" if found.shown is None else f"{found.shown:.2f} by its labels"
    sum_ = (
        f"{_decay(situation)}, the last training was {days:.1f} days ago: "
        f"{found.points:.2f} points are expected ({found.by_age:.2f} by age, {labels}), "
        f"worth {benefit:.2f}{_for(lasting)} against a cost of {policy.cost_per_run:.2f}"
    )
    return _unless_forbidden(sum_, situation, numbers)


def _decay(situation: Situation) -> str:
    """What is won per day of age, and whence that is known."""
    learned, assumed = situation.learned, situation.policy.assumed_decay
    if not learned.aged:
        return f"{assumed:g} points per day of age are assumed (spec.training.decision.assumedDecay)"
    beside = f", with the {assumed:g} assumed," if assumed else ""
    return f"{_counted(learned.aged)} won{beside} {learned.per_day:.2f} points per day of age"


def _shown(look: Evidence, found: Expectation) -> dict[str, float]:
    """The measured gap, which such a retraining is compared with later; none where no label tells."""
    gap, lower = (look.gap, look.lower) if found.shown is not None else (None, None)
    return {"gap": _rounded(look.points(gap or 0.0)), "gapLower": _rounded(look.points(lower or 0.0)), **_labels(look)}


def _days(situation: Situation) -> float | None:
    """Days since the last training."""
    if situation.trained is None:
        return None
    return max((situation.now - situation.trained).total_seconds(), 0.0) / _DAY


def _lasting(situation: Situation) -> float:
    return situation.learned.lasting(seconds(situation.policy.horizon) / _DAY)


def _for(lasting: float) -> str:
    return "" if lasting >= 1 else f" for {lasting:.0%} of the horizon, as soon as they follow each other,"


def _counted(retrainings: int) -> str:
    return f"{retrainings} retraining{'s' if retrainings > 1 else ''}"


def _labels(look: Evidence) -> dict[str, float]:
    return {"labels": float(look.labels)} if look.labels else {}


def _rounded(value: float) -> float:
    return round(value, 4)
