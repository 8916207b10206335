"""DriftReports that prove a loss, and what came of each."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyre_crds import names
from gyre_crds.v1alpha1 import DriftReport, Model
from gyre_operators.engine.clock import rfc3339
from gyre_operators.engine.kinds import EVENT, JOB, gyre
from tests.integration.engine.harness import TRAINING_JOB
from tests.integration.loop.street import Street, plain

_WINDOW = timedelta(minutes=1)
_ABOUT = ("Model", "TrainingJob", "DriftReport")


class Losses:
    """Reports on one service, each of a later window than the one before; the first raises the alarm."""

    def __init__(self, street: Street) -> None:
        self.version = ""
        """That serves."""
        self.uids: dict[str, set[str]] = {}
        """Of every TrainingJob that was ever seen to be made of a report."""
        self._street = street
        self._end = datetime.now(UTC).replace(microsecond=0)

    async def report(self, name: str) -> None:
        """Somebody who may act applies the next report: five points are lost, four at least."""
        start, self._end = self._end, self._end + _WINDOW
        spec = {
            "inferenceService": "census",
            "version": self.version,
            "window": {"start": rfc3339(start), "end": rfc3339(self._end), "rows": 4000},
            "verdict": "PerformanceLoss",
            "level": "P1",
            "reason": "Accuracy fell from 0.80 to 0.75.",
            "mayAct": True,
            "performance": {
                "metric": "accuracy",
                "reference": 0.8,
                "realized": 0.75,
                "lower": 0.04,
                "upper": 0.06,
                "labels": 3000,
                "since": rfc3339(start),
            },
        }
        await self._street.cluster.create(gyre(DriftReport), plain("DriftReport", name, spec))

    async def is_answered(self, name: str) -> bool:
        """Whether the report names its decision, and the Model's intent, if any, became a training that runs."""
        report = await self._street.cluster.get(gyre(DriftReport), name)
        model = await self._street.get(Model)
        if "decision" not in (report or {}).get("status", {}) or "intent" in model:
            return False
        job = next((d.get("job") for d in model["decisions"] if d.get("report") == name), None)
        return job is None or (model.get("running") == job and await self._street.cluster.reason(job) == "Running")

    async def watch(self, name: str) -> None:
        """Remember which TrainingJobs of the report there are now."""
        self.uids.setdefault(name, set()).update(job["metadata"]["uid"] for job in await self._jobs(name))

    async def check(self, name: str, trainings: int) -> None:
        """One TrainingJob with one attempt, one decision with its arithmetic, one news of it; `trainings` in all."""
        await self.watch(name)
        jobs, status = await self._jobs(name), await self._street.get(Model)
        assert len(jobs) == 1, status["decisions"]
        [made] = jobs
        job = made["metadata"]["name"]
        [decision] = [each for each in status["decisions"] if each.get("report") == name]
        assert self.uids[name] == {made["metadata"]["uid"]}
        assert made["spec"]["trigger"] == {"type": "Drift", "decision": decision["id"], "report": name}
        assert (decision["action"], decision["reason"], decision["job"]) == ("Retrain", "RetrainingPays", job)
        numbers = decision["arithmetic"]
        assert (numbers["gapLower"], numbers["cost"]) == (4.0, 1.0)
        won = (numbers["gap"] + numbers["gapLower"]) / 2 * numbers["recoverable"]
        assert numbers["benefit"] == pytest.approx(won * numbers["benefitPerPoint"] * numbers["lasting"], abs=0.01)
        assert len(status["trainedAt"]) == trainings
        labels = [each["metadata"].get("labels", {}) for each in await self._street.cluster.all(JOB)]
        assert [each[names.ATTEMPT] for each in labels if each.get(names.TRAINING_JOB) == job] == ["1"]
        await self._is_calm(decision["id"], job)

    async def _is_calm(self, decision: str, job: str) -> None:
        """What a killed operator said, the next one does not say again."""
        events = await self._street.cluster.all(EVENT)
        about = [event for event in events if event["involvedObject"]["kind"] in _ABOUT]
        told = [(e["involvedObject"]["name"], e["reason"], e["message"], e["count"]) for e in about]
        assert [event for event in told if event[3] > 1] == []
        assert len([event for event in told if decision in event[2]]) <= 1
        reasons = [event[1] for event in told if event[0] == job]
        assert len(reasons) == len(set(reasons)), reasons

    async def clear(self, name: str) -> None:
        """A person deletes the training, so that the next report may ask for another."""
        [job] = await self._jobs(name)
        await self._street.cluster.delete(TRAINING_JOB, job["metadata"]["name"])

    async def _jobs(self, name: str) -> list[dict[str, Any]]:
        every = await self._street.cluster.all(TRAINING_JOB)
        return [job for job in every if job["spec"].get("trigger", {}).get("report") == name]
