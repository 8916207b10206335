"""What all chapters share: the cluster, the voice, the traffic, and what was noted for the summary."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tests.e2e.story.board import Board
from tests.e2e.story.kube import Json, Kube, StoryError
from tests.e2e.story.traffic import Traffic
from tests.e2e.story.voice import Voice

SERVICE = MODEL = "census"


@dataclass
class Stage:
    """One telling of the story."""

    kube: Kube
    voice: Voice
    window: int
    """Seconds of a monitor's window."""
    board: Board = field(default_factory=Board)
    traffic: Traffic | None = None
    base: str = ""
    """Where the router answers."""
    broken: str = ""
    """The candidate that is meant to fail."""
    seconds: dict[str, float] = field(default_factory=dict)
    reports: list[Json] = field(default_factory=list)
    decisions: list[Json] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    async def listen(self) -> None:
        """Tell each report, decision and rollout step once, as it appears; until cancelled."""
        while True:
            # A look that failed is repeated; a real outage fails the chapter that waits.
            with contextlib.suppress(StoryError, json.JSONDecodeError):
                await self._hear()
            await asyncio.sleep(1)

    async def _hear(self) -> None:
        objects: dict[str, list[Json]] = {}
        for item in await self.kube.list("driftreport,model,trainingjob,inferenceservice"):
            objects.setdefault(item["kind"], []).append(item)
        self.board.show(objects)
        for report in objects.get("DriftReport", []):
            if self._first(f"report {report['metadata']['name']}"):
                spec = report["spec"]
                self.reports.append(
                    {"name": report["metadata"]["name"], "verdict": spec["verdict"], "reason": spec["reason"]}
                )
                self.voice.decided("monitor", f"{spec['verdict']}: {spec['reason']}")
        for model in objects.get("Model", []):
            for decision in reversed(model.get("status", {}).get("decisions", [])):
                if self._first(f"decision {decision['id']}"):
                    self.decisions.append(decision)
                    self.voice.decided(
                        f"model {model['metadata']['name']}", f"{decision['action']}, {decision['message']}"
                    )
        for service in objects.get("InferenceService", []):
            for entry in reversed(service.get("status", {}).get("history", [])):
                name = service["metadata"]["name"]
                key = f"history {name} {entry['at']} {entry['what']} {entry['revision']} {entry.get('message')}"
                if self._first(key):
                    self.voice.decided("rollout", f"{entry['what']} {entry['version']} {entry.get('message', '')}")

    def _first(self, key: str) -> bool:
        new = key not in self._told
        self._told.add(key)
        return new

    async def report(self, verdicts: set[str], since: datetime, patience: float) -> Json:
        """The first report with one of the verdicts whose window started at or after `since`."""

        async def probe() -> Json | None:
            for item in await self.kube.list("driftreport"):
                spec = item["spec"]
                if spec["verdict"] in verdicts and instant(spec["window"]["start"]) >= since:
                    return item
            return None

        found: Json = await self.kube.wait(f"a report that says {' or '.join(sorted(verdicts))}", probe, patience)
        return found

    async def decision(self, wanted: Callable[[Json], bool], what: str, patience: float) -> Json:
        """The newest decision of the model that fits."""

        async def probe() -> Json | None:
            model = await self.kube.get("model", MODEL)
            decisions = (model or {}).get("status", {}).get("decisions", [])
            return next((entry for entry in decisions if wanted(entry)), None)

        found: Json = await self.kube.wait(what, probe, patience)
        return found

    async def next_window(self) -> datetime:
        """Wait for the start of the next window and return it."""
        now = datetime.now().astimezone().timestamp()
        start = (now // self.window + 1) * self.window
        await asyncio.sleep(start - now)
        return datetime.fromtimestamp(start).astimezone()


def instant(text: str) -> datetime:
    """An RFC 3339 instant."""
    return datetime.fromisoformat(text)


def write_summary(stage: Stage, versions: list[Json], path: Path) -> Json:
    """Write summary.json and return it."""
    tally = stage.traffic.tally if stage.traffic else None
    summary = {
        "seconds": {name: round(value, 1) for name, value in stage.seconds.items()},
        "versions": [
            {
                "name": item["metadata"]["name"],
                "digest": item.get("status", {}).get("digest") or item["spec"].get("digest"),
                "mlflow": item.get("status", {}).get("registry", {}).get("version"),
                "aliases": item.get("status", {}).get("aliases", []),
                "metrics": item["spec"].get("metrics", {}),
            }
            for item in versions
        ],
        "requests": tally.requests if tally else 0,
        "failedRequests": tally.failed if tally else 0,
        "failedByVersion": dict(tally.failed_of) if tally else {},
        "firstFailure": tally.first_failure if tally else "",
        "labels": tally.labels if tally else 0,
        "decisions": stage.decisions,
        "reports": stage.reports,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return summary
