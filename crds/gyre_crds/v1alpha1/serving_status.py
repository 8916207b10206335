"""What an InferenceService says of itself: revisions, evidence, refusals and history."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import (
    ApiModel,
    Digest,
    Name,
    Percent,
    Text,
    Time,
    Word,
)  # fmt: skip
from gyre_crds.v1alpha1.common import StatusBase


class RevisionRef(ApiModel):
    """One revision: a version on a runtime with pod settings."""

    revision: Word
    """Hash of version digest, runtime and pod settings."""
    version: Name
    """The ModelVersion."""
    digest: Digest
    """Its tree digest."""
    number: Word | None = None
    """Its number in MLflow."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Pods that answer."""
    since: Time | None = None
    """Since when it has this role."""


class TrafficStatus(ApiModel):
    """Wanted and observed traffic of one revision."""

    revision: Word
    """The revision."""
    wanted: Percent
    """Share the routing table gives it."""
    observed: Annotated[float, Field(ge=0, le=100)] | None = None
    """Share of the requests since the last change of weights."""
    requests: Annotated[int, Field(ge=0)] = 0
    """Requests (with traffic.sticky: keys) answered since the last change of weights."""
    errors: Annotated[int, Field(ge=0)] = 0
    """Of these, failed by the revision."""


class Stratum(ApiModel):
    """Evidence of one step: counts of both revisions under the same weights."""

    weight: Percent
    """The candidate's weight."""
    unit: Literal["Request", "Key"] = "Request"
    """What is counted: requests, or with traffic.sticky the first outcome of each key."""
    processes: Annotated[int, Field(ge=0)] = 0
    """With keys: router processes that counted; a key may stand in each, so the counts weigh 1/processes."""
    candidate_requests: Annotated[int, Field(ge=0)] = 0
    """Requests (keys) the candidate answered."""
    candidate_errors: Annotated[int, Field(ge=0)] = 0
    """Of these, failed."""
    stable_requests: Annotated[int, Field(ge=0)] = 0
    """Requests (keys) the stable revision answered."""
    stable_errors: Annotated[int, Field(ge=0)] = 0
    """Of these, failed."""


class CounterMark(ApiModel):
    """The last counters read from one router process, so that deltas survive restarts of either side."""

    pod: Word
    """Router pod uid and epoch."""
    revision: Word
    """The revision."""
    requests: Annotated[int, Field(ge=0)]
    """Counter value."""
    errors: Annotated[int, Field(ge=0)]
    """Counter value."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Processes behind these counters."""


class ComparisonMark(ApiModel):
    """The last comparison read from one router process, so that deltas survive restarts of either side."""

    pod: Word
    """Router pod uid and epoch."""
    agreed: Annotated[int, Field(ge=0)] = 0
    """Counter value."""
    differed: Annotated[int, Field(ge=0)] = 0
    """Counter value."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Counter value."""
    dropped: Annotated[int, Field(ge=0)] = 0
    """Counter value: copies dropped or skipped."""


class ShadowStatus(ApiModel):
    """How the candidate's answers to copies compare with the stable revision's."""

    against: Word
    """Stable revision and hash of the tolerance: with others the comparison starts anew."""
    since: Time
    """Since when every router mirrors."""
    needed: Annotated[int, Field(ge=0)] | None = None
    """Copies that prove the agreement if none differs."""
    agreed: Annotated[int, Field(ge=0)] = 0
    """Copies answered alike."""
    differed: Annotated[int, Field(ge=0)] = 0
    """Copies answered otherwise."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Copies that the candidate did not answer with 200; they count as disagreement."""
    dropped: Annotated[int, Field(ge=0)] = 0
    """Copies not sent or not comparable; they are no evidence."""
    marks: Annotated[list[ComparisonMark], Field(max_length=64)] = Field(default_factory=list)
    """Last counters read."""
    verdict: Literal["Pass", "Fail", "Inconclusive"] | None = None
    """The verdict so far."""
    evidence: Text = ""
    """The verdict's numbers as a sentence."""


class CandidateStatus(RevisionRef):
    """The candidate and its evidence."""

    step: Annotated[int, Field(ge=0)] = 0
    """Index of the step under way."""
    step_since: Time | None = None
    """When the step started."""
    needed: Annotated[int, Field(ge=0)] | None = None
    """Requests (keys) the candidate needs in this step for a verdict, published before the step starts."""
    shadow: ShadowStatus | None = None
    """With strategy Shadow: what comparing copies showed."""
    strata: Annotated[list[Stratum], Field(max_length=40)] = Field(default_factory=list)
    """Evidence, one entry a step."""
    marks: Annotated[list[CounterMark], Field(max_length=256)] = Field(default_factory=list)
    """Last counters read."""
    verdict: Literal["Pass", "Fail", "Inconclusive"] | None = None
    """The verdict so far."""
    evidence: Text = ""
    """The verdict's numbers as a sentence."""


class Rejected(ApiModel):
    """A revision that was refused and is not tried again until spec or target change."""

    revision: Word
    """The revision."""
    version: Name
    """The ModelVersion."""
    reason: Word
    """An Inference reason."""
    message: Text = ""
    """The evidence."""
    wish: Word | None = None
    """Hash of spec.model and spec.rollout at that time: with another wish the revision is tried again."""
    at: Time
    """When."""


class HistoryEntry(ApiModel):
    """One thing that happened to the traffic."""

    at: Time
    """When."""
    what: Literal["Started", "Step", "Promoted", "RolledBack", "Halted"]
    """What."""
    revision: Word
    """Of which revision."""
    version: Name
    """The ModelVersion."""
    message: Text = ""
    """Why."""


class InferenceServiceStatus(StatusBase):
    """Where the endpoint stands."""

    url: Text | None = None
    """Where requests go; never changes."""
    stable: RevisionRef | None = None
    """The revision that has proven itself."""
    candidate: CandidateStatus | None = None
    """The revision on its way."""
    traffic: Annotated[list[TrafficStatus], Field(max_length=8)] = Field(default_factory=list)
    """Wanted and observed traffic."""
    generation: Word | None = None
    """Routing-table generation that every router confirmed."""
    rejected: Annotated[list[Rejected], Field(max_length=20)] = Field(default_factory=list)
    """Refused revisions."""
    history: Annotated[list[HistoryEntry], Field(max_length=30)] = Field(default_factory=list)
    """What happened, newest first."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Pods of the stable revision, for /scale."""
    selector: Annotated[str, StringConstraints(max_length=512)] = ""
    """Label selector of these pods, for /scale."""
