"""How sure a classifier is of its answers: the entropy of its score, and the share of near ties.

With two classes margin and confidence are the entropy on another scale, so one test speaks for all three.
"""

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.payload import PayloadColumn
from gyre_monitoring.counting import NumberCounter
from gyre_monitoring.values import Floats, column_type, numbers

NAME = "prediction entropy"
"""What its test is called; a column of data cannot stand in its way, because predictions are a family of their own."""
_NEAR = 0.1  # a score within this of one half gives the likelier class less than 0.6


def entropy(score: Floats) -> Floats:
    """Entropy of the two classes in bits, (rows,); NaN where the score is no probability."""
    chance = np.where((score >= 0) & (score <= 1), score, np.nan)
    both = (chance, 1.0 - chance)
    return np.asarray(-sum(one * np.log2(np.maximum(one, np.finfo(np.float64).tiny)) for one in both))


def near_ties(score: Floats) -> int:
    """Rows whose likelier class has a score below 0.6."""
    return int((np.abs(score - 0.5) < _NEAR).sum())


def scores(table: pa.Table) -> Floats | None:
    """The score column; None where the rows carry none."""
    name = PayloadColumn.SCORE.value
    if name not in table.column_names or column_type(table.schema.field(name).type) != "number":
        return None
    return numbers(table[name])


class UncertaintyCounter:
    """Entropy and near ties of the reference rows."""

    def __init__(self) -> None:
        self.number = NumberCounter()
        self.unsure = 0
        self.probabilities = True

    def add(self, table: pa.Table) -> None:
        """Count a table; rows without a score count as missing."""
        found = scores(table)
        if found is None:
            return
        given = found[~np.isnan(found)]
        self.probabilities = self.probabilities and bool(((given >= 0) & (given <= 1)).all())
        self.number.add(entropy(found))
        self.unsure += near_ties(found)
