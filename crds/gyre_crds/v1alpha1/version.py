"""ModelVersion: an immutable, content-addressed version of a model."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import (
    ApiModel,
    Column,
    Digest,
    Name,
    Resource,
    Rule,
    Text,
    Time,
    Uri,
    Word,
    one_of,
)  # fmt: skip
from gyre_crds.v1alpha1.common import Category, Preserved, StatusBase

Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]


class Tensor(ApiModel):
    """One input or output of the model, as the Open Inference Protocol names it."""

    name: Word
    """The tensor's name."""
    datatype: Datatype
    """Its element type."""
    shape: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=8)]
    """Its shape; -1 is a free dimension, the first is the batch."""
    columns: Annotated[list[Word], Field(max_length=500)] = Field(default_factory=list)
    """Feature names along the last dimension, in order."""
    categories: Annotated[list[Category], Field(max_length=300)] = Field(default_factory=list)
    """What a BYTES input may hold, where that is known; routers that validate refuse another text."""


class Prediction(ApiModel):
    """Which output is the prediction, and which is its confidence."""

    output: Word
    """The output that holds the predicted label or value."""
    score: Word | None = None
    """The output that holds class scores."""
    positive: Annotated[int, Field(ge=0)] | None = None
    """Index of the positive class in score."""
    task: Literal["Classification", "Regression"]
    """What kind of prediction it is."""


class Signature(ApiModel):
    """What the version takes and gives."""

    inputs: Annotated[list[Tensor], Field(min_length=1, max_length=64)]
    """The inputs."""
    outputs: Annotated[list[Tensor], Field(min_length=1, max_length=64)]
    """The outputs."""
    prediction: Prediction | None = None
    """Which output is the prediction."""


class MlflowSource(ApiModel):
    """A version that a person registered in MLflow."""

    name: Word
    """The registered model."""
    version: Word
    """Its number."""


class Source(ApiModel):
    """Where the version comes from."""

    RULES = (one_of("uri", "mlflow"),)

    uri: Uri | None = None
    """The content-addressed tree in the store."""
    mlflow: MlflowSource | None = None
    """A version registered in MLflow by hand; it is digested and copied to the store first."""


class DataLineage(ApiModel):
    """One input that trained."""

    name: Word
    """The source's name."""
    uri: Annotated[str, StringConstraints(max_length=2048)]
    """Where the pinned bytes are."""
    digest: Digest
    """Their digest."""
    rows: Annotated[int, Field(ge=0)] | None = None
    """Rows that trained."""


class Lineage(ApiModel):
    """What made these bytes."""

    job: Name | None = None
    """The TrainingJob that made them first."""
    attempt: int | None = None
    """Its attempt."""
    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The image."""
    environment: Digest | None = None
    """Digest over the installed packages of the image."""
    data: Annotated[list[DataLineage], Field(max_length=16)] = Field(default_factory=list)
    """The inputs."""
    params: Preserved = Field(default_factory=dict)
    """The parameters."""
    input_digest: Digest | None = None
    """Digest over image, command, params and data."""
    parent: Name | None = None
    """The champion at the time of training."""
    trained_at: Time | None = None
    """When the training ended."""
    cut_off: Time | None = None
    """No row later than this trained."""


class Evidence(ApiModel):
    """Rows kept beside the version."""

    reference: Uri | None = None
    """Parquet: held-out rows as training saw the world (features, prediction, score, label, key, time)."""
    holdout: Uri | None = None
    """Parquet: the latest held-out rows, for the champion gate."""
    profile: Uri | None = None
    """JSON: the drift profile of the reference rows."""


class Approval(ApiModel):
    """A person's yes."""

    user: Word
    """Who; must be the API user that adds the entry."""
    at: Time
    """When."""
    comment: Text = ""
    """Why."""


class ModelVersionSpec(ApiModel):
    """What the version is. Immutable but for approvals."""

    RULES = (
        Rule(
            "has(self.digest) || has(self.source.mlflow)",
            "digest: set it; only a version that is adopted from MLflow gets its digest later",
            lambda spec: spec.digest is not None or spec.source.mlflow is not None,
        ),
    )

    model: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
    """The Model it belongs to."""
    source: Source
    """Where it comes from."""
    digest: Digest | None = None
    """Tree digest (`gyre.artifact.v1`); left out only for a version that is adopted from MLflow."""
    payload_digest: Digest | None = None
    """Digest over the model's own files alone."""
    size: Annotated[int, Field(ge=0)] | None = None
    """Bytes."""
    format: Literal["ONNX", "MLflow", "Python"] = "ONNX"
    """ONNX: model.onnx. MLflow: an MLflow model directory (pyfunc). Python: model.py with a class Model."""
    signature: Signature | None = None
    """What it takes and gives."""
    metrics: Annotated[dict[str, float], Field(max_length=100)] = Field(default_factory=dict)
    """Metrics on held-out rows, and what the run logged."""
    lineage: Lineage = Field(default_factory=Lineage)
    """What made these bytes."""
    evidence: Evidence = Field(default_factory=Evidence)
    """Rows kept beside the version."""
    run_id: Word | None = None
    """The MLflow run."""
    approvals: Annotated[
        list[Approval],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-validations": [
                    {"rule": "oldSelf.all(entry, entry in self)", "message": "approvals: entries are only ever added"}
                ]
            },
        ),
    ] = Field(default_factory=list)
    """Append-only: a person's yes for a gate of type Approval."""


