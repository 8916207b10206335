"""Prometheus metrics, read from the process's counts at every scrape."""

import re
import time
from collections.abc import Callable, Iterator
from time import monotonic

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from gyre_serving.router.access import AccessLog
from gyre_serving.router.feedback import Feedback
from gyre_serving.router.payloads.recorder import Recorder
from gyre_serving.router.stats import BOUND_NAMES, Example, PairStats, RevisionStats, cumulative
from gyre_serving.router.table import Tables

_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-")
"""W3C trace context: the trace's id stands between version and parent."""
_REVISION = ("service", "revision", "version")


class RouterCollector(Collector):
    """Everything that the router counts. Labels come from the table alone, so their number is bounded."""

    def __init__(
        self,
        tables: Tables,
        recorder: Recorder,
        feedback: Feedback,
        access: AccessLog,
        certified: Callable[[], float | None],
    ) -> None:
        """Args: what counts, and what says when the server certificate ends (None without one)."""
        self._certified = certified
        self._tables = tables
        self._recorder = recorder
        self._feedback = feedback
        self._access = access
        self._started = time.time()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._revisions()
        yield from self._services()
        yield from self._backends()
        yield from self._mirrors()
        yield from self._caches()
        yield from self._logs()
        labels = CounterMetricFamily("gyre_router_feedback", "Labels by what became of them", labels=("status",))
        for status, count in self._feedback.counts.items():
            labels.add_metric((status,), count)
        yield labels
        lines = CounterMetricFamily("gyre_router_access_lines", "Lines of the access log by fate", labels=("fate",))
        for fate, count in self._access.counts.items():
            lines.add_metric((fate,), count)
        yield lines
        reviews = CounterMetricFamily(
            "gyre_router_token_reviews",
            "Questions to Kubernetes whose a token is, by what came of them",
            labels=("result",),
        )
        for result, count in self._tables.reviews.counts.items():
            reviews.add_metric((result,), count)
        yield reviews
        ends = self._certified()
        if ends is not None:
            yield GaugeMetricFamily(
                "gyre_router_certificate_expiry_timestamp_seconds",
                "Unix time at which the first certificate of the TLS port's chain ends",
                value=ends,
            )

    def _revisions(self) -> Iterator[Metric]:
        simple = {
            "requests": "Answered requests that the revision was asked for",
            "errors": "Of these, failures of the revision",
            "directed": "Of the requests, those that a header or a path brought here instead of the split",
            "directed_errors": "Of these, failures of the revision",
            "fallbacks": "Of the errors, those after which a fallback was asked",
            "cached": "Requests answered from the cache; not among those that the revision was asked for",
            "keys": "Sticky keys with an outcome, each once for as long as the weights stay",
            "failed_keys": "Of these, keys whose first request failed",
            "rejected": "Requests refused before the revision was asked",
            "retries": "Attempts that met a broken connection and were repeated",
            "ejections": "Times that a failing endpoint was left alone, for twice as long after each failed probe",
        }
        families = {
            name: CounterMetricFamily(f"gyre_router_{name}", text, labels=_REVISION) for name, text in simple.items()
        }
        failures = CounterMetricFamily("gyre_router_failures", "Failures by class", labels=(*_REVISION, "class"))
        latency = HistogramMetricFamily(
            "gyre_router_latency_seconds", "From asking the model to its answer's last byte", labels=_REVISION
        )
        running = GaugeMetricFamily("gyre_router_in_flight", "Requests being answered", labels=_REVISION)
        for (service, revision), stats in self._tables.stats.revisions.items():
            labels = (service, revision, stats.version)
            for name, family in families.items():
                family.add_metric(labels, getattr(stats, name))
            for failure, count in stats.failures.items():
                failures.add_metric((*labels, failure), count)
            latency.add_metric(labels, _traced(stats), stats.latency)
            running.add_metric(labels, stats.in_flight)
        yield from (*families.values(), failures, latency, running)

    def _services(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "gyre_router_refused", "Answers that the router gave itself", labels=("service", "code")
        )
        for code, count in self._tables.stats.unrouted.items():
            refused.add_metric(("", code), count)
        abandoned = CounterMetricFamily("gyre_router_abandoned", "Clients that went away early", labels=("service",))
        violations = CounterMetricFamily(
            "gyre_router_schema_violations", "Requests that did not fit the signature", labels=("service",)
        )
        queued = CounterMetricFamily("gyre_router_queue_seconds", "Time spent waiting for a slot", labels=("service",))
        for name, stats in self._tables.stats.services.items():
            for code, count in stats.refused.items():
                refused.add_metric((name, code), count)
            abandoned.add_metric((name,), stats.abandoned)
            violations.add_metric((name,), stats.violations)
            queued.add_metric((name,), stats.queue_seconds)
        waiting = GaugeMetricFamily("gyre_router_queue_length", "Requests waiting for a slot", labels=("service",))
        for service in self._tables.current.services.values() if self._tables.current else ():
            waiting.add_metric((service.name,), len(service.limiter.queue))
        yield from (refused, abandoned, violations, queued, waiting)

    def _backends(self) -> Iterator[Metric]:
        endpoints = GaugeMetricFamily("gyre_router_endpoints", "Known endpoints", labels=("service", "revision"))
        healthy = GaugeMetricFamily("gyre_router_endpoints_healthy", "Not ejected", labels=("service", "revision"))
        circuits = GaugeMetricFamily(
            "gyre_router_circuits", "Endpoints by state of their circuit", labels=("service", "revision", "state")
        )
        weight = GaugeMetricFamily("gyre_router_weight", "Wanted percentage", labels=("service", "revision"))
        for name, states in self._tables.state().items():
            for state in states:
                endpoints.add_metric((name, state.revision), state.endpoints)
                healthy.add_metric((name, state.revision), state.healthy)
        for service in self._tables.current.services.values() if self._tables.current else ():
            for one in service.revisions:
                weight.add_metric((service.name, one.route.revision), one.route.weight)
                for circuit, count in one.backends.circuits(monotonic()).items():
                    circuits.add_metric((service.name, one.route.revision, circuit), count)
        table = GaugeMetricFamily("gyre_router_table_refused", "1 while the newest table is refused")
        table.add_metric((), 1 if self._tables.refused else 0)
        yield from (endpoints, healthy, circuits, weight, table)

    def _caches(self) -> Iterator[Metric]:
        results = CounterMetricFamily(
            "gyre_router_cache_results",
            "Questions to the result cache by hit, miss or bypass; stale answers given where no model answered; "
            "answers that expired or were evicted for others",
            labels=("service", "result"),
        )
        size = GaugeMetricFamily("gyre_router_cache_bytes", "Bytes of answers held", labels=("service",))
        for name, stats in self._tables.stats.services.items():
            for result, count in stats.cache.items():
                results.add_metric((name, result), count)
        for service in self._tables.current.services.values() if self._tables.current else ():
            if service.cache is not None:
                size.add_metric((service.name,), service.cache.size())
        yield from (results, size)

    def _mirrors(self) -> Iterator[Metric]:
        names = ("service", "primary", "shadow")
        copies = CounterMetricFamily(
            "gyre_router_mirror_copies",
            "Copies for a shadow revision by what became of them",
            labels=(*names, "result"),
        )
        labels = CounterMetricFamily(
            "gyre_router_mirror_labels_differed", "Copies whose prediction is another", labels=names
        )
        largest = GaugeMetricFamily(
            "gyre_router_mirror_largest_difference", "Largest absolute difference of two numbers", labels=names
        )
        primary = CounterMetricFamily(
            "gyre_router_mirror_primary_seconds", "The primary's latencies over compared pairs", labels=names
        )
        shadow = HistogramMetricFamily(
            "gyre_router_mirror_shadow_seconds", "The shadow's latencies over compared pairs", labels=names
        )
        for pair, stats in self._tables.stats.pairs.items():
            for result in ("agreed", "differed", "failed", "dropped", "skipped"):
                copies.add_metric((*pair, result), getattr(stats, result))
            labels.add_metric(pair, stats.labels_differed)
            largest.add_metric(pair, stats.largest)
            primary.add_metric(pair, stats.primary_seconds)
            shadow.add_metric(pair, _buckets(stats), stats.shadow_seconds)
        yield from (copies, labels, largest, primary, shadow)

    def _logs(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(
            "gyre_router_log_items", "Items of payload and label logs by fate", labels=("service", "log", "fate")
        )
        parts = CounterMetricFamily("gyre_router_log_parts", "Parts written", labels=("service", "log"))
        failures = CounterMetricFamily(
            "gyre_router_log_failures", "Uploads that failed and are repeated", labels=("service", "log")
        )
        for log, stats in (("payloads", self._recorder.payload_stats), ("labels", self._recorder.label_stats)):
            for service, counts in stats.items():
                for fate in ("accepted", "dropped", "unreadable"):
                    rows.add_metric((service, log, fate), getattr(counts, fate))
                parts.add_metric((service, log), counts.parts)
                failures.add_metric((service, log), counts.failures)
        yield from (rows, parts, failures)


def _traced(stats: RevisionStats) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Buckets with the trace of an example, which OpenMetrics shows and the older text leaves out."""
    examples = {BOUND_NAMES[bucket]: _exemplar(one) for bucket, one in stats.examples.items()}
    return [
        (name, count, shown) if (shown := examples.get(name)) is not None else (name, count)
        for name, count in _buckets(stats)
    ]


def _exemplar(one: Example) -> Exemplar | None:
    found = _TRACE.match(one.trace)
    return Exemplar({"trace_id": found[1].decode()}, one.seconds, one.at) if found else None


def _buckets(stats: RevisionStats | PairStats) -> list[tuple[str, float]]:
    return [(name, float(count)) for name, count in cumulative(stats.buckets).items()]


def registry(collector: RouterCollector) -> CollectorRegistry:
    """The router's metrics beside those of the process (its CPU seconds and memory)."""
    made = CollectorRegistry()
    made.register(collector)
    for kind in (ProcessCollector, PlatformCollector, GCCollector):
        kind(registry=made)
    return made
