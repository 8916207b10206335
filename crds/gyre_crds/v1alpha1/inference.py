"""InferenceService: a stable endpoint over versions that come and go."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import (
    ApiModel,
    Column,
    Digest,
    DurationText,
    Name,
    Percent,
    Resource,
    Rule,
    Share,
    Text,
    Time,
    Word,
)  # fmt: skip
from gyre_crds.v1alpha1.auth import Auth
from gyre_crds.v1alpha1.common import PodSettings, Resources, StatusBase
from gyre_crds.v1alpha1.triton import SERVICE_RULES, TritonOptions


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
    """Most rows at once."""
    max_delay: DurationText = "0s"
    """Longest wait for more."""


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


class Sticky(ApiModel):
    """The same key gets the same revision while weights only grow, and is one witness of a canary, not many."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
    """Request header that holds the key."""


class HeaderRoute(ApiModel):
    """Requests with one of these values of a header go to one revision, outside of the split and its evidence."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
    """Request header."""
    values: Annotated[list[Word], Field(min_length=1, max_length=16)]
    """Values, compared whole."""
    to: Literal["Stable", "Candidate"] = "Candidate"
    """Which revision; while there is none, or no pod of it answers, the split decides."""


class Tolerance(ApiModel):
    """How far two numbers may be apart and still agree: absolute + relative * |answer of the stable revision|."""

    absolute: Annotated[float, Field(ge=0)] = 0.000001
    """Absolute part."""
    relative: Annotated[float, Field(ge=0)] = 0.0001
    """Relative part."""


class Mirror(ApiModel):
    """How copies of requests reach a revision that answers nobody yet; they delay and fail no request."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the requests, by hash of the request id."""
    tolerance: Tolerance = Field(default_factory=Tolerance)
    """When two numbers agree; labels and texts must be equal."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Copies under way at once in one router process; more are dropped and counted."""


class Traffic(ApiModel):
    """How requests find a revision."""

    sticky: Sticky | None = None
    """Without it each request is assigned by its id."""
    headers: Annotated[list[HeaderRoute], Field(max_length=16)] = Field(default_factory=list)
    """Asked before the split; the first that fits decides. They do not count as evidence of a canary."""
    mirror: Mirror | None = None
    """Copies of the traffic while rollout.strategy Shadow compares; without it, of every request."""


class Fallback(ApiModel):
    """What answers when no pod of the chosen revision takes a request; the answer says so in x-gyre-fallback."""

    stable: bool = True
    """The stable revision answers for a candidate; the candidate's failure still counts against it."""
    static: Annotated[dict[str, float], Field(max_length=16)] = Field(default_factory=dict)
    """Then an answer made of these numbers, by the name of the output that each fills."""


class PayloadLog(ApiModel):
    """Answered rows, kept as Parquet in the store for monitors and training."""

    sample: Share = 1.0
    """Share of requests, by hash of the request id."""
    label_sample: Share = 0.01
    """Share of the logged rows that are marked for human labelling (column gyre_label_sample)."""
    redact: Annotated[list[Word], Field(max_length=100)] = Field(default_factory=list)
    """Columns that are never written."""
    flush_every: DurationText = "30s"
    """Oldest a row may get before its part is written."""
    retention: DurationText = "30d"
    """How long parts are kept."""


class ClientLimit(ApiModel):
    """Requests of one client: a token bucket in each router process."""

    rate: Annotated[float, Field(gt=0, le=1000000)]
    """Requests a second, on average."""
    burst: Annotated[int, Field(ge=1, le=1000000)] = 10
    """Requests at once; more get 429 with Retry-After."""
    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] | None = None
    """Request header that names the client; without it, the client's address. Let a proxy that checked it set it."""


class Limits(ApiModel):
    """What one router replica lets in for this service."""

    max_body: Annotated[int, Field(ge=1024)] = 16777216
    """Largest body in bytes; more is answered 413."""
    timeout: DurationText = "30s"
    """Longest answer; more is answered 504."""
    concurrency: Annotated[int, Field(ge=1, le=100000)] = 256
    """Requests at once; more wait in a queue of the same length, then get 503 with Retry-After."""
    clients: ClientLimit | None = None
    """What one client may ask; without it only concurrency bounds it."""


class Batch(ApiModel):
    """Calls of many rows: POST /v2/models/<name>/batch cuts them into requests of batching.maxSize rows."""

    max_rows: Annotated[int, Field(ge=1, le=1000000)] = 10000
    """Most rows in one call; more is answered 413."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests of one call that run at once."""


class Cache(ApiModel):
    """Answers given again to an equal question without asking the model; not while two revisions share the traffic."""

    ttl: DurationText = "60s"
    """How long an answer may be given again."""
    max_size: Annotated[int, Field(ge=65536, le=1073741824)] = 16777216
    """Bytes held by one router process; the answer unused for longest goes first."""

    RULES = (
        Rule(
            "!has(self.ttl) || self.ttl.matches('[1-9]')",
            "cache.ttl: give more than 0s, or leave cache out",
            lambda cache: any(digit in cache.ttl for digit in "123456789"),
        ),
    )


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
        Column("Traffic", ".status.traffic[*].wanted"),
        Column("URL", ".status.url", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    SELECTABLE = (".spec.model.name",)
    SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}  # fmt: skip  # noqa: E501, RUF012

    kind: Literal["InferenceService"] = "InferenceService"
    spec: InferenceServiceSpec
    status: InferenceServiceStatus | None = None
