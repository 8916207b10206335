"""The demo's chapter of faults, on a node too busy to look at each window."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.story import chapters
from tests.e2e.story.kube import Kube, StoryError
from tests.e2e.story.stage import Stage
from tests.e2e.story.traffic import Change, Traffic, unchanged
from tests.e2e.story.voice import Voice

_NAMES = {"_age_in_months": "SchemaBreak", "_age_missing": "QualityIncident", "unchanged": "Healthy"}


class Busy(Stage):
    """Windows pass at once; of those that are whole only each third is looked at."""

    windows: list[str]
    """What each window's rows were like."""
    looks: list[tuple[int, str]]
    fault: str = "unchanged"

    def now(self, change: Change) -> None:
        """What rows are like from now on."""
        self.fault = change.__name__

    async def next_window(self) -> datetime:
        """A window has passed."""
        await asyncio.sleep(0)
        self.windows.append(self.fault)
        if len(self.windows) % 3 == 0:
            self.looks.append((len(self.windows) - 1, _NAMES[self.fault]))
        return datetime.fromtimestamp(len(self.windows), UTC)

    async def report(self, verdicts: set[str], since: datetime, patience: float) -> dict[str, Any]:
        """A report of a window that began at `since` or later, within the patience."""
        for _ in range(int(patience // self.window)):
            for window, verdict in self.looks:
                if window >= since.timestamp() and verdict in verdicts:
                    return {}
            await self.next_window()
        raise StoryError("no report")

    async def decision(self, *_: object) -> dict[str, Any]:
        """The Model refuses to train."""
        return {}


@pytest.mark.parametrize("skew", range(3), ids=["looks at once", "one late", "two late"])
async def test_faults_stay_until_they_are_reported(skew: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault is reported though two of three windows are skipped, and the rows are well in the end."""
    stage = Busy(kube=Kube(None, "demo"), voice=Voice(), window=20)
    stage.windows, stage.looks = ["unchanged"] * skew, []
    stage.traffic = Traffic("", "census", [], "", rate=1, label_delay=1)
    monkeypatch.setattr(stage.traffic, "change", stage.now)
    await chapters.upstream_fault(stage)
    assert {"SchemaBreak", "QualityIncident"} <= {verdict for _, verdict in stage.looks}
    assert stage.fault == unchanged.__name__
