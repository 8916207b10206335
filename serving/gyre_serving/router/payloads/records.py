"""What is kept of a request or a label until its part is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from gyre_crds.contracts.payload import FeedbackColumn
from gyre_crds.v1alpha1.version import Signature

TIME = pa.timestamp("us", tz="UTC")


class Record(NamedTuple):
    """One answered request: raw bodies, so that memory is counted in bytes and parsing happens off the loop."""

    request_id: str
    time_us: int
    """Arrival, microseconds since the epoch."""
    revision: str
    version: str
    propensity: float
    keys: list[str | None] | None
    request: bytes
    """JSON."""
    answer: bytes
    tensors: Sequence[bytes] = ()
    """The request's inputs whose data is binary."""
    answer_json: int | None = None
    """Bytes of the answer that are JSON, where binary tensors follow."""

    def size(self) -> int:
        """Bytes held, with what the objects themselves take."""
        tensors = sum(map(len, self.tensors))
        return len(self.request) + tensors + len(self.answer) + 600 + 80 * len(self.keys or ())


class Label(NamedTuple):
    """One label that came back."""

    request_id: str
    row: int
    label: float | str
    time_us: int
    first: bool

    def size(self) -> int:
        """Bytes held."""
        return 300 + (len(self.label) if isinstance(self.label, str) else 0)


@dataclass(frozen=True)
class Layout:
    """The columns of a part: what the signature names, less what is redacted."""

    signature: Signature
    redact: frozenset[str] = frozenset()
    label_sample: float = 0.0
    """Share of the rows that are marked for human labelling."""

    def key(self) -> str:
        """Equal layouts have equal keys."""
        return f"{self.signature.model_dump_json()}|{sorted(self.redact)}|{self.label_sample}"


def feedback_table(labels: list[Label]) -> pa.Table:
    """The part of these labels, which are all numbers or all strings."""
    text = isinstance(labels[0].label, str)
    return pa.table(
        {
            FeedbackColumn.REQUEST_ID.value: pa.array([one.request_id for one in labels], pa.string()),
            FeedbackColumn.ROW.value: pa.array([one.row for one in labels], pa.int32()),
            FeedbackColumn.LABEL.value: pa.array([one.label for one in labels], pa.string() if text else pa.float64()),
            FeedbackColumn.TIME.value: pa.array([one.time_us for one in labels], TIME),
            FeedbackColumn.FIRST.value: pa.array([one.first for one in labels], pa.bool_()),
        }
    )
