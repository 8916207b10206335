"""The wrapper's reports: RESULT for publish, the termination message for the operator, last words in between."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

from .order import MESSAGE_LIMIT


def failure(reason: str, message: str, **facts: Any) -> dict[str, Any]:
    """A FailureReport; facts that are None are left out."""
    body = {"schema": "gyre.failure.v1", "reason": reason, "message": message, **facts}
    return {name: value for name, value in body.items() if value is not None}


def fit(body: dict[str, Any]) -> str:
    """JSON of at most MESSAGE_LIMIT bytes: oldest tail lines go first, then the end of the message."""
    body = dict(body)
    text = _json(body)
    while len(text.encode()) > MESSAGE_LIMIT and body.get("tail"):
        body["tail"] = body["tail"][1:]
        text = _json(body)
    while len(text.encode()) > MESSAGE_LIMIT and body.get("message"):
        body["message"] = body["message"][: len(body["message"]) * 9 // 10]
        text = _json(body)
    return text


def say(path: Path, body: dict[str, Any]) -> None:
    """Overwrite the termination message; the kubelet's file cannot be replaced, only rewritten."""
    try:
        with path.open("r+" if path.exists() else "w", encoding="utf-8") as stream:
            stream.write(fit(body))
            stream.truncate()
    except OSError:
        return


def leave(path: Path, body: dict[str, Any]) -> None:
    """Write RESULT whole or not at all, readable for publish whatever the user's umask."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(_json(body), encoding="utf-8")
    partial.chmod(0o644)
    partial.replace(path)


def signal_name(number: int) -> str:
    """`SIGKILL` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def size(number: int | None) -> str:
    """Bytes for people."""
    if number is None:
        return "an unknown amount of memory"
    return f"{number / (1 << 30):.2f} GiB" if number >= 1 << 30 else f"{number / (1 << 20):.0f} MiB"


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
