"""`POST /v1/feedback`: labels for answered requests. Only issued ids count, and the first label wins."""

import math
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import orjson

from gyre_serving.router.identity import Issued, Signer
from gyre_serving.router.message import Refusal
from gyre_serving.router.payloads.recorder import Logs, Recorder
from gyre_serving.router.payloads.records import Label

REMEMBERED = 500_000
"""Labels that the process remembers as given; older ones are sorted out by whoever joins."""
MAX_TEXT = 1024


class Ledger:
    """Which rows have their label, oldest forgotten first."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._limit = limit

    def first(self, issued: Issued) -> bool:
        """Whether this is the row's first label; remembers it."""
        key = hash(issued)
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return True

    def forget(self, issued: Issued) -> None:
        """The label could not be kept: sent again, it is the first one still."""
        self._seen.pop(hash(issued), None)


class Feedback:
    """Takes labels into the services' logs."""

    def __init__(self, signer: Signer, recorder: Recorder) -> None:
        self._signer = signer
        self._recorder = recorder
        self._ledger = Ledger()
        self.counts = {"accepted": 0, "repeated": 0, "refused": 0, "dropped": 0}

    def take(self, document: Any) -> tuple[int, bytes]:
        """Status and body for one label (an object) or several (a list).

        200 when at least one counts or is a repetition, 400 when all are refused, 503 when labels
        were dropped for lack of memory.

        Raises:
            Refusal: 400 when the document is neither an object nor a list.
        """
        items = document if isinstance(document, list) else [document]
        if not items or not all(isinstance(item, dict) for item in items):
            raise Refusal(400, 'give {"id": ..., "label": ..., "time": ...} or a list of such objects')
        results = [self._one(item) for item in items]
        for result in results:
            self.counts[result["status"]] += 1
        statuses = {result["status"] for result in results}
        body = orjson.dumps({"results": results})
        if "dropped" in statuses:
            return 503, body
        return (400 if statuses == {"refused"} else 200), body

    def services(self, document: Any) -> set[str]:
        """Services that the ids of the labels name."""
        items = document if isinstance(document, list) else [document]
        texts = [item.get("id") for item in items if isinstance(item, dict)]
        issued = [self._signer.verify(text) for text in texts if isinstance(text, str)]
        return {one.service for one in issued if one is not None}

    def _one(self, item: dict[str, Any]) -> dict[str, str]:
        text = item.get("id")
        issued = self._signer.verify(text) if isinstance(text, str) else None
        if issued is None:
            return _refused(text, "id: this router's namespace did not issue it")
        logs = self._recorder.logs(issued.service)
        if logs is None:
            return _refused(text, f"id: the service {issued.service} keeps no labels")
        label = _label(item.get("label"))
        if label is None:
            return _refused(text, f"label: give a number, true, false or a text of at most {MAX_TEXT} characters")
        moment = _time_us(item.get("time"))
        if moment is None:
            return _refused(text, "time: give RFC 3339 with a zone, such as 2026-01-31T12:00:00Z, or leave it out")
        return self._keep(logs, issued, label, moment) | {"id": str(text)}

    def _keep(self, logs: Logs, issued: Issued, label: float | str, moment: int) -> dict[str, str]:
        first = self._ledger.first(issued)
        kept = logs.labels.add(
            Label(request_id=issued.request_id, row=issued.row, label=label, time_us=moment, first=first)
        )
        if not kept:
            if first:
                self._ledger.forget(issued)
            return {"status": "dropped", "reason": "too many labels wait for the store; send it again"}
        if not first:
            return {"status": "repeated", "reason": "the row has its label; the first one counts"}
        return {"status": "accepted"}


def _refused(text: Any, reason: str) -> dict[str, str]:
    return {"id": str(text)[:256], "status": "refused", "reason": reason}


def _label(value: Any) -> float | str | None:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else None
    if isinstance(value, (bool, int, float)) and math.isfinite(value):
        return float(value)
    return None


def _time_us(value: Any) -> int | None:
    if value is None:
        return time.time_ns() // 1000
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return round(moment.astimezone(UTC).timestamp() * 1_000_000)
