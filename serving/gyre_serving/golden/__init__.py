"""Golden rows: the proof that a server answers as the native model did at training."""

from gyre_serving.golden.ask import first_row, prove
from gyre_serving.golden.compare import Mismatch, compare
from gyre_serving.golden.tensors import DTYPES, from_rows, neutral

__all__ = ["DTYPES", "Mismatch", "compare", "first_row", "from_rows", "neutral", "prove"]
