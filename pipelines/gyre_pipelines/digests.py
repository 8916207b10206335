"""The input digest: equal input, equal digest, so that a retraining without new data is seen before it runs."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from gyre_crds.contracts.attempt import AttemptOrder
from gyre_crds.v1alpha1.training import ResolvedData

SCHEMA = "gyre.input.v1"


def input_digest(order: AttemptOrder, data: Sequence[ResolvedData]) -> str:
    """`sha256:` over image, command, params and, for each source, name, digest and holdout share.

    The order of sources and of parameters does not matter; where the bytes lie and when they were read neither.
    """
    shares = {source.name: source.holdout for source in order.data}
    return _digest({
        "schema": SCHEMA,
        "image": order.image,
        "command": order.command,
        "params": order.params,
        "data": sorted([entry.name, entry.digest, shares.get(entry.name, 0.0)] for entry in data),
    })  # fmt: skip


def environment_digest(packages: Sequence[str]) -> str | None:
    """`sha256:` over the sorted `name==version` lines of the user's image; None when none are known."""
    return _digest(sorted(packages)) if packages else None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
