"""What the engine counts. Names that controller-runtime has are kept, so its dashboards work."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gyre_operators.engine.plan import Key

# controller-runtime has no `_created` series, and each would double ours.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot its annotation

_RECONCILE_BUCKETS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50,
    60,
)  # fmt: skip
_WAIT_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)


class Metrics:
    """All metrics of the engine, in one registry of their own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        make = _Maker(self.registry)
        self._count_rounds(make)
        self._count_queues(make)
        self._count_traffic(make)

    def _count_rounds(self, make: "_Maker") -> None:
        by_controller = ("controller",)
        self.reconciles = make.counter(
            "controller_runtime_reconcile_total", "Reconciles by result", "controller", "result"
        )
        self.reconcile_errors = make.counter(
            "controller_runtime_reconcile_errors_total", "Reconciles that failed", *by_controller
        )
        self.terminal_errors = make.counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Reconciles of objects that do not parse",
            *by_controller,
        )
        self.panics = make.counter(
            "controller_runtime_reconcile_panics_total",
            "Reconciles that ended in an unforeseen exception",
            *by_controller,
        )
        self.reconcile_time = make.histogram(
            "controller_runtime_reconcile_time_seconds",
            "Length of a reconcile",
            _RECONCILE_BUCKETS,
            *by_controller,
        )
        self.max_workers = make.gauge("controller_runtime_max_concurrent_reconciles", "Workers", *by_controller)
        self.active_workers = make.gauge("controller_runtime_active_workers", "Workers at work", *by_controller)
        self.converge_time = make.histogram(
            "gyre_time_to_converge_seconds",
            "From a change of spec to the first reconcile with nothing left to do",
            (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600),
            "kind",
        )

    def _count_queues(self, make: "_Maker") -> None:
        queue = ("name", "controller")
        self.depth = make.gauge("workqueue_depth", "Keys that wait", *queue)
        self.adds = make.counter("workqueue_adds_total", "Keys added", *queue)
        self.retries = make.counter("workqueue_retries_total", "Keys added with backoff", *queue)
        self.queue_time = make.histogram("workqueue_queue_duration_seconds", "Wait of a key", _WAIT_BUCKETS, *queue)
        self.work_time = make.histogram("workqueue_work_duration_seconds", "Work on a key", _WAIT_BUCKETS, *queue)

    def _count_traffic(self, make: "_Maker") -> None:
        self.requests = make.counter(
            "rest_client_requests_total", "Requests to the API server", "code", "method", "host"
        )
        self.leader = make.gauge("leader_election_master_status", "1 while this one leads", "name")
        self.writes = make.counter("gyre_api_writes_total", "Writes by what they changed", "kind", "verb", "changed")
        self.watch_restarts = make.counter("gyre_watch_restarts_total", "Watches begun anew", "kind", "reason")
        self.swallowed = make.counter(
            "gyre_watch_repairs_total", "Changes a watch had missed, found by listing", "kind"
        )
        self.loop_lag = make.gauge("gyre_event_loop_lag_seconds", "How late the event loop was in its last second")
        self.events_dropped = make.counter("gyre_events_dropped_total", "Events not posted", "reason")

    def queue(self, controller: str) -> "QueueMetrics":
        """The metrics of one controller's queue."""
        return QueueMetrics(self, controller)

    def unfinished(self, controller: str, processing: Callable[[], dict[Key, float]]) -> None:
        """Report the ages of the keys at work, from when each began (loop time)."""
        self.registry.register(_Unfinished(controller, processing))

    def observe(self, name: str, help_text: str, rows: "Rows") -> None:
        """A gauge by kind whose values are read when somebody scrapes."""
        self.registry.register(_ByKind(name, help_text, rows))


Rows = Callable[[], Iterable[tuple[str, float]]]


class QueueMetrics:
    """What one work queue reports."""

    def __init__(self, metrics: Metrics, controller: str) -> None:
        labels = (controller, controller)
        self._depth = metrics.depth.labels(*labels)
        self._adds = metrics.adds.labels(*labels)
        self._retries = metrics.retries.labels(*labels)
        self._wait = metrics.queue_time.labels(*labels)
        self._work = metrics.work_time.labels(*labels)

    def added(self, depth: int) -> None:
        """A key was added; `depth` keys wait."""
        self._adds.inc()
        self._depth.set(depth)

    def retried(self) -> None:
        """A key was added with backoff."""
        self._retries.inc()

    def taken(self, depth: int, waited: float) -> None:
        """A key was handed out after `waited` seconds; `depth` keys wait."""
        self._depth.set(depth)
        self._wait.observe(waited)

    def worked(self, seconds: float) -> None:
        """The work on a key took that long."""
        self._work.observe(seconds)


class _Maker:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)


class _Unfinished(Collector):
    """How long the keys at work have been at work, read when scraped."""

    def __init__(self, controller: str, processing: Callable[[], dict[Key, float]]) -> None:
        self._labels = [controller, controller]
        self._processing = processing

    def collect(self) -> Iterator[Metric]:
        ages = []
        if self._processing():
            now = asyncio.get_running_loop().time()
            ages = [now - began for began in self._processing().values()]
        for name, text, value in (
            ("workqueue_unfinished_work_seconds", "Sum of the ages of keys at work", sum(ages)),
            (
                "workqueue_longest_running_processor_seconds",
                "Age of the oldest key at work",
                max(ages, default=0.0),
            ),
        ):
            family = GaugeMetricFamily(name, text, labels=["name", "controller"])
            family.add_metric(self._labels, value)
            yield family

    def describe(self) -> Iterable[Metric]:
        return ()


class _ByKind(Collector):
    def __init__(self, name: str, text: str, rows: Rows) -> None:
        self._name, self._text, self._rows = name, text, rows

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=["kind"])
        for kind, value in self._rows():
            family.add_metric([kind], value)
        yield family

    def describe(self) -> Iterable[Metric]:
        return ()
