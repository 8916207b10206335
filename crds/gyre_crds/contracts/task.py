"""Run-once Jobs around a version and a monitor: what each is told and what it reports.

Every task is one container with its order as JSON in `GYRE_TASK`, the store in its environment, and
one JSON report (<= 4096 bytes) on its termination message; exit code 0 whenever a report was made::

    gyre-pipelines verify     VerifyOrder  -> VerifyReport    pipelines image
    gyre-pipelines adopt      AdoptOrder   -> AdoptReport     pipelines image
    gyre-pipelines gate       GateOrder    -> GateReport      pipelines image
    gyre-monitoring profile   ProfileOrder -> ProfileReport   monitoring image
    gyre-monitoring look      LookOrder    -> LookReport      monitoring image

With GYRE_TASK set, a command needs no other argument. A task that cannot be done reports
`attempt.FailureReport` and exits EXIT_USER or EXIT_INFRA.
"""

from typing import Any, Literal

from pydantic import Field

from gyre_crds.base import ApiModel, Digest, Time
from gyre_crds.contracts.attempt import Span
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.drift import DriftMonitorSpec, DriftReportSpec
from gyre_crds.v1alpha1.version import Signature

ENV = "GYRE_TASK"


class VerifyOrder(ApiModel):
    """Digest the stored tree again."""

    uri: str
    digest: Digest


class VerifyReport(ApiModel):
    """What the stored tree is."""

    schema_: Literal["gyre.verify.v1"] = "gyre.verify.v1"
    verified: bool
    message: str = ""
    """The first file that differs."""


class AdoptOrder(ApiModel):
    """Copy a version that a person registered in MLflow into the store."""

    namespace: str
    model: str
    name: str
    """Registered model."""
    version: str
    contract: Contract | None = None


class AdoptReport(ApiModel):
    """The adopted tree."""

    schema_: Literal["gyre.adopt.v1"] = "gyre.adopt.v1"
    tree_digest: Digest
    payload_digest: Digest
    uri: str
    size: int
    format: Literal["ONNX", "MLflow"]
    signature: Signature | None = None


class Candidate(ApiModel):
    """One version of a comparison."""

    name: str
    uri: str
    digest: Digest
    signature: Signature | None = None
    holdout: str | None = None
    """Labelled rows later than this version's training."""
    reference: str | None = None
    cut_off: Time | None = None


class GateOrder(ApiModel):
    """Evaluate one gate."""

    gate: str
    type: Literal["Metric", "Champion", "GoldenRows"]
    contract: Contract
    candidate: Candidate
    champion: Candidate | None = None
    metric: str | None = None
    min: float | None = None
    max: float | None = None
    logged: dict[str, float] = Field(default_factory=dict)
    """Metrics of the run."""
    service: str | None = None
    """With it, the newest labelled rows of the service's payload log join the holdout, if later than both cut-offs."""
    excluded: list[Span] = Field(default_factory=list)
    """Windows of the payload log that looks found broken: their rows compare nothing but the fault."""


class GateReport(ApiModel):
    """What the gate says."""

    schema_: Literal["gyre.gate.v1"] = "gyre.gate.v1"
    state: Literal["Passed", "Failed", "Unknown"]
    reason: str
    """A Version reason."""
    message: str
    """The sentence with the numbers."""
    value: float | None = None
    bound: float | None = None
    rows: int = 0
    numbers: dict[str, float] = Field(default_factory=dict)


class ProfileOrder(ApiModel):
    """Make the drift profile of reference rows."""

    reference: str
    """Parquet: features, `prediction`, `score`, label, key, time."""
    out: str
    """Store URI of the profile."""
    contract: Contract


class ProfileReport(ApiModel):
    """The profile made."""

    schema_: Literal["gyre.profileReport.v1"] = "gyre.profileReport.v1"
    uri: str
    digest: Digest
    rows: int
    columns: int


class LookOrder(ApiModel):
    """Look at one window."""

    namespace: str
    monitor: str
    service: str
    version: str | None = None
    profile: str
    """Store URI of the profile, or of reference Parquet."""
    window_start: Time
    window_end: Time
    spec: DriftMonitorSpec
    contract: Contract
    revisions: list[str] = Field(default_factory=list)
    """Revisions whose rows count; empty means all."""
    redacted: list[str] = Field(default_factory=list)
    """Columns that the service leaves out of its payload log: not looked at, and not missing."""
    out: str
    """Store URI prefix for report.json, report.html and, when asked, evidently.html."""
    history: str
    """Store URI prefix of the monitor's earlier reports."""
    consecutive: int = 0
    """Windows in a row with an alarming shift so far."""
    imports: str | None = None
    """Store URI prefix for what was taken over of `spec.evidently`."""
    imported_until: Time | None = None
    """Start of the last window whose imports became objects: what later windows took is told again."""


class LookReport(ApiModel):
    """The look as a DriftReport's spec, cut to fit the termination message; the whole is at `uri`."""

    schema_: Literal["gyre.look.v1"] = "gyre.look.v1"
    uri: str
    """Store URI of report.json (`Report`)."""
    digest: Digest


class Import(ApiModel):
    """One file of Evidently's."""

    key: str
    """Twelve hex digits of its place and version."""
    uri: str
    spec: DriftReportSpec | None = None
    problem: str = ""
    """Why it is no report, as a sentence."""


class Report(ApiModel):
    """report.json: the DriftReport's spec and everything that is too large for an object."""

    schema_: Literal["gyre.report.v1"] = "gyre.report.v1"
    spec: DriftReportSpec
    """Becomes the DriftReport, word for word."""
    features: list[dict[str, Any]] = Field(default_factory=list)
    """Every column: {name, kind, method, score, effect, pValue, pAdjusted, drifted, missing, newCategories, mde}."""
    prediction: dict[str, Any] = Field(default_factory=dict)
    """The same for the prediction."""
    segments: list[dict[str, Any]] = Field(default_factory=list)
    quality: list[dict[str, Any]] = Field(default_factory=list)
    schema_findings: list[dict[str, Any]] = Field(default_factory=list)
    power: dict[str, Any] = Field(default_factory=dict)
    imports: list[Import] = Field(default_factory=list)
    """Evidently's files that came since the last look, oldest first."""
    statistics: dict[str, float] = Field(default_factory=dict)
    """Window-level numbers a later look calibrates with."""
