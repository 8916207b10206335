"""How trainings end and how long they take to start, as metrics."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from gyre_crds.v1alpha1.training import AttemptStatus, TrainingJob
from gyre_operators.engine.clock import parse_time

_STARTS = (1, 2, 5, 10, 20, 60, 300, 1800, 7200)
_Key = tuple[str, str]


class Metrics:
    """Attempts of every TrainingJob; each counts once in the life of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "gyre_training_attempts_total",
            "Attempts that ended",
            ("namespace", "model", "outcome", "reason"),
            registry=registry,
        )
        self._starts = Histogram(
            "gyre_training_start_seconds",
            "From the TrainingJob's creation to the start of its first command",
            ("namespace", "model"),
            buckets=_STARTS,
            registry=registry,
        )
        self._ended: dict[_Key, int] = {}
        self._started: set[_Key] = set()

    def show(self, job: TrainingJob) -> None:
        """Take over what the status says; what an earlier process counted is not counted again."""
        key = (job.metadata.namespace, job.metadata.uid)
        attempts = job.status.attempts if job.status else []
        ended = [attempt for attempt in attempts if attempt.outcome != "Running"]
        before = self._ended.get(key)
        if before is None and job.status is not None:
            before = len(ended)
            if any(attempt.start for attempt in attempts):
                self._started.add(key)
        for attempt in ended[before or 0 :]:
            self._attempts.labels(key[0], job.spec.model, attempt.outcome, attempt.reason or "").inc()
        self._ended[key] = len(ended)
        self._show_start(key, job, attempts)

    def _show_start(self, key: _Key, job: TrainingJob, attempts: list[AttemptStatus]) -> None:
        began, made = next((each.start for each in attempts if each.start), None), job.metadata.creation_timestamp
        if began is None or made is None or key in self._started:
            return
        self._started.add(key)
        seconds = (parse_time(began) - parse_time(made)).total_seconds()
        self._starts.labels(key[0], job.spec.model).observe(max(seconds, 0.0))

    def forget(self, namespace: str, uids: frozenset[str]) -> None:
        """Keep only the jobs of a namespace that still exist."""
        for key in [key for key in self._ended if key[0] == namespace and key[1] not in uids]:
            del self._ended[key]
            self._started.discard(key)
