"""DriftMonitor and DriftReport: looks at a live model, and what each look saw."""

from typing import Annotated, Literal

from pydantic import Field

from gyre_crds.base import (
    LIST_MAP,
    ApiModel,
    Column,
    Digest,
    DurationText,
    MapByName,
    Name,
    Resource,
    Rule,
    Share,
    Text,
    Time,
    Uri,
    Word,
    one_of,
)  # fmt: skip
from gyre_crds.v1alpha1.common import PodSettings, Resources, StatusBase

Method = Literal["PSI", "KS", "Wasserstein", "JensenShannon", "KL", "ChiSquare", "Hellinger", "TVD", "MMD"]
Verdict = Literal[
    "InsufficientData", "SchemaBreak", "QualityIncident", "ConceptDrift", "PerformanceLoss", "EstimatedLoss",
    "PredictionShift", "CovariateShift", "Healthy",
]  # fmt: skip
Level = Literal["None", "P2", "P1", "P0"]


class Target(ApiModel):
    """What is watched."""

    inference_service: Name
    """The service whose payload log is read; its Model's contract says what the columns mean."""


class Window(ApiModel):
    """The rows of one look: those answered between two looks, or the latest so many."""

    every: DurationText = "1h"
    """Length of a window and distance between looks; windows start at multiples of it."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """With fewer rows the verdict is InsufficientData."""
    labels_back: DurationText = "7d"
    """How far back labelled rows count for the realized performance."""


class Feature(ApiModel):
    """What is known of one column beyond its data."""

    name: Word
    """The column."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Importance: more weight, stricter test and higher rank."""
    method: Method | None = None
    """The statistic; by default PSI with a calibrated p-value for numbers, ChiSquare for categories, and MMD for
    texts and vectors, which nothing else compares."""
    threshold: Annotated[float, Field(ge=0)] | None = None
    """Effect below which this column never counts as drifted."""
    min: float | None = None
    """Least valid value; values below are a quality incident."""
    max: float | None = None
    """Greatest valid value."""
    categorical: bool | None = None
    """True for codes that look like numbers."""


class Quality(ApiModel):
    """What counts as broken data."""

    missing_increase: Share = 0.05
    """Rise of a column's share of missing values over the reference."""
    out_of_range: Share = 0.01
    """Share of values outside min and max."""
    new_categories: Share = 0.05
    """Share of values that the reference never had."""
    duplicates: Share = 0.5
    """Share of rows with a key that came before in the window."""


class Actions(ApiModel):
    """What a look may cause beyond a report and metrics."""

    rollout: Literal["None", "Halt", "Rollback"] = "Halt"
    """What happens to a candidate under way when a look finds a loss or shift since it started."""


class EvidentlySource(ApiModel):
    """Reports that other people's Evidently jobs write."""

    uri: Uri
    """Place that the namespace's store credential can list; each `.json` below it (0.6 or 0.7) becomes one report."""
    may_act: bool = False
    """Whether these reports may cause more than an alert; setting it needs the verb `act` on driftreports."""


class DriftMonitorSpec(PodSettings):
    """What is watched, and how strictly."""

    target: Target
    """What is watched."""
    reference: Uri | None = None
    """Parquet or profile to compare with; by default the profile of the version that serves."""
    match: Annotated[list[Literal["HourOfDay", "DayOfWeek"]], Field(max_length=2)] = Field(default_factory=list)
    """What earlier windows must share with a window (UTC) to be its baseline, as soon as there are 20 that do; by
    default the hour of the day."""
    window: Window = Field(default_factory=Window)
    """The rows of one look."""
    features: Annotated[
        list[Feature],
        Field(max_length=500, json_schema_extra=LIST_MAP),
        MapByName,
    ] = Field(default_factory=list)
    """What is known of columns; the others are tested by default."""
    segments: Annotated[list[Word], Field(max_length=8)] = Field(default_factory=list)
    """Categorical columns whose values are looked at one by one."""
    quality: Quality = Field(default_factory=Quality)
    """What counts as broken data."""
    false_alarm_rate: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    """Alarms per healthy window of the whole monitor (1/ARL0)."""
    persistence: Annotated[int, Field(ge=1, le=10)] = 1
    """Consecutive windows that must agree before a shift of inputs or predictions is raised above P2."""
    actions: Actions = Field(default_factory=Actions)
    """What a look may cause."""
    engine: Literal["Native", "Evidently", "Both"] = "Native"
    """Native decides always; Evidently and Both add Evidently's own report for people."""
    evidently: EvidentlySource | None = None
    """Reports of other people's Evidently jobs; each look takes over those that came since the last."""
    resources: Resources = Field(default_factory=Resources)
    """CPU and memory of the monitoring job."""
    history: Annotated[int, Field(ge=1, le=1000)] = 100
    """DriftReports kept."""
    paused: bool = False
    """True stops looking."""


