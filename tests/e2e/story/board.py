"""Where everything stands, in one small table below the lines; only on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tests.e2e.story.kube import Json, condition

Row = tuple[str, str, str]
_TONES = {
    "Healthy": "green", "Serving": "green", "ChampionStands": "green", "Succeeded": "green", "CovariateShift": "yellow",
    "PredictionShift": "yellow", "EstimatedLoss": "yellow", "PerformanceLoss": "red", "ConceptDrift": "red",
    "SchemaBreak": "magenta", "QualityIncident": "magenta",
}  # fmt: skip
"""Colours of states, those of the dashboards: red is a proven loss, magenta data to mend."""


class Board:
    """The newest view of the objects; rich asks it for a table several times a second."""

    def __init__(self) -> None:
        self._objects: Mapping[str, list[Json]] = {}
        self.tally: Any = None
        """The traffic's counts, once there is traffic."""

    def show(self, objects: Mapping[str, list[Json]]) -> None:
        """Take a newer view: objects by kind, oldest first."""
        self._objects = objects

    def __rich__(self) -> Table:
        """Kind, state and what a person looks for first."""
        table = Table(expand=True, box=SIMPLE_HEAD, border_style="dim", header_style="bold")
        table.add_column("What", no_wrap=True)
        table.add_column("State", no_wrap=True)
        table.add_column("What to look for", ratio=1, no_wrap=True, overflow="ellipsis")
        for what, state, look in self.rows():
            table.add_row(what, Text(state, _TONES.get(state, "")), look)
        return table

    def rows(self) -> Iterator[Row]:
        """The rows of the table."""
        if model := self._newest("Model"):
            champion = model.get("status", {}).get("champion", {}).get("name", "-")
            yield "Model", _reason(model), f"champion {champion}"
        if job := self._newest("TrainingJob"):
            yield "TrainingJob", _reason(job), _training(job)
        if service := self._newest("InferenceService"):
            yield "InferenceService", _reason(service), _traffic(service)
        if report := self._newest("DriftReport"):
            yield "last look", report["spec"]["verdict"], report["spec"]["reason"]
        if self.tally:
            counts = f"{self.tally.requests:,} requests, {self.tally.failed} failed, {self.tally.labels:,} labels"
            yield "Traffic", "flows", counts

    def _newest(self, kind: str) -> Json | None:
        return next(reversed(self._objects.get(kind, [])), None)


def _reason(item: Json) -> str:
    return str(condition(item).get("reason", "-"))


def _training(job: Json) -> str:
    status = job.get("status", {})
    percent = status.get("progress", {}).get("percent")
    parts = [job["metadata"]["name"], f"{percent} %" if percent is not None else "", status.get("version", "")]
    return "  ".join(part for part in parts if part)


def _traffic(service: Json) -> str:
    status = service.get("status", {})
    known = (status.get("stable"), status.get("candidate"))
    versions = {entry["revision"]: entry["version"] for entry in known if entry}
    shares = [
        (versions.get(entry["revision"], entry["revision"]), entry["wanted"]) for entry in status.get("traffic", [])
    ]
    # Without the model's name, which all share: 80 columns cut off the candidate's share.
    return "   ".join(f"{share} % {version.rsplit('-', 1)[-1]}" for version, share in shares)
