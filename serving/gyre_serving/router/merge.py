"""Several processes seen as one router: their states, counters and metrics merged. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gyre_crds.contracts.routing import BackendState, Comparison, Counter, RouterCounters, RouterState

Counts = dict[str, dict[str, Counter]]
"""service -> revision -> counts."""
Pairs = dict[str, list[Comparison]]
"""service -> what mirroring found, by pair of revisions."""


def merged_state(pod: str, epoch: str, states: list[RouterState]) -> RouterState:
    """One state: a generation only when every process runs it, so that an operator may act on it."""
    generations = {one.generation for one in states}
    services: dict[str, dict[str, BackendState]] = {}
    for state in states:
        for name, revisions in state.services.items():
            known = services.setdefault(name, {})
            for one in revisions:
                known[one.revision] = _merged_backend(known.get(one.revision), one)
    return RouterState(
        pod=pod,
        epoch=epoch,
        generation=generations.pop() if len(generations) == 1 else "",
        refused=next((one.refused for one in states if one.refused), None),
        services={name: list(known.values()) for name, known in services.items()},
        callers={name: min(one.callers.get(name, 0) for one in states) for one in states for name in one.callers},
        tls=_worst(one.tls for one in states),
        reviews=_worst(one.reviews for one in states),
    )


def _worst(problems: Iterable[str | None]) -> str | None:
    """A problem of any process is one of the router; without any, that there is none is said by one that knows."""
    said = [one for one in problems if one is not None]
    return max(said, default=None)


def _merged_backend(before: BackendState | None, one: BackendState) -> BackendState:
    if before is None:
        return one
    return BackendState(
        revision=one.revision,
        endpoints=max(before.endpoints, one.endpoints),
        healthy=min(before.healthy, one.healthy),
        in_flight=before.in_flight + one.in_flight,
    )


def summed(parts: Iterable[Mapping[str, Mapping[str, Counter]]]) -> Counts:
    """The sum of the counts of several processes, living or ended."""
    total: Counts = {}
    for part in parts:
        for service, revisions in part.items():
            known = total.setdefault(service, {})
            for revision, counter in revisions.items():
                known[revision] = _added(known[revision], counter) if revision in known else counter
    return total


def _added(a: Counter, b: Counter) -> Counter:
    return Counter(
        requests=a.requests + b.requests,
        errors=a.errors + b.errors,
        rejected=a.rejected + b.rejected,
        directed=a.directed + b.directed,
        directed_errors=a.directed_errors + b.directed_errors,
        fallbacks=a.fallbacks + b.fallbacks,
        keys=a.keys + b.keys,
        failed_keys=a.failed_keys + b.failed_keys,
        cached=a.cached + b.cached,
        latency_seconds=a.latency_seconds + b.latency_seconds,
        buckets=_added_buckets(a, b),
    )


def summed_pairs(parts: Iterable[Mapping[str, list[Comparison]]]) -> Pairs:
    """The same of what mirroring found."""
    total: dict[str, dict[tuple[str, str], Comparison]] = {}
    for part in parts:
        for service, pairs in part.items():
            known = total.setdefault(service, {})
            for one in pairs:
                pair = (one.primary, one.shadow)
                known[pair] = _added_pair(known[pair], one) if pair in known else one
    return {service: list(pairs.values()) for service, pairs in total.items()}


def _added_pair(a: Comparison, b: Comparison) -> Comparison:
    counts = ("agreed", "differed", "labels_differed", "failed", "dropped", "skipped")
    sums = {name: getattr(a, name) + getattr(b, name) for name in (*counts, "primary_seconds", "shadow_seconds")}
    largest = max(a.largest, b.largest)
    return Comparison(primary=a.primary, shadow=a.shadow, largest=largest, buckets=_added_buckets(a, b), **sums)


def _added_buckets(a: Counter | Comparison, b: Counter | Comparison) -> dict[str, int]:
    return {name: a.buckets.get(name, 0) + b.buckets.get(name, 0) for name in {**a.buckets, **b.buckets}}


@dataclass(slots=True)
class Ended:
    """What processes counted that are no more."""

    processes: int = 0
    services: Counts = field(default_factory=dict)
    comparisons: Pairs = field(default_factory=dict)

    def add(self, last: RouterCounters) -> None:
        """One more process ended; these were its counts when it was last asked."""
        self.processes += last.processes
        self.services = summed([self.services, last.services])
        self.comparisons = summed_pairs([self.comparisons, last.comparisons])


def merged_counters(pod: str, epoch: str, living: list[RouterCounters], ended: Ended) -> RouterCounters:
    """One router's counters. What ended processes counted stays in the sum: it never falls in an epoch."""
    generations = {one.generation for one in living}
    return RouterCounters(
        pod=pod,
        epoch=epoch,
        generation=generations.pop() if len(generations) == 1 else "",
        processes=max(ended.processes + sum(one.processes for one in living), 1),
        services=summed([ended.services, *(one.services for one in living)]),
        comparisons=summed_pairs([ended.comparisons, *(one.comparisons for one in living)]),
    )


class ProcessMetrics(Collector):
    """The metrics of several processes, each sample with the label `process`."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        """All families of all processes."""
        families: dict[str, Metric] = {}
        for process, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    known.samples.append(sample._replace(labels={**sample.labels, "process": process}))
        yield from families.values()
