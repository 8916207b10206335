"""What the server counts, for Prometheus."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_NAMES = ("model", "version")


class Metrics:
    """Counters of one process; every series carries model and version.

    Args:
        model: the model's name upstream.
        version: the ModelVersion.
    """

    def __init__(self, model: str, version: str) -> None:
        self._registry = CollectorRegistry()
        self._labels = (model, version)
        self._requests = Counter(
            "gyre_server_requests", "Answered requests", (*_NAMES, "code"), registry=self._registry
        )
        self._codes: dict[int, Counter] = {}
        self._seconds = self._histogram("gyre_server_request_seconds", "Time to answer", _SECONDS)
        self._queue = self._histogram("gyre_server_queue_seconds", "Wait for a worker and for company", _SECONDS)
        self._rows = self._histogram("gyre_server_batch_rows", "Rows computed at once", _ROWS)
        self._lost = Counter(
            "gyre_server_workers_lost", "Model processes that ended or were ended", (*_NAMES, "cause"),
            registry=self._registry,
        )  # fmt: skip
        self.in_flight = self._gauge("gyre_server_in_flight", "Requests being answered")
        self.model_bytes = self._gauge("gyre_server_model_bytes", "Memory that loading the version took")
        self.workers = self._gauge("gyre_server_workers", "Threads or processes that can take a batch")
        self.ready = self._gauge("gyre_server_ready", "1 once the golden rows came out as at training")
        ProcessCollector(registry=self._registry)

    def answered(self, code: int, seconds: float) -> None:
        """A request was answered with this status."""
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._requests.labels(*self._labels, str(code))
        counter.inc()
        self._seconds.observe(seconds)

    def batch(self, rows: int, waits: Sequence[float]) -> None:
        """A batch of so many rows starts; its requests waited so many seconds."""
        self._rows.observe(rows)
        for wait in waits:
            self._queue.observe(wait)

    def lost(self, cause: str) -> None:
        """A model's process is gone: `Deadline` cut it off, or it ended by `Signal` or `Exit`."""
        self._lost.labels(*self._labels, cause).inc()

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, purpose: str) -> Gauge:
        return Gauge(name, purpose, _NAMES, registry=self._registry).labels(*self._labels)

    def _histogram(self, name: str, purpose: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, purpose, _NAMES, registry=self._registry, buckets=buckets).labels(*self._labels)