class GateStatus(ApiModel):
    """What one gate said."""

    name: Word
    """The gate's name in the Model."""
    type: Word
    """Its type."""
    state: Literal["Pending", "Running", "Passed", "Failed", "Unknown"]
    """Only Passed passes."""
    reason: Word = "Pending"
    """A Version reason."""
    message: Text = ""
    """The sentence with the numbers."""
    value: float | None = None
    """What was measured."""
    bound: float | None = None
    """What it had to reach."""
    gain: float | None = None
    """Type Champion: what it wins over the champion on identical later rows, in the metric's unit, more is better."""
    gain_lower: float | None = None
    """Lower one-sided 95 % bound of gain."""
    gain_upper: float | None = None
    """Upper one-sided 95 % bound of gain."""
    champion: Digest | None = None
    """The champion's digest it was compared with; a new champion means a new run."""
    definition: Word | None = None
    """Digest of what the Model asked: the gate's fields, for type Champion contract.objective too. A gate that is
    corrected is asked again."""
    job: Name | None = None
    """The Job that evaluates."""
    uid: Word | None = None
    """The Job's uid; empty while only intended."""
    at: Time | None = None
    """When it was decided."""


class Registered(ApiModel):
    """The version in MLflow."""

    name: Word
    """Registered model."""
    version: Word
    """Number, for display only."""
    url: Text | None = None
    """Where a person opens it."""


class Verification(ApiModel):
    """The last re-verification of the stored bytes."""

    job: Name | None = None
    """The Job that verifies."""
    uid: Word | None = None
    """The Job's uid; empty while only intended."""
    verified: bool | None = None
    """Whether the bytes had the digest; empty while it runs."""
    message: Text = ""
    """The file that differs, if any."""
    at: Time | None = None
    """When."""


class ProfileStatus(ApiModel):
    """The run-once Job that makes the drift profile."""

    job: Name | None = None
    """The Job."""
    uid: Word | None = None
    """Its uid; empty while only intended."""
    ready: bool | None = None
    """Whether the profile exists; empty while the Job runs."""
    digest: Digest | None = None
    """The profile's digest."""
    message: Text = ""
    """Why there is none."""


class Move(ApiModel):
    """One change of an alias."""

    at: Time
    """When."""
    alias: Word
    """Which."""
    what: Literal["Gained", "Lost"]
    """Gained or lost."""
    reason: Text = ""
    """Why."""


class ModelVersionStatus(StatusBase):
    """What is known of the version."""

    digest: Digest | None = None
    """Tree digest, also for an adopted version."""
    uri: Uri | None = None
    """The content-addressed tree, also for an adopted version."""
    signature: Signature | None = None
    """Found by adoption, where spec has none."""
    format: Literal["ONNX", "MLflow", "Python"] | None = None
    """Found by adoption; where it is set it counts, not the spec's."""
    verification: Verification | None = None
    """The last re-verification."""
    registry: Registered | None = None
    """The version in MLflow."""
    gates: Annotated[list[GateStatus], Field(max_length=16)] = Field(default_factory=list)
    """What each gate said."""
    profile: ProfileStatus | None = None
    """The drift profile."""
    aliases: Annotated[list[Word], Field(max_length=8)] = Field(default_factory=list)
    """Aliases it carries."""
    used_by: Annotated[list[Word], Field(max_length=64)] = Field(default_factory=list)
    """InferenceServices that serve it."""
    produced_by: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)
    """TrainingJobs that made the same bytes."""
    moves: Annotated[list[Move], Field(max_length=20)] = Field(default_factory=list)
    """The last twenty changes of aliases, newest first."""


class ModelVersion(Resource):
    """An immutable, content-addressed version of a model."""

    KIND = "ModelVersion"
    PLURAL = "modelversions"
    SHORT = ("mv",)
    NAME_CAP = 63
    COLUMNS = (
        Column("Model", ".spec.model"),
        Column("State", ".status.state"),
        Column("Reason", ".status.reason"),
        Column("Aliases", ".status.aliases"),
        Column("MLflow", ".status.registry.version"),
        Column("Used by", ".status.usedBy"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    SELECTABLE = (".spec.model",)
    IMMUTABLE = "all"
    MUTABLE = frozenset({"approvals"})

    kind: Literal["ModelVersion"] = "ModelVersion"
    spec: ModelVersionSpec
    status: ModelVersionStatus | None = None
