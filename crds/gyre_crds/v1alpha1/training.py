"""TrainingJob: one training of a model, possibly in several attempts."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import (
    LIST_MAP,
    ApiModel,
    Column,
    Digest,
    DurationText,
    MapByName,
    Name,
    Percent,
    Resource,
    Text,
    Time,
    Uri,
    Word,
    one_of,
)  # fmt: skip
from gyre_crds.v1alpha1.common import EnvVar, Gpu, PodSettings, Preserved, Resources, SecretRef, StatusBase


class ClaimSource(ApiModel):
    """A path on a PersistentVolumeClaim of the namespace."""

    name: Name
    """The claim."""
    path: Annotated[str, StringConstraints(max_length=1024)] = "."
    """File or directory below the volume's root."""


class FeedbackSource(ApiModel):
    """Rows that a service has answered, joined with the labels that came back."""

    inference_service: Name
    """The service whose payload log is read."""
    window: DurationText = "30d"
    """How far back from the resolution of the job."""
    min_rows: Annotated[int, Field(ge=0)] = 0
    """Fewer joined rows than this end the job as DataNotFound; 0 lets a first training start without any."""


class DataSource(ApiModel):
    """One input. What moves (a window, a directory) is resolved once per job and pinned."""

    RULES = (one_of("uri", "claim", "from_"),)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
    """The source's name; its files are below $GYRE_DATA/<name>."""
    uri: Uri | None = None
    """`s3://bucket/path`, `https://...` or `file:///...`; a path that ends in `/` is a directory."""
    claim: ClaimSource | None = None
    """A path on a PersistentVolumeClaim."""
    from_: FeedbackSource | None = None
    """Answered and labelled rows of an InferenceService."""
    secret_ref: SecretRef | None = None
    """Credential for an s3 uri, keys as in the namespace's store Secret, which is the default."""
    sha256: Digest | None = None
    """Digest that the file, or the directory's tree, must have."""
    holdout: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of rows that never train: the latest by time for `from`, by hash of the key otherwise."""


class Retry(ApiModel):
    """What happens after a failed attempt. Disruptions (eviction, node loss) are retried without charge."""

    limit: Annotated[int, Field(ge=0, le=20)] = 2
    """Charged retries."""
    backoff: DurationText = "10s"
    """Wait before the first retry; doubles, at most 10 minutes."""


class Checkpoint(ApiModel):
    """A directory that survives attempts."""

    path: Annotated[str, StringConstraints(pattern=r"^/.+$", max_length=256)] = "/gyre/checkpoints"
    """Absolute path in the user's container, also $GYRE_CHECKPOINTS."""
    every: DurationText = "30s"
    """How often finished files are copied to the store."""


class Progress(ApiModel):
    """When silence means hung."""

    timeout: DurationText
    """No sign of life (progress, output, checkpoint) for this long ends the attempt as Hung."""


class Trigger(ApiModel):
    """Why this job exists; set by the Model's controller."""

    type: Literal["Initial", "Manual", "Schedule", "Drift"]
    """What asked for it."""
    decision: Word
    """Id of the decision in the Model's status."""
    report: Name | None = None
    """The DriftReport that led here."""


