"""Live traffic: rows of the census as V2 requests at a steady rate, labels late by feedback."""

import asyncio
import contextlib
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp

Row = dict[str, Any]
Change = Callable[[Row, random.Random], Row]

VERSION = "x-gyre-version"
FEEDBACK = "x-gyre-feedback-id"
_OK = 200
_LATER = {429, 502, 503, 504}


def unchanged(row: Row, _dice: random.Random) -> Row:
    """The row as the census has it."""
    return row


@dataclass
class Tally:
    """What the traffic saw."""

    requests: int = 0
    failed: int = 0
    """Answers other than 200, and broken connections."""
    failed_of: Counter[str] = field(default_factory=Counter)
    """Failures by the version that answered."""
    labels: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    """Right predictions by version."""
    answers: Counter[str] = field(default_factory=Counter)
    """Predictions by version."""
    first_failure: str = ""

    def accuracy(self, version: str) -> float:
        """Share of right predictions of a version."""
        return self.hits[version] / max(1, self.answers[version])


class Traffic:
    """Requests at `rate` a second, one row each; the truth follows `label_delay` seconds later."""

    def __init__(
        self, base: str, service: str, features: Sequence[str], label: str, *, rate: float, label_delay: float
    ) -> None:
        self._base, self._service = base, service
        self._features, self._label = list(features), label
        self._rate, self._delay = rate, label_delay
        self._dice = random.Random(64)  # noqa: S311  repeatable traffic
        self._population: list[Row] = []
        self._next = 0
        self._change: Change = unchanged
        self._due: deque[tuple[float, dict[str, Any]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.tally = Tally()
        self.input: tuple[str, str] = ("input", "FP32")

    def people(self, rows: Sequence[Row]) -> None:
        """Who asks from now on."""
        self._population = list(rows)
        self._next = 0

    def change(self, change: Change) -> None:
        """What happens to each row on its way from now on."""
        self._change = change

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Until cancelled; then the requests under way are waited for."""
        feedback = asyncio.create_task(self._send_labels(session))
        start, sent = time.monotonic(), 0
        try:
            while True:
                due = int((time.monotonic() - start) * self._rate)
                for _ in range(due - sent):
                    self._spawn(session)
                sent = due
                await asyncio.sleep(0.01)
        finally:
            feedback.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feedback
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, session: aiohttp.ClientSession) -> None:
        row = self._population[self._next % len(self._population)]
        self._next += 1
        task = asyncio.create_task(self._ask(session, row))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, session: aiohttp.ClientSession, row: Row) -> None:
        sent = self._change(dict(row), self._dice)
        name, datatype = self.input
        values = [sent[column] for column in self._features]
        body = {
            "parameters": {"keys": [str(row["id"])]},
            "inputs": [
                {
                    "name": name,
                    "shape": [1, len(values)],
                    "datatype": datatype,
                    # A missing value is null in JSON; NaN is not JSON.
                    "data": [None if value is None or math.isnan(value) else value for value in values],
                }
            ],
        }
        self.tally.requests += 1
        try:
            async with session.post(f"{self._base}/v2/models/{self._service}/infer", json=body) as answer:
                text = await answer.text()
                version = answer.headers.get(VERSION, "")
                if answer.status != _OK:
                    self._failed(version, f"{answer.status} {text[:300]}")
                    return
                self._answered(version, row, await answer.json(), answer.headers.get(FEEDBACK))
        except (aiohttp.ClientError, TimeoutError) as error:
            self._failed("", f"{type(error).__name__}: {error}")

    def _failed(self, version: str, why: str) -> None:
        self.tally.failed += 1
        self.tally.failed_of[version] += 1
        self.tally.first_failure = self.tally.first_failure or why

    def _answered(self, version: str, row: Row, answer: dict[str, Any], feedback: str | None) -> None:
        label = next(output["data"][0] for output in answer["outputs"] if output["datatype"] in {"INT64", "INT32"})
        self.tally.answers[version] += 1
        self.tally.hits[version] += int(label == row[self._label])
        if feedback:
            truth = {"id": feedback, "label": int(row[self._label])}
            self._due.append((time.monotonic() + self._delay, truth))

    async def _send_labels(self, session: aiohttp.ClientSession) -> None:
        while True:
            now, batch = time.monotonic(), []
            while self._due and self._due[0][0] <= now:
                batch.append(self._due.popleft())
            if batch and not await self._told(session, [label for _, label in batch]):
                self._due.extendleft(reversed(batch))  # told again: of two labels the first one counts
            await asyncio.sleep(1)

    async def _told(self, session: aiohttp.ClientSession, labels: list[dict[str, Any]]) -> bool:
        time_of_truth = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        body = [{**label, "time": time_of_truth} for label in labels]
        try:
            async with session.post(f"{self._base}/v1/feedback", json=body) as answer:
                if answer.status == _OK:
                    self.tally.labels += len(labels)
                return answer.status not in _LATER
        except (aiohttp.ClientError, TimeoutError):
            return False
