"""One attempt of a training: what the pod is told, and what its three containers report.

Pod of an attempt (all share the emptyDir `/gyre`)::

    init prepare   pipelines image  `gyre-pipelines prepare`  env GYRE_ATTEMPT, store, source credentials
    publish [0]    pipelines image  `gyre-pipelines publish`  env GYRE_ATTEMPT, store, MLflow
    train   [1]    user's image     `python3 /gyre/bin/wrapper.pyz`  env GYRE_WRAPPER; no credential of Gyre

Each writes one JSON report (<= 4096 bytes) to its termination message. Exit codes: 0 done,
EXIT_USER the request cannot be met (never retried), EXIT_INFRA the surroundings failed (retried).
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from gyre_crds.base import ApiModel, Digest, Time
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.training import DataSource, Resolved
from gyre_crds.v1alpha1.version import Evidence, Signature

EXIT_USER = 64
EXIT_INFRA = 75
MESSAGE_LIMIT = 4096
PROGRESS_PORT = 9464
"""Port of the train container where the wrapper answers GET /progress with `ProgressReport`."""


class Path(StrEnum):
    """Files below /gyre that the three containers share."""

    ROOT = "/gyre"
    WRAPPER = "/gyre/bin/wrapper.pyz"
    PARAMS = "/gyre/params.json"
    DATA = "/gyre/data"
    """One entry for each source: /gyre/data/<name>/..., training rows only. $GYRE_DATA"""
    CLAIMS = "/gyre/claims"
    """One mount for each `claim` source, by the source's name, read-only, in prepare alone."""
    OUTPUT = "/gyre/output"
    """Where the user's code leaves the model. $GYRE_OUTPUT"""
    LINEAGE = "/gyre/lineage.json"
    """PreparedLineage, by prepare."""
    ROWS = "/gyre/reference/rows.json"
    """golden.Rows: features of the reference rows to predict, by prepare."""
    TRUTH = "/gyre/truth/truth.parquet"
    """The same rows with key, time and label, by prepare. A volume of its own, which the user's container lacks."""
    PREDICTIONS = "/gyre/reference/predictions.json"
    """golden.Predictions of the native model, by the wrapper."""
    RESULT = "/gyre/result.json"
    """TrainReport, by the wrapper, before it releases LOCK."""
    LOCK = "/gyre/train.lock"
    """flock held by the wrapper from start to end; publish waits for it."""
    METRICS = "/gyre/output/metrics.json"
    """Optional, by the user's code: {"name": number}."""
    PROGRESS = "/gyre/progress.jsonl"
    """Optional, by the user's code, one JSON a line: {"percent":, "step":, "metrics": {}}. $GYRE_PROGRESS"""


class Env(StrEnum):
    """Environment variables of an attempt's containers."""

    ATTEMPT = "GYRE_ATTEMPT"
    """AttemptOrder as JSON."""
    WRAPPER = "GYRE_WRAPPER"
    """WrapperOrder as JSON."""
    DATA = "GYRE_DATA"
    OUTPUT = "GYRE_OUTPUT"
    CHECKPOINTS = "GYRE_CHECKPOINTS"
    PROGRESS = "GYRE_PROGRESS"
    PARAM_PREFIX = "GYRE_PARAM_"
    SOURCE_PREFIX = "GYRE_SOURCE_"
    """Credentials of data source <NAME>: GYRE_SOURCE_<NAME>_<KEY of StoreSecret, upper case>; dashes become _."""
    MLFLOW = "MLFLOW_TRACKING_URI"


class Span(ApiModel):
    """A stretch of time, end excluded."""

    start: Time
    end: Time


class AttemptOrder(ApiModel):
    """What prepare and publish are told."""

    namespace: str
    job: str
    uid: str
    """The TrainingJob's uid: one uid, one set of pinned inputs."""
    number: int
    model: str
    contract: Contract | None = None
    """The Model's contract; without one no rows are held out or predicted."""
    data: list[DataSource] = Field(default_factory=list)
    resolved: Resolved | None = None
    """Pins of an earlier attempt: fetch exactly these."""
    params: dict[str, Any] = Field(default_factory=dict)
    image: str
    command: list[str]
    excluded: list[Span] = Field(default_factory=list)
    """Windows that a monitor found broken (SchemaBreak, QualityIncident): their rows teach nothing but the fault, so a
    `from` source leaves them out."""
    champion_input: Digest | None = None
    """The champion's input digest, given for trigger Drift: equal input ends as NoNewData."""
    parent: str | None = None
    """The champion's ModelVersion."""
    checkpoint_path: str | None = None
    checkpoint_seconds: float = 30.0


class WrapperOrder(ApiModel):
    """What the wrapper is told; it is plain stdlib and reads this as a dict."""

    command: list[str]
    hang_seconds: float | None = None
    memory_bytes: int | None = None
    checkpoint_path: str | None = None
    output: str = Path.OUTPUT.value


class FailureReport(ApiModel):
    """Termination message of a container that failed."""

    schema_: Literal["gyre.failure.v1"] = "gyre.failure.v1"
    reason: str
    """A Training reason."""
    message: str
    """One sentence that names field and cure."""
    tail: list[str] = Field(default_factory=list)
    """The last lines of the user's output."""
    exit_code: int | None = None
    signal: int | None = None
    peak_memory: int | None = None
    """Bytes."""


class PrepareReport(ApiModel):
    """Termination message of prepare."""

    schema_: Literal["gyre.prepare.v1"] = "gyre.prepare.v1"
    resolved: Resolved


class PreparedLineage(ApiModel):
    """What prepare knows, for publish."""

    resolved: Resolved
    features: list[str] = Field(default_factory=list)
    cut_off: Time | None = None
    """Latest event time of a training row."""
    reference_rows: int = 0
    holdout: str | None = None
    """Store URI of the latest held-out labelled rows of a `from` source, if any."""


class TrainReport(ApiModel):
    """Termination message of train, and RESULT: what the wrapper saw of a success."""

    schema_: Literal["gyre.train.v1"] = "gyre.train.v1"
    started_at: Time
    ended_at: Time
    seconds: float
    peak_memory: int | None = None
    python: str | None = None
    packages: list[str] = Field(default_factory=list)
    """`name==version` of the user's image, sorted; only in RESULT, left out of the message."""
    predicted: int = 0
    """Reference rows predicted."""
    tail: list[str] = Field(default_factory=list)


class PublishReport(ApiModel):
    """Termination message of publish: enough to make the ModelVersion; all of it is in the store too."""

    schema_: Literal["gyre.publish.v1"] = "gyre.publish.v1"
    tree_digest: Digest
    payload_digest: Digest
    uri: str
    """The tree in the store."""
    result: str
    """Store URI of PublishResult."""
    size: int
    run_id: str | None = None


class PublishResult(ApiModel):
    """`jobs/<uid>/result.json` in the store: what the ModelVersion is made of."""

    report: PublishReport
    format: Literal["ONNX", "MLflow", "Python"]
    signature: Signature | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    environment: Digest | None = None
    evidence: Evidence = Field(default_factory=Evidence)
    trained_at: Time
    cut_off: Time | None = None


class ProgressReport(ApiModel):
    """What GET /progress answers."""

    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    eta_seconds: float | None = None
    step: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    memory: int | None = None
    """Bytes in use by the container."""
    silent_seconds: float = 0.0
    """Since the last sign of life."""
    state: Literal["Starting", "Running", "Predicting", "Done"] = "Starting"