class TrainingTemplate(PodSettings):
    """How to train: everything of a TrainingJob but the model it belongs to."""

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """The user's own image; needs Python >= 3.9 for the wrapper."""
    command: Annotated[list[Annotated[str, StringConstraints(max_length=4096)]], Field(min_length=1, max_length=64)]
    """What runs; the model is left in $GYRE_OUTPUT."""
    args: Annotated[list[Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """Arguments after command."""
    env: Annotated[
        list[EnvVar],
        Field(max_length=64, json_schema_extra=LIST_MAP),
        MapByName,
    ] = Field(default_factory=list)
    """Variables of the user's container."""
    data: Annotated[
        list[DataSource],
        Field(max_length=16, json_schema_extra=LIST_MAP),
        MapByName,
    ] = Field(default_factory=list)
    """The inputs."""
    params: Preserved = Field(default_factory=dict)
    """Parameters, as JSON values: in /gyre/params.json and as GYRE_PARAM_<NAME>."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of the user's container."""
    gpu: Gpu | None = None
    """GPU need; left out means none."""
    on_out_of_memory: Literal["Fail", "Grow"] = "Fail"
    """Grow: the next attempt gets one and a half times the memory, up to the largest node."""
    checkpoint: Checkpoint | None = None
    """A directory that survives attempts."""
    retry: Retry = Field(default_factory=Retry)
    """What happens after a failed attempt."""
    deadline: DurationText | None = None
    """Total time of all attempts."""
    progress: Progress | None = None
    """When silence means hung."""
    ttl_after_finished: DurationText | None = None
    """When the finished job's pods are removed; the object stays, or GitOps would train for ever."""


class TrainingJobSpec(TrainingTemplate):
    """What is asked for."""

    model: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
    """The Model that the result belongs to; its contract says what the columns mean."""
    suspend: bool = False
    """True removes the pods and keeps the checkpoint; false goes on."""
    trigger: Trigger | None = None
    """Why this job exists; set by the Model's controller."""


class AttemptStatus(ApiModel):
    """One attempt."""

    number: Annotated[int, Field(ge=1)]
    """Counted from 1."""
    job: Name
    """The child Job."""
    uid: Word | None = None
    """The child Job's uid; empty while only intended."""
    start: Time | None = None
    """When the user's command started."""
    end: Time | None = None
    """When the attempt ended."""
    outcome: Literal["Running", "Succeeded", "Failed", "Disrupted", "Suspended"] = "Running"
    """How it ended."""
    reason: Word | None = None
    """A Training reason."""
    diagnosis: Annotated[str, StringConstraints(max_length=2048)] | None = None
    """What happened, with the last lines of the log."""
    exit_code: int | None = None
    """The user's command's exit code."""
    memory: Word | None = None
    """The memory limit this attempt ran with."""
    node: Word | None = None
    """Where it ran."""
    charged: bool = True
    """Whether it counts against retry.limit."""


class ProgressStatus(ApiModel):
    """How far the running attempt is."""

    percent: Percent | None = None
    """Done, 0 to 100."""
    eta: Time | None = None
    """When it will be done at this pace."""
    step: Annotated[int, Field(ge=0)] | None = None
    """The step the command reports."""
    metrics: Annotated[dict[str, float], Field(max_length=20)] = Field(default_factory=dict)
    """Metrics the command reports."""


class GpuStatus(ApiModel):
    """What was picked for spec.gpu, and why."""

    resource: Word | None = None
    """The extended resource, e.g. `nvidia.com/mig-1g.10gb`."""
    profile: Word | None = None
    """The MIG profile, or `whole`."""
    memory: Word | None = None
    """Usable memory of one device."""
    reason: Text = ""
    """Why this one, or why none fits."""


class ResolvedData(ApiModel):
    """One input, pinned for every attempt."""

    name: Word
    """The source's name."""
    uri: Annotated[str, StringConstraints(max_length=2048)]
    """Where the pinned bytes are."""
    digest: Digest
    """Their digest."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows that train."""
    holdout_rows: Annotated[int, Field(ge=0)] | None = None
    """Rows that never train."""
    as_of: Time | None = None
    """The moment a moving reference was resolved."""


class Resolved(ApiModel):
    """Everything that moves, resolved once per job."""

    data: Annotated[list[ResolvedData], Field(max_length=16)] = Field(default_factory=list)
    """The inputs."""
    input_digest: Digest | None = None
    """Digest over image, command, params and data digests: equal input, equal digest."""
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The image with its digest, as the node ran it."""


class TrainingJobStatus(StatusBase):
    """What happened."""

    attempts: Annotated[list[AttemptStatus], Field(max_length=64)] = Field(default_factory=list)
    """Every attempt, oldest first."""
    progress: ProgressStatus | None = None
    """How far the running attempt is."""
    gpu: GpuStatus | None = None
    """What was picked for spec.gpu."""
    resolved: Resolved | None = None
    """Everything that moves, pinned."""
    version: Name | None = None
    """The ModelVersion."""
    started_at: Time | None = None
    """When the first attempt was made; the deadline counts from here, less suspended time."""
    suspended_seconds: Annotated[int, Field(ge=0)] = 0
    """Time spent suspended."""
    finished_at: Time | None = None
    """When the job ended."""


class TrainingJob(Resource):
    """One training of a model, possibly in several attempts."""

    KIND = "TrainingJob"
    PLURAL = "trainingjobs"
    SHORT = ("tj",)
    NAME_CAP = 48
    COLUMNS = (
        Column("Model", ".spec.model"),
        Column("State", ".status.state"),
        Column("Reason", ".status.reason"),
        Column("Progress", ".status.progress.percent", "integer"),
        Column("Attempt", ".status.attempts[-1:].number", "integer"),
        Column("Version", ".status.version"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    SELECTABLE = (".spec.model",)
    IMMUTABLE = "all"
    MUTABLE = frozenset({"suspend", "deadline", "ttl_after_finished"})

    kind: Literal["TrainingJob"] = "TrainingJob"
    spec: TrainingJobSpec
    status: TrainingJobStatus | None = None
