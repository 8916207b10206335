"""Parts that several kinds share: a typed subset of pod fields, contracts, schedules."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import ApiModel, DurationText, Name, Quantity, Rule, Text, Word, one_of
from gyre_crds.conditions import Condition

Preserved = Annotated[
    dict[str, Any],
    Field(json_schema_extra={"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
"""An object whose inside is not ours to check."""


Category = Annotated[str, StringConstraints(max_length=253)]
"""One value of a text feature; an empty one counts too."""


class KeySelector(ApiModel):
    """One key of a Secret or ConfigMap in the namespace."""

    name: Name
    """Name of the Secret or ConfigMap."""
    key: Word
    """The key in it."""
    optional: bool = False
    """Whether the pod may start without it."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from."""

    RULES = (one_of("secret_key_ref", "config_map_key_ref"),)

    secret_key_ref: KeySelector | None = None
    """A Secret's key."""
    config_map_key_ref: KeySelector | None = None
    """A ConfigMap's key."""


class EnvVar(ApiModel):
    """One environment variable of the user's container."""

    RULES = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "set value or valueFrom, not both",
            lambda env: env.value is None or env.value_from is None,
        ),
    )

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
    """The variable's name."""
    value: Annotated[str, StringConstraints(max_length=8192)] | None = None
    """A literal value; secrets belong into valueFrom."""
    value_from: EnvVarSource | None = None
    """A reference to a Secret's or ConfigMap's key."""


class SecretRef(ApiModel):
    """A Secret in the namespace."""

    name: Name
    """Its name."""


class Resources(ApiModel):
    """CPU, memory and ephemeral storage, as in a container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the scheduler reserves; where left out, the limits."""
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the container may use; memory beyond it kills the container."""


class Toleration(ApiModel):
    """A taint that the pods tolerate."""

    key: Word | None = None
    """The taint's key; empty matches all."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How value is compared."""
    value: Word | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; left out matches all."""


class PodSettings(ApiModel):
    """The pod fields a user may set on what Gyre runs for them."""

    service_account_name: Name | None = None
    """The pods' service account; its token is not mounted."""
    image_pull_secrets: Annotated[list[SecretRef], Field(max_length=8)] = Field(default_factory=list)
    """Secrets for pulling the image."""
    node_selector: Annotated[dict[str, Word], Field(max_length=16)] = Field(default_factory=dict)
    """Labels a node must carry."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(default_factory=list)
    """Taints the pods tolerate."""
    priority_class_name: Name | None = None
    """The pods' priority class."""
    pod_template_patch: Preserved | None = None
    """Strategic merge patch on the pod template, for what the fields above lack."""


class Gpu(ApiModel):
    """The GPU need of one worker; Gyre picks the smallest MIG slice, or a whole card, that fits."""

    count: Annotated[int, Field(ge=1, le=16)] = 1
    """Devices for each worker."""
    memory: Quantity = "1Gi"
    """Memory needed on each device."""
    isolation: Literal["Hardware", "Exclusive"] = "Hardware"
    """Hardware: a MIG slice where one fits, else a whole card. Exclusive, and every count above 1: whole cards."""


class LabelContract(ApiModel):
    """The truth that arrives later."""

    column: Word
    """The label's column."""
    maturity: DurationText = "0s"
    """How old a label must be before it counts."""
    observed: Literal["All", "DependsOnDecision"] = "All"
    """DependsOnDecision where some decisions keep the truth from ever being known (a refused loan): then only rows of
    a service's log that are marked gyre_label_sample compare versions, and only these, or rows whose revision was drawn
    by lot, prove a loss."""


class Objective(ApiModel):
    """What better means."""

    metric: Literal["accuracy", "logLoss", "auc", "f1", "brier", "rmse", "mae"] = "accuracy"
    """The metric that gates, monitors and decisions compare."""
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """How much better than the champion a challenger must be, at the lower bound, in the metric's unit."""


class Categories(ApiModel):
    """The texts of one feature."""

    feature: Word
    """The feature."""
    values: Annotated[list[Category], Field(min_length=1, max_length=300)]
    """All that it may hold."""


class Contract(ApiModel):
    """What the data means: the one home of key, time, label and objective."""

    RULES = (
        Rule(
            "!has(self.categories) || !has(self.features) || size(self.features) == 0 || "
            "self.categories.all(one, one.feature in self.features)",
            "categories: name features only",
            lambda contract: (
                not contract.features or all(one.feature in contract.features for one in contract.categories)
            ),
        ),
    )

    key: Word
    """The column that identifies a row; labels are joined on it."""
    time: Word | None = None
    """The column with the row's event time (RFC 3339 or Unix seconds); without it, arrival time."""
    label: LabelContract
    """The truth that arrives later."""
    features: Annotated[list[Word], Field(max_length=500)] = Field(default_factory=list)
    """The model's input columns in order; empty means every column but key, time and label, in file order."""
    categories: Annotated[list[Categories], Field(max_length=64)] = Field(default_factory=list)
    """What text features may hold; routers that validate refuse another text before the model sees it."""
    objective: Objective = Field(default_factory=Objective)
    """What better means."""


class Schedule(ApiModel):
    """A cron line in a time zone."""

    cron: Annotated[str, StringConstraints(min_length=9, max_length=100)]
    """Five fields, e.g. `0 3 * * 1`."""
    time_zone: Annotated[str, StringConstraints(max_length=64)] = "UTC"
    """IANA name, e.g. `Europe/Berlin`."""


class StatusBase(ApiModel):
    """What every status starts with."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec this status speaks of."""
    state: Text = ""
    """One word for people and printer columns; nothing decides by it."""
    reason: Text = ""
    """The reason of the Ready condition, for printer columns."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=32,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = Field(default_factory=list)
    """Facts with reasons; Ready is derived from the others."""
