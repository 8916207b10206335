"""Columns of payload and feedback parts (Parquet).

A part appears whole: readers never see half of one. Feature columns carry the names of the
signature's `columns` (or the tensor's name for a single value a row), one row a prediction.
"""

from enum import StrEnum


class PayloadColumn(StrEnum):
    """Columns beside the features."""

    REQUEST_ID = "gyre_request_id"
    """string: the request's id."""
    ROW = "gyre_row"
    """int32: index within the request."""
    KEY = "gyre_key"
    """string: the row's business key, from the request parameter `keys` (list, one a row); null without."""
    TIME = "gyre_time"
    """timestamp[us, UTC]: arrival."""
    REVISION = "gyre_revision"
    """string: deciding revision."""
    VERSION = "gyre_version"
    """string: ModelVersion."""
    PROPENSITY = "gyre_propensity"
    """float64: chance with which this revision was picked."""
    LABEL_SAMPLE = "gyre_label_sample"
    """bool: picked for human labelling, by a hash of request id and row that depends on nothing else."""
    PREDICTION = "prediction"
    """Predicted label or value."""
    SCORE = "score"
    """float64: score of the positive class, where there is one."""


class FeedbackColumn(StrEnum):
    """Columns of feedback parts."""

    REQUEST_ID = "gyre_request_id"
    ROW = "gyre_row"
    LABEL = "label"
    """float64 or string: the truth."""
    TIME = "gyre_label_time"
    """timestamp[us, UTC]: when the label became known."""
    FIRST = "gyre_first"
    """bool: false for a repeated label, which never counts."""
