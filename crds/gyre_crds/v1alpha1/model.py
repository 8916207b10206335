"""Model: the durable intent for one model in one namespace."""

from typing import Annotated, Literal

from pydantic import Field

from gyre_crds.base import (
    LIST_MAP,
    ApiModel,
    Column,
    DurationText,
    MapByName,
    Name,
    Resource,
    Rule,
    Text,
    Time,
    Word,
    seconds,
)
from gyre_crds.v1alpha1.common import Contract, Schedule, StatusBase
from gyre_crds.v1alpha1.training import TrainingTemplate


class TrainingTrigger(ApiModel):
    """Something that asks for a training. Asking is not getting: spec.training.decision rules."""

    RULES = (
        Rule(
            "(self.type == 'Schedule') == has(self.schedule)",
            "schedule: set it for type Schedule, and only there",
            lambda trigger: (trigger.type == "Schedule") == (trigger.schedule is not None),
        ),
    )

    type: Literal["Manual", "Schedule", "Drift"]
    """Manual: the annotation gyre.dev/retrain. Schedule: a cron line. Drift: reports of this model's monitors."""
    schedule: Schedule | None = None
    """When, for type Schedule."""


class Budget(ApiModel):
    """At most so many trainings in a period."""

    runs: Annotated[int, Field(ge=1, le=1000)]
    """Trainings, the initial one not counted."""
    per: DurationText = "30d"
    """The sliding period."""

    RULES = (
        Rule(
            "!has(self.per) || self.per.matches('[1-9]')",
            "budget.per: give more than 0s, or leave budget out",
            lambda budget: seconds(budget.per) > 0,
        ),
    )


class Decision(ApiModel):
    """When a retraining pays. Money is in any one unit; costs and benefits share it."""

    RULES = (
        Rule(
            "!has(self.horizon) || self.horizon.matches('[1-9]')",
            "horizon: what is won has to last for more than 0s; to make no retraining pay, set benefitPerPoint 0",
            lambda decision: seconds(decision.horizon) > 0,
        ),
        Rule(
            "!has(self.assumedDecay) || self.assumedDecay == 0.0 || (has(self.costPerRun) && self.costPerRun > 0.0)",
            "assumedDecay: it is weighed against a cost, so set costPerRun above 0 too",
            lambda decision: decision.assumed_decay == 0 or decision.cost_per_run > 0,
        ),
    )

    cost_per_run: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    """What one training and rollout costs."""
    benefit_per_point: Annotated[float, Field(ge=0, le=1e12)] = 1.0
    """What one percentage point of the objective is worth over the horizon."""
    horizon: DurationText = "30d"
    """How long what is won would last without another retraining; where retrainings followed each other sooner, a
    point counts for the shorter time only."""
    recoverable: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of a loss that a retraining is expected to win back. Left out, it is learned: 0.5 at first, then moved by
    what the champion gate measured of past retrainings (status.retrainings)."""
    assumed_decay: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Points that such a model is assumed to lose for each day of its age, until retrainings measure it. 0: the first
    retraining needs a proven loss. It needs a costPerRun above 0."""
    cooldown: DurationText = "1h"
    """Least time between two trainings."""
    budget: Budget | None = None
    """At most so many trainings in a period."""
    min_labels: Annotated[int, Field(ge=1)] = 500
    """Mature labels needed before a drift can cause a retraining. As many must be later than the alarm, or fewer, down
    to a quarter, where the benefit is more than twice the cost."""
    approval: bool = False
    """True: a person approves each retraining by the annotation gyre.dev/approve=<decision id>."""


class Training(ApiModel):
    """How and when the model is trained."""

    template: TrainingTemplate
    """How."""
    triggers: Annotated[list[TrainingTrigger], Field(max_length=8)] = Field(default_factory=list)
    """When; the first version is always trained."""
    decision: Decision = Field(default_factory=Decision)
    """Whether it pays."""


class Promotion(ApiModel):
    """How a version becomes champion."""

    mode: Literal["Auto", "Manual"] = "Auto"
    """Auto: when gates passed and provenBy finished its rollout. Manual: when spec.aliases.champion says so."""
    proven_by: Name | None = None
    """The InferenceService whose finished rollout proves a challenger; without it gates are enough."""


class Aliases(ApiModel):
    """The wish in Manual mode: one line in git moves or rolls back the champion."""

    champion: Name
    """A ModelVersion's name."""


class Gate(ApiModel):
    """One proof that a version must bring."""

    RULES = (
        Rule(
            "(self.type == 'Metric') == (has(self.metric) && (has(self.min) || has(self.max)))",
            "metric: set metric and min or max for type Metric, and only there",
            lambda gate: (
                (gate.type == "Metric") == (gate.metric is not None and (gate.min is not None or gate.max is not None))
            ),
        ),
    )

    name: Word
    """Shown in status; unique in the list."""
    type: Literal["Metric", "Champion", "SchemaCompatible", "GoldenRows", "Approval"]
    """Metric: a value within bounds on held-out rows. Champion: better than the champion on identical later rows.
    SchemaCompatible: same inputs and outputs as the champion. GoldenRows: the served form repeats the native
    predictions. Approval: a person."""
    metric: Word | None = None
    """The metric, for type Metric: one of objective.metric's values, or one that the run logged."""
    min: float | None = None
    """Least value."""
    max: float | None = None
    """Greatest value."""


