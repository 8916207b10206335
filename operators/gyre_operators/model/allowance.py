"""What forbids a retraining whatever asks for it: one in flight, cooldown, budget, a missing approval. Pure."""

from gyre_crds.reasons import ModelReason
from gyre_operators.engine.clock import span
from gyre_operators.model.terms import Decided, Situation


def allowance(situation: Situation, *, cooldown: bool = True) -> Decided | None:
    """What forbids any retraining now, whatever asks for it; None when nothing does."""
    rules = (_in_flight, *((_cooldown,) if cooldown else ()), _budget)
    return next((decided for rule in rules if (decided := rule(situation)) is not None), None)


def _in_flight(situation: Situation) -> Decided | None:
    if not situation.under_way:
        return None
    return Decided("Wait", ModelReason.IN_FLIGHT, f"{situation.under_way} is under way already")


def _cooldown(situation: Situation) -> Decided | None:
    last, pause = situation.last_training, span(situation.policy.cooldown)
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
    if situation.asked is not None:
        message = (
            f"decision {situation.asked} waits for a person: annotate the Model with gyre.dev/approve={situation.asked}"
        )
        return Decided("Wait", ModelReason.IN_FLIGHT, message)
    message = "a person has to approve: annotate the Model with gyre.dev/approve=<id of this decision>"
    return Decided("Wait", ModelReason.NEEDS_APPROVAL, message)
