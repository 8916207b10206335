"""How a candidate of an InferenceService takes over: steps, evidence and the shadow."""

from typing import Annotated, Literal

from pydantic import Field

from gyre_crds.base import (
    ApiModel,
    DurationText,
    Rule,
)  # fmt: skip


class Step(ApiModel):
    """One step of a canary."""

    weight: Annotated[int, Field(ge=1, le=100)]
    """The candidate's share of the traffic, percent."""
    min_requests: Annotated[int, Field(ge=0)] = 0
    """Requests (with traffic.sticky: keys) the candidate must have answered, beside what the analysis needs."""


class Analysis(ApiModel):
    """The three-way verdict on errors: pass, fail or not yet known, valid at every look."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of refusing a candidate that is no worse, over the whole rollout."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Error share by which the candidate may be worse and still pass."""
    interval: DurationText = "5s"
    """How often the evidence is read."""
    timeout: DurationText = "1h"
    """How long a step may stay inconclusive."""


class Shadow(ApiModel):
    """What the strategy Shadow asks of the candidate's answers to copies of the traffic (spec.traffic.mirror)."""

    agreement: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the copies whose answers must agree with the stable revision's; proven before anything moves."""
    min_compared: Annotated[int, Field(ge=0)] = 100
    """Copies that must have been answered at least, beside what the proof needs."""
    then: Literal["Canary", "Promote"] = "Canary"
    """What follows a proof: the rollout's steps, or all traffic at once."""


class Rollout(ApiModel):
    """How a new revision takes over."""

    strategy: Literal["Canary", "Shadow", "Recreate"] = "Canary"
    """Canary: in steps with a verdict at each. Shadow: first the new revision answers copies of the traffic, and
    its answers must agree with those that the clients got. Recreate: at once, as soon as the new revision answers."""
    steps: Annotated[list[Step], Field(max_length=20)] = Field(
        default_factory=lambda: [Step(weight=10), Step(weight=50), Step(weight=100)]
    )
    """Rising weights of the candidate; the last is 100."""
    analysis: Analysis = Field(default_factory=Analysis)
    """The verdict."""
    shadow: Shadow | None = None
    """With strategy Shadow: what the comparison must show. Level, interval and timeout are the analysis'."""
    on_inconclusive: Literal["Halt", "Rollback"] = "Rollback"
    """What happens when a step's timeout passes without a verdict."""

    RULES = (
        Rule(
            "!has(self.steps) || self.steps.size() == 0 || self.steps[self.steps.size() - 1].weight == 100",
            "steps: let the last step have weight 100",
            lambda rollout: not rollout.steps or rollout.steps[-1].weight == 100,  # noqa: PLR2004  percent
        ),
    )