class Retention(ApiModel):
    """Which versions stay."""

    keep: Annotated[int, Field(ge=1, le=1000)] = 10
    """The newest so many stay, and everything in use or with an alias."""


class ModelSpec(ApiModel):
    """What is wanted of the model."""

    contract: Contract
    """What the data means."""
    training: Training | None = None
    """How and when it is trained; left out for models that only arrive by MLflow."""
    gates: Annotated[
        list[Gate],
        Field(max_length=16, json_schema_extra=LIST_MAP),
        MapByName,
    ] = Field(
        default_factory=lambda: [
            Gate(name="golden-rows", type="GoldenRows"),
            Gate(name="schema", type="SchemaCompatible"),
        ]
    )
    """What every version must prove."""
    promotion: Promotion = Field(default_factory=Promotion)
    """How a version becomes champion."""
    aliases: Aliases | None = None
    """The wish, in Manual mode."""
    retention: Retention = Field(default_factory=Retention)
    """Which versions stay."""
    adopt: bool = True
    """Versions that a person registers in MLflow under `<namespace>.<name>` become ModelVersions."""
    paused: bool = False
    """True stops every write but status."""

    RULES = (
        Rule(
            "!has(self.aliases) || self.promotion.mode == 'Manual'",
            "aliases: set promotion.mode to Manual, or leave the champion to Gyre",
            lambda spec: spec.aliases is None or spec.promotion.mode == "Manual",
        ),
    )


class DecisionStatus(ApiModel):
    """One decision with its arithmetic; `no, because` is a decision too."""

    id: Word
    """Stable id: the same evidence makes the same decision."""
    at: Time
    """When."""
    action: Literal["Retrain", "Nothing", "Wait"]
    """What was decided."""
    reason: Word
    """A ModelReason."""
    message: Text
    """The sentence."""
    trigger: Literal["Initial", "Manual", "Schedule", "Drift"]
    """What asked."""
    report: Name | None = None
    """The DriftReport it answers."""
    arithmetic: Annotated[dict[str, float], Field(max_length=24)] = Field(default_factory=dict)
    """The numbers: gap, gapLower, recoverable, points, benefit, cost, labels, and of past retrainings perDay, ageDays,
    expected, lasting ..."""
    job: Name | None = None
    """The TrainingJob it made."""


class Retraining(ApiModel):
    """What one retraining won back, measured on identical rows that neither version trained on. All in points."""

    version: Name
    """The ModelVersion it made, promoted or refused."""
    at: Time
    """When it was decided."""
    lost: float
    """The loss it was decided for."""
    lost_lower: float
    """Lower confidence bound of that loss."""
    gain: float
    """What the version won over the champion."""
    gain_lower: float
    """Lower one-sided 95 % bound of gain."""
    gain_upper: float
    """Upper one-sided 95 % bound of gain."""
    age_days: Annotated[float, Field(ge=0)] | None = None
    """Age of the champion it was compared with, in days; gains over ages are what the next is expected to win."""


class VersionRef(ApiModel):
    """A version by name."""

    name: Name
    """The ModelVersion."""
    number: Word | None = None
    """Its number in MLflow."""
    since: Time | None = None
    """Since when it has this role."""


class ModelStatus(StatusBase):
    """Where the model stands."""

    champion: VersionRef | None = None
    """The version that serves."""
    challenger: VersionRef | None = None
    """The version that passed its gates and is being proven."""
    versions: Annotated[int, Field(ge=0)] = 0
    """ModelVersions that exist."""
    used_by: Annotated[list[Word], Field(max_length=64)] = Field(default_factory=list)
    """InferenceServices that name this model; while there is one, the Model cannot be deleted."""
    running: Name | None = None
    """The TrainingJob under way."""
    intent: DecisionStatus | None = None
    """A decided training whose job may not exist yet; written before the job is created."""
    decisions: Annotated[list[DecisionStatus], Field(max_length=20)] = Field(default_factory=list)
    """The last twenty decisions, newest first."""
    manual_token: Text | None = None
    """The last value of the annotation gyre.dev/retrain that was answered."""
    last_schedule: Time | None = None
    """The last scheduled time that was answered."""
    trained_at: Annotated[list[Time], Field(max_length=1000)] = Field(default_factory=list)
    """Starts of retrainings within the budget's period."""
    retrainings: Annotated[list[Retraining], Field(max_length=20)] = Field(default_factory=list)
    """What the last twenty retrainings that drift caused won: decision.recoverable and the points won per day of age
    are learned from it."""


class Model(Resource):
    """The durable intent for one model in one namespace."""

    KIND = "Model"
    PLURAL = "models"
    SHORT = ("gm",)
    NAME_CAP = 40
    COLUMNS = (
        Column("State", ".status.state"),
        Column("Reason", ".status.reason"),
        Column("Champion", ".status.champion.name"),
        Column("Challenger", ".status.challenger.name"),
        Column("Last decision", ".status.decisions[0].reason"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )

    kind: Literal["Model"] = "Model"
    spec: ModelSpec
    status: ModelStatus | None = None
