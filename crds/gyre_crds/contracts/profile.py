"""Drift profile `gyre.profile.v1`: what the reference rows look like, small enough to travel with a version.

Counts, not rows: a look compares a window with it without reading the reference again. Bins are
`(edge[i-1], edge[i]]`; whatever lies above the last edge belongs to the last bin. A profile of 100
columns stays below one megabyte.
"""

from typing import Literal

from pydantic import Field

from gyre_crds.base import ApiModel, Digest, Uri

SCHEMA = "gyre.profile.v1"
EDGES = 256
"""Most bins kept of a numeric column; with fewer distinct values every value is a bin of its own."""
CATEGORIES = 256
"""Most categories kept by name; rarer ones are one count."""


class NumberProfile(ApiModel):
    """The distribution of a number (of a text column: of its lengths, in characters)."""

    edges: list[float] = Field(default_factory=list)
    """Upper edge of each bin, ascending; each is a value that occurs."""
    counts: list[int] = Field(default_factory=list)
    """Rows in each bin."""
    losses: list[float] = Field(default_factory=list)
    """Sum of the per-row loss over the labelled rows of each bin; empty without labels."""
    labelled: list[int] = Field(default_factory=list)
    """Labelled rows of each bin; empty without labels."""
    min: float = 0.0
    max: float = 0.0
    mean: float = 0.0
    std: float = 0.0
    exact: bool = False
    """Every bin holds one single value, so `edges` are all values there are."""
    integral: bool = False
    """Every value is a whole number."""


class CategoryProfile(ApiModel):
    """The distribution of a category."""

    values: list[str] = Field(default_factory=list)
    """Categories as text, whole numbers without a point, most frequent first."""
    counts: list[int] = Field(default_factory=list)
    """Rows of each."""
    other: int = 0
    """Rows of categories that are not named here."""
    losses: list[float] = Field(default_factory=list)
    labelled: list[int] = Field(default_factory=list)


class VectorProfile(ApiModel):
    """Rows of a vector, or of a text as its hashed words and character triples: a sample of their random features."""

    dimension: int
    """Length of each vector."""
    bandwidth: float
    """Width of the kernel: the median distance of two rows."""
    rows: int
    """Sampled rows."""
    sample: str
    """Base64 of int8 (rows, 64): the features of the rows, times 127."""


class ColumnProfile(ApiModel):
    """One column of the reference rows."""

    name: str
    kind: Literal["Number", "Category", "Text", "Vector"]
    """Number: compared by quantile bins. Category: value by value. Text and Vector: by samples of rows."""
    type: Literal["number", "string", "time", "vector"]
    """What the column holds; another type in a window is a SchemaBreak."""
    rows: int
    """All rows, missing ones too."""
    missing: int = 0
    """Null or NaN."""
    infinite: int = 0
    """Plus or minus infinity, which no bin counts."""
    number: NumberProfile | None = None
    category: CategoryProfile | None = None
    vector: VectorProfile | None = None


class MetricProfile(ApiModel):
    """How well the model does on the reference rows."""

    metric: Literal["accuracy", "logLoss", "auc", "f1", "brier", "rmse", "mae"]
    value: float
    standard_error: float
    rows: int


class Calibration(ApiModel):
    """How often the positive class came true, by score: the reliability curve of the reference rows."""

    edges: list[float]
    """Upper edge of each score bin."""
    rows: list[int]
    """Labelled rows of each bin."""
    positives: list[int]
    """Of these, rows whose label is the positive class."""


class Uncertainty(ApiModel):
    """How sure a classifier was of its answers, by its score."""

    entropy: ColumnProfile
    """Of the two classes, in bits: 0 is sure, 1 is a tie."""
    unsure: int
    """Rows whose likelier class had a score below 0.6."""


class Profile(ApiModel):
    """The reference rows of a version, or of a monitor with a reference of its own."""

    schema_: Literal["gyre.profile.v1"] = "gyre.profile.v1"
    rows: int
    task: Literal["Classification", "Regression"]
    columns: list[ColumnProfile] = Field(default_factory=list)
    """The model's input columns."""
    prediction: ColumnProfile | None = None
    score: ColumnProfile | None = None
    label: ColumnProfile | None = None
    positive: str | None = None
    """The label that `score` is the probability of."""
    calibration: Calibration | None = None
    uncertainty: Uncertainty | None = None
    """None for a regressor, and where scores are no probabilities."""
    performance: list[MetricProfile] = Field(default_factory=list)
    source: Uri | None = None
    """The Parquet it was made of: segments are compared with its rows."""
    source_digest: Digest | None = None
