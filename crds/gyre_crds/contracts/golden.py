"""Golden rows: inputs with the predictions that the native model gave in the user's own image."""

from typing import Annotated, Any

from pydantic import Field

from gyre_crds.base import ApiModel

ROWS = 64
"""Golden rows kept with a version."""
REFERENCE_ROWS = 5000
"""Most reference rows predicted and kept beside a version."""
TOLERANCE = 1e-4
"""Largest absolute difference of a score that still counts as the same; labels must be equal."""


class Rows(ApiModel):
    """A small table by columns; missing values are null, so any JSON reader can take it."""

    columns: list[str]
    """Names, in the order the model takes them."""
    values: list[list[Any]]
    """One list for each column, all of one length."""


class Predictions(ApiModel):
    """What a model said to rows, in their order."""

    labels: list[Any]
    """Predicted label or value of each row."""
    scores: list[list[float]] = Field(default_factory=list)
    """Class scores of each row, in the order of `classes`; empty for regression."""
    classes: list[Any] = Field(default_factory=list)
    """The classes."""


class GoldenRows(ApiModel):
    """Rows and the native model's predictions; travels inside the version."""

    rows: Rows
    """Features only."""
    predictions: Predictions
    """Native predictions."""
    tolerance: Annotated[float, Field(ge=0)] = TOLERANCE
    """Largest difference of a score."""
