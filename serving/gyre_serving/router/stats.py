"""What one router process counted. Plain integers: /metrics and /v1/counters read them, nothing is lost between."""

from bisect import bisect_left
from collections import Counter as Tally
from collections import OrderedDict
from itertools import accumulate
from time import time
from typing import NamedTuple

from gyre_crds.contracts.routing import Comparison, Counter
from gyre_serving.router.comparing import Difference

BOUNDS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1,
    0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds in seconds: dense where models answer, so that a median and a p99 can be told apart."""
BOUND_NAMES = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
KEPT = 256
"""Revisions whose counts are kept after they left the table, for an operator that reads late."""


class Example(NamedTuple):
    """A traced request: its traceparent, its latency, and the Unix time of its end."""

    trace: bytes
    seconds: float
    at: float


class RevisionStats:
    """Counts of one revision of one service since the process started."""

    __slots__ = (
        "buckets", "cached", "directed", "directed_errors", "ejections", "errors", "examples", "failed_keys",
        "failures", "fallbacks", "in_flight", "keys", "latency", "rejected", "requests", "retries", "version",
    )  # fmt: skip

    def __init__(self, version: str) -> None:
        self.version = version
        self.requests = 0
        self.errors = 0
        self.directed = 0
        self.directed_errors = 0
        self.fallbacks = 0
        self.keys = 0
        self.failed_keys = 0
        self.cached = 0
        self.rejected = 0
        self.retries = 0
        self.ejections = 0
        self.in_flight = 0
        self.latency = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.failures: Tally[str] = Tally()
        self.examples: dict[int, Example] = {}
        """The latest traced request of each bucket."""

    def answered(
        self, seconds: float, failure: str | None, *, directed: bool, first: bool = False, trace: bytes | None = None
    ) -> None:
        """Count one request that the revision was asked for; `failure` is its class when it failed.

        `first`: of all requests of a sticky key it is the one that is the key's outcome. `trace`: the
        request's header traceparent, an example of its bucket.
        """
        self.requests += 1
        self.latency += seconds
        bucket = bisect_left(BOUNDS, seconds)
        self.buckets[bucket] += 1
        if trace is not None:
            self.examples[bucket] = Example(trace, seconds, time())
        if failure is not None:
            self.errors += 1
            self.failures[failure] += 1
        if first:
            self.keys += 1
            self.failed_keys += failure is not None
        if directed:
            self.directed += 1
            self.directed_errors += failure is not None

    def counter(self) -> Counter:
        """The contract's form, with cumulative buckets."""
        return Counter(
            requests=self.requests,
            errors=self.errors,
            rejected=self.rejected,
            directed=self.directed,
            directed_errors=self.directed_errors,
            fallbacks=self.fallbacks,
            keys=self.keys,
            failed_keys=self.failed_keys,
            cached=self.cached,
            latency_seconds=self.latency,
            buckets=cumulative(self.buckets),
        )


def cumulative(buckets: list[int]) -> dict[str, int]:
    """Counts by bound as counts up to each bound."""
    return dict(zip(BOUND_NAMES, accumulate(buckets), strict=True))


class PairStats:
    """What mirroring found for one pair of revisions since the process started."""

    __slots__ = (
        "agreed", "buckets", "differed", "dropped", "failed", "labels_differed", "largest", "primary_seconds",
        "shadow_seconds", "skipped",
    )  # fmt: skip

    def __init__(self) -> None:
        self.agreed = 0
        self.differed = 0
        self.labels_differed = 0
        self.failed = 0
        self.dropped = 0
        self.skipped = 0
        self.largest = 0.0
        self.primary_seconds = 0.0
        self.shadow_seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def compared(self, found: Difference, primary_seconds: float, shadow_seconds: float) -> None:
        """Count a pair of answers."""
        self.agreed += found.agrees
        self.differed += not found.agrees
        self.labels_differed += found.label
        self.largest = max(self.largest, found.largest)
        self.primary_seconds += primary_seconds
        self.shadow_seconds += shadow_seconds
        self.buckets[bisect_left(BOUNDS, shadow_seconds)] += 1

    def comparison(self, primary: str, shadow: str) -> Comparison:
        """The contract's form."""
        return Comparison(
            primary=primary,
            shadow=shadow,
            agreed=self.agreed,
            differed=self.differed,
            labels_differed=self.labels_differed,
            failed=self.failed,
            dropped=self.dropped,
            skipped=self.skipped,
            largest=self.largest,
            primary_seconds=self.primary_seconds,
            shadow_seconds=self.shadow_seconds,
            buckets=cumulative(self.buckets),
        )


class ServiceStats:
    """Counts of a service that belong to no revision."""

    __slots__ = ("abandoned", "cache", "queue_seconds", "queued", "refused", "violations")

    def __init__(self) -> None:
        self.abandoned = 0
        """Requests whose client went away before the answer."""
        self.queued = 0
        self.queue_seconds = 0.0
        self.cache: Tally[str] = Tally()
        """Questions to the cache by result, and answers that it let go of."""
        self.violations = 0
        """Requests that did not fit the signature, refused or not."""
        self.refused: Tally[str] = Tally()
        """Refusals by HTTP status."""


class Stats:
    """All counts of the process. Cardinality is bounded by the table plus `KEPT` past revisions."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceStats] = {}
        self.revisions: OrderedDict[tuple[str, str], RevisionStats] = OrderedDict()
        self.pairs: dict[tuple[str, str, str], PairStats] = {}
        """By service, primary and shadow."""
        self.unrouted: Tally[str] = Tally()
        """Requests that never reached a service, by HTTP status."""

    def service(self, name: str) -> ServiceStats:
        """The service's counts, made on first use."""
        return self.services.setdefault(name, ServiceStats())

    def revision(self, service: str, revision: str, version: str) -> RevisionStats:
        """The revision's counts, made on first use; they survive table swaps."""
        key = (service, revision)
        found = self.revisions.get(key)
        if found is None:
            found = self.revisions[key] = RevisionStats(version)
        self.revisions.move_to_end(key)
        return found

    def pair(self, service: str, primary: str, shadow: str) -> PairStats:
        """What mirroring found for the pair, made on first use; it stays as long as both revisions' counts."""
        return self.pairs.setdefault((service, primary, shadow), PairStats())

    def comparisons(self) -> dict[str, list[Comparison]]:
        """The contract's form of all pairs, by service."""
        found: dict[str, list[Comparison]] = {}
        for (service, primary, shadow), stats in self.pairs.items():
            found.setdefault(service, []).append(stats.comparison(primary, shadow))
        return found

    def forget(self, live: set[tuple[str, str]]) -> None:
        """Drop the oldest counts of revisions outside of `live` beyond `KEPT`."""
        past = [key for key, stats in self.revisions.items() if key not in live and not stats.in_flight]
        for key in past[: max(0, len(past) - KEPT)]:
            del self.revisions[key]
        for service, primary, shadow in list(self.pairs):
            if not {(service, primary), (service, shadow)} <= self.revisions.keys():
                del self.pairs[service, primary, shadow]
        for name in set(self.services) - {service for service, _ in self.revisions} - {name for name, _ in live}:
            del self.services[name]
