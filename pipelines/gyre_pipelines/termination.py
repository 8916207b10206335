"""The termination message: the one thing a container can say to the operator without any credential."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import MESSAGE_LIMIT

PATH_ENV = "GYRE_TERMINATION_LOG"
DEFAULT_PATH = "/dev/termination-log"
_ELLIPSIS = "..."


def encode(report: ApiModel) -> str:
    """The report as JSON of at most MESSAGE_LIMIT bytes: the oldest tail lines go first, then the message's end."""
    body = report.dump()
    while _size(body) > MESSAGE_LIMIT and body.get("tail"):
        body["tail"] = body["tail"][1:]
    spare = _size(body) - MESSAGE_LIMIT
    if spare > 0 and isinstance(body.get("message"), str):
        # One character may take six bytes once JSON has escaped it, so cut by what fits, not by characters.
        kept: str = body["message"]
        while kept and _size({**body, "message": kept + _ELLIPSIS}) > MESSAGE_LIMIT:
            kept = kept[: len(kept) * 9 // 10]
        body["message"] = kept + _ELLIPSIS
    return _json(body)


def write(report: ApiModel, environment: Mapping[str, str]) -> None:
    """Leave the report where the kubelet reads it; on a laptop there is no such file."""
    with contextlib.suppress(OSError):
        Path(environment.get(PATH_ENV, DEFAULT_PATH)).write_text(encode(report), encoding="utf-8")


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _size(body: Mapping[str, Any]) -> int:
    return len(_json(body).encode())
