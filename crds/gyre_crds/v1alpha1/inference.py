"""InferenceService: a stable endpoint over versions that come and go."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import (
    ApiModel,
    Column,
    DurationText,
    Name,
    Resource,
    Rule,
    Share,
)  # fmt: skip
from gyre_crds.v1alpha1.auth import Auth
from gyre_crds.v1alpha1.common import PodSettings, Resources
from gyre_crds.v1alpha1.rollout import Analysis, Rollout, Shadow, Step
from gyre_crds.v1alpha1.serving_status import (
    CandidateStatus,
    ComparisonMark,
    CounterMark,
    HistoryEntry,
    InferenceServiceStatus,
    Rejected,
    RevisionRef,
    ShadowStatus,
    Stratum,
    TrafficStatus,
)
from gyre_crds.v1alpha1.traffic import (
    Batch,
    Cache,
    ClientLimit,
    Fallback,
    HeaderRoute,
    Limits,
    Mirror,
    PayloadLog,
    Sticky,
    Tolerance,
    Traffic,
)
from gyre_crds.v1alpha1.triton import SERVICE_RULES, TritonOptions

__all__ = [
    "Analysis", "Batch", "Batching", "Cache", "CandidateStatus", "ClientLimit", "ComparisonMark", "CounterMark",
    "Fallback", "HeaderRoute", "HistoryEntry", "InferenceService", "InferenceServiceSpec",
    "InferenceServiceStatus", "Limits", "Mirror", "ModelRef", "PayloadLog", "Rejected", "RevisionRef", "Rollout",
    "Runtime", "Shadow", "ShadowStatus", "Step", "Sticky", "Stratum", "Tolerance", "Traffic", "TrafficStatus",
]  # fmt: skip


class ModelRef(ApiModel):
    """What is served: a fixed version, or whatever the alias points at."""

    RULES = (
        Rule(
            "!(has(self.version) && has(self.alias))",
            "set version or alias, not both",
            lambda ref: ref.version is None or ref.alias is None,
        ),
    )

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
    """The Model."""
    version: Name | None = None
    """A ModelVersion's name: served as it is."""
    alias: Literal["champion", "challenger"] | None = None
    """Followed; with neither set, the champion, or the challenger where the Model's provenBy names this service."""


class Runtime(ApiModel):
    """What answers."""

    kind: Literal["Triton", "Python"] = "Triton"
    """Triton Inference Server, or Gyre's built-in model server."""
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Another image of the same kind."""
    options: TritonOptions | None = None
    """What Triton's scheduler does besides."""

    RULES = (
        Rule(
            "!has(self.options) || self.kind == 'Triton'",
            "options: leave them out or set kind to Triton; the built-in server has none",
            lambda runtime: runtime.options is None or runtime.kind == "Triton",
        ),
    )


class Batching(ApiModel):
    """Requests answered together."""

    max_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Most rows of requests that are answered together. Triton computes no more at once; the built-in server cuts a
    larger request only beyond 256 KiB."""
    max_delay: DurationText = "0s"
    """Longest wait for more."""


class InferenceServiceSpec(PodSettings):
    """What is wanted of the endpoint."""

    RULES = SERVICE_RULES

    model: ModelRef
    """What is served."""
    runtime: Runtime = Field(default_factory=Runtime)
    """What answers."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods of the stable revision."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of the model server."""
    batching: Batching = Field(default_factory=Batching)
    """Requests answered together."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How a new revision takes over."""
    traffic: Traffic = Field(default_factory=Traffic)
    """How requests find a revision."""
    fallback: Fallback | None = None
    """What answers when the chosen revision cannot be reached; without it the client gets 502 or 503."""
    payloads: PayloadLog | None = None
    """Payload log; off unless set."""
    limits: Limits = Field(default_factory=Limits)
    """What is let in."""
    auth: Auth | None = None
    """Who may ask; everybody who reaches the router unless set."""
    batch: Batch = Field(default_factory=Batch)
    """Calls of many rows."""
    cache: Cache | None = None
    """Result cache; off unless set. For models whose answer depends on nothing but the question."""
    access_log: Share = 0.0
    """Share of the answers below 500 that the routers' access log tells; those from 500 on it always tells."""
    validation: Literal["Off", "Warn", "Enforce"] = "Enforce"
    """Whether requests are checked against the version's signature."""
    paused: bool = False
    """True stops every write but status."""


class InferenceService(Resource):
    """A stable endpoint over versions that come and go."""

    KIND = "InferenceService"
    PLURAL = "inferenceservices"
    SHORT = ("gsvc",)
    NAME_CAP = 40
    COLUMNS = (
        Column("Model", ".spec.model.name"),
        Column("State", ".status.state"),
        Column("Reason", ".status.reason"),
        Column("Stable", ".status.stable.version"),
        Column("Candidate", ".status.candidate.version"),
        # The stable revision comes first in status.traffic, and a column shows one value.
        Column("Candidate %", ".status.traffic[1].wanted", "integer"),
        Column("URL", ".status.url", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    SELECTABLE = (".spec.model.name",)
    SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}  # fmt: skip  # noqa: E501, RUF012

    kind: Literal["InferenceService"] = "InferenceService"
    spec: InferenceServiceSpec
    status: InferenceServiceStatus | None = None