class LookStatus(ApiModel):
    """The look under way."""

    window_start: Time
    """Start of its window."""
    window_end: Time
    """End of its window."""
    job: Name
    """The monitoring Job."""
    uid: Word | None = None
    """Its uid; empty while only intended."""
    failures: Annotated[int, Field(ge=0)] = 0
    """Failed tries of this window."""


class DriftMonitorStatus(StatusBase):
    """What the monitor saw last."""

    look: LookStatus | None = None
    """The look under way."""
    last_window_end: Time | None = None
    """End of the last finished window."""
    verdict: Verdict | None = None
    """The last verdict."""
    level: Level = "None"
    """Its level."""
    imported_until: Time | None = None
    """Start of the last window whose look took Evidently's reports over."""
    last_report: Name | None = None
    """The last report."""
    reports: Annotated[int, Field(ge=0)] = 0
    """Reports kept."""
    consecutive: Annotated[int, Field(ge=0)] = 0
    """Windows in a row with the same alarming verdict."""


class DriftMonitor(Resource):
    """Looks at a live model, window by window."""

    KIND = "DriftMonitor"
    PLURAL = "driftmonitors"
    SHORT = ("dm",)
    NAME_CAP = 40
    COLUMNS = (
        Column("Service", ".spec.target.inferenceService"),
        Column("State", ".status.state"),
        Column("Reason", ".status.reason"),
        Column("Verdict", ".status.verdict"),
        Column("Level", ".status.level"),
        Column("Last look", ".status.lastWindowEnd", "date"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    SELECTABLE = (".spec.target.inferenceService",)

    kind: Literal["DriftMonitor"] = "DriftMonitor"
    spec: DriftMonitorSpec
    status: DriftMonitorStatus | None = None


class ReportWindow(ApiModel):
    """The rows of the look."""

    start: Time
    """First instant."""
    end: Time
    """First instant after it."""
    rows: Annotated[int, Field(ge=0)]
    """Rows looked at."""


class ColumnFinding(ApiModel):
    """What one column did."""

    name: Word
    """The column."""
    method: Word
    """The statistic."""
    score: float | None = None
    """Its value."""
    effect: float | None = None
    """Debiased effect size."""
    p_adjusted: float | None = None
    """p-value after correction over columns."""
    drifted: bool = False
    """Whether it counts as drifted."""
    missing: Share | None = None
    """Share of its values that are missing."""
    note: Text = ""
    """For schema and quality: what is broken."""


class PredictionFinding(ApiModel):
    """What the model answered, and how sure it was; each beside the reference rows."""

    mean: float | None = None
    """Mean score of a classifier, mean prediction of a regressor."""
    mean_before: float | None = None
    """The same on the reference rows."""
    entropy: float | None = None
    """Mean entropy of the score in bits: 0 is sure, 1 is a tie between two classes."""
    entropy_before: float | None = None
    """The same on the reference rows."""
    unsure: Share | None = None
    """Share of rows whose likelier class has a score below 0.6."""
    unsure_before: Share | None = None
    """The same on the reference rows."""


class LaterLoss(ApiModel):
    """The loss on rows that arrived after those that first alarmed: what alarmed was selected for being large."""

    after: Time
    """End of the window whose labels proved the loss first, in this row of looks."""
    realized: float
    """The metric on these rows."""
    lower: float
    """Lower confidence bound of their loss."""
    labels: Annotated[int, Field(ge=0)]
    """Their mature labels."""


class PerformanceFinding(ApiModel):
    """How well the model does."""

    metric: Word
    """The objective's metric."""
    reference: float | None = None
    """On the reference rows."""
    estimated: float | None = None
    """Estimated without labels."""
    realized: float | None = None
    """On labelled rows."""
    lower: float | None = None
    """Lower confidence bound of the loss (reference minus realized, turned so that more is worse)."""
    upper: float | None = None
    """Upper confidence bound of the loss."""
    labels: Annotated[int, Field(ge=0)] = 0
    """Mature labels used."""
    since: Time | None = None
    """The oldest labelled row used."""
    later: LaterLoss | None = None
    """The loss without the rows that alarmed; left out in the look that alarms, and while there are under 100."""


class ReportArtifacts(ApiModel):
    """Where the whole report is."""

    json_: Uri | None = None
    """The full JSON."""
    html: Uri | None = None
    """The page for people."""
    evidently: Uri | None = None
    """Evidently's page."""


class DriftReportSpec(ApiModel):
    """What one look saw. Immutable."""

    RULES = (
        one_of("monitor", "inference_service"),
        Rule(
            "self.level == 'None' || self.verdict != 'Healthy'",
            "level: a healthy window has level None",
            lambda report: report.level == "None" or report.verdict != "Healthy",
        ),
    )

    monitor: Name | None = None
    """The DriftMonitor that looked."""
    inference_service: Name | None = None
    """For a report made elsewhere: the service it speaks of."""
    version: Name | None = None
    """The ModelVersion that served."""
    window: ReportWindow
    """The rows."""
    verdict: Verdict
    """The verdict."""
    level: Level = "None"
    """How urgent."""
    reason: Text
    """The verdict as a sentence, with the next action."""
    columns: Annotated[list[ColumnFinding], Field(max_length=20)] = Field(default_factory=list)
    """The top columns by effect and importance."""
    drift_share: Share | None = None
    """Share of columns that drifted."""
    prediction: PredictionFinding | None = None
    """What the model answered, and how sure it was."""
    performance: PerformanceFinding | None = None
    """How well the model does."""
    power: Text = ""
    """What this window could not have seen."""
    provisional: bool = False
    """Whether the history is too short to hold the declared false-alarm rate."""
    engine: Word = "native"
    """Which engine judged."""
    reference_digest: Digest | None = None
    """Digest of the profile compared with."""
    artifacts: ReportArtifacts = Field(default_factory=ReportArtifacts)
    """Where the whole report is."""
    may_act: bool = False
    """Whether it may cause more than an alert: a retraining, rows left out of one, and what its monitor's actions say.
    Setting it needs the verb `act` on driftreports; the operator sets it on what its own looks saw."""


class DriftReportStatus(StatusBase):
    """What came of the report."""

    decision: Word | None = None
    """Id of the Model's decision on it."""


class DriftReport(Resource):
    """What one look saw."""

    KIND = "DriftReport"
    PLURAL = "driftreports"
    SHORT = ("dr",)
    # A hundred past looks would bury all else there; the monitor's own line says the last one.
    CATEGORIES = ()
    NAME_CAP = 63
    COLUMNS = (
        Column("Monitor", ".spec.monitor"),
        Column("Verdict", ".spec.verdict"),
        Column("Level", ".spec.level"),
        Column("Rows", ".spec.window.rows", "integer"),
        Column("Why", ".spec.reason"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    )
    SELECTABLE = (".spec.monitor", ".spec.verdict")
    IMMUTABLE = "all"

    kind: Literal["DriftReport"] = "DriftReport"
    spec: DriftReportSpec
    status: DriftReportStatus | None = None
