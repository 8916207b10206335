"""What Triton can do beyond answering: its scheduler's options, under Gyre's own names.

Typed here rather than passed through as text, so that the API server itself refuses a wrong one while it is applied.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import ApiModel, DurationText, Rule, Word


class Queue(ApiModel):
    """What waits for an instance."""

    max_size: Annotated[int, Field(ge=1, le=100000)] | None = None
    """Requests that wait at most; more are answered 503. Unbounded unless set."""
    timeout: DurationText | None = None
    """Longest wait."""
    on_timeout: Literal["Reject", "Delay"] = "Reject"
    """Reject: answered 503. Delay: goes behind all others."""


class Priorities(ApiModel):
    """Requests that overtake others: parameter `priority` of the request, 1 goes first."""

    levels: Annotated[int, Field(ge=2, le=16)]
    """How many there are."""
    default: Annotated[int, Field(ge=1, le=16)]
    """What a request without one has."""

    RULES = (
        Rule(
            "self.default <= self.levels",
            "default: choose one of the levels, at most levels",
            lambda priorities: priorities.default <= priorities.levels,
        ),
    )


class RateResource(ApiModel):
    """Something that a run takes and gives back."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]+$", max_length=63)]
    """Its name."""
    count: Annotated[int, Field(ge=1, le=1000)]
    """What one run takes."""
    available: Annotated[int, Field(ge=1, le=1000)]
    """What there is in the pod."""

    RULES = (
        Rule(
            "self.count <= self.available",
            "count: take at most what is available, else nothing ever runs",
            lambda resource: resource.count <= resource.available,
        ),
    )


class Control(ApiModel):
    """An input that Triton fills, not the client."""

    input: Word
    """Input of the ONNX graph that the version's signature leaves out."""
    kind: Literal["Start", "End", "Ready", "CorrelationId"]
    """What it says of the sequence: 1 at its first or last request, 1 where there is a request, its id."""


class Sequence(ApiModel):
    """Requests with the same `sequence_id` go to the same instance, in their order.

    One pod only: another one does not know how the sequence began; for the same reason there is no fallback, no Shadow
    and no call of many rows. When a new revision takes over, sequences under way have to be started anew.
    """

    strategy: Literal["Direct", "Oldest"] = "Direct"
    """Direct: a slot of its own in each batch, so batching.maxSize times instances sequences at once. Oldest: one batch
    of the oldest requests of several sequences."""
    max_idle: DurationText = "1s"
    """A sequence without requests for so long has ended."""
    max_candidates: Annotated[int, Field(ge=1, le=4096)] = 64
    """Sequences that are looked at together; Oldest only."""
    controls: Annotated[list[Control], Field(max_length=8)] = Field(default_factory=list)
    """Inputs that Triton fills."""


class EnsembleStep(ApiModel):
    """One graph of a chain."""

    file: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9_]*[a-z0-9])?\.onnx$", max_length=60)]
    """ONNX file at the root of the version."""
    inputs: Annotated[dict[str, str], Field(min_length=1, max_length=64)]
    """Its input by name: which tensor it takes, an input of the signature or an output of an earlier step."""
    outputs: Annotated[dict[str, str], Field(min_length=1, max_length=64)]
    """Its output by name: the tensor's name in the chain, an output of the signature where it is the answer."""


class TritonOptions(ApiModel):
    """Options of Triton's scheduler for this service."""

    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies of the model in a pod, each a process of its own."""
    queue: Queue | None = None
    """What waits for an instance."""
    priorities: Priorities | None = None
    """Requests that overtake others."""
    rate_limit: Annotated[list[RateResource], Field(max_length=8)] = Field(default_factory=list)
    """What a run takes of the pod: fewer runs at once than instances."""
    sequence: Sequence | None = None
    """Requests that belong together."""
    ensemble: Annotated[list[EnsembleStep], Field(max_length=8)] = Field(default_factory=list)
    """Several graphs of the version in a chain, in this order; without it, model.onnx alone answers."""
    response_cache: Annotated[int, Field(ge=1 << 20, le=1 << 34)] | None = None
    """Bytes for answers to inputs that were asked before; off unless set."""

    RULES = (
        Rule(
            "!has(self.sequence) || (!has(self.queue) && !has(self.priorities) && !has(self.responseCache))",
            "sequence: leave queue, priorities and responseCache out; Triton has no use for them beside sequences",
            lambda o: o.sequence is None or (o.queue is None and o.priorities is None and o.response_cache is None),
        ),
        Rule(
            "!has(self.ensemble) || self.ensemble.size() == 0 || (!has(self.queue) && !has(self.priorities) && "
            "!has(self.sequence) && !has(self.responseCache))",
            "ensemble: leave queue, priorities, sequence and responseCache out; they belong to a single model",
            lambda o: not o.ensemble or (o.queue, o.priorities, o.sequence, o.response_cache) == (None,) * 4,
        ),
    )

    def arguments(self) -> list[str]:
        """What tritonserver is started with besides."""
        limits = [f"--rate-limit-resource={one.name}:{one.available}" for one in self.rate_limit]
        cache = [] if self.response_cache is None else [f"--cache-config=local,size={self.response_cache}"]
        return [*(["--rate-limit=execution_count"] if limits else []), *limits, *cache]


def _sequence(spec: Any) -> Sequence | None:
    options = spec.runtime.options
    return options.sequence if options is not None else None


_HAS_SEQUENCE = "has(self.runtime.options) && has(self.runtime.options.sequence)"

SERVICE_RULES = (
    Rule(
        f"!({_HAS_SEQUENCE}) || self.replicas <= 1",
        "replicas: set 1 beside runtime.options.sequence; another pod does not know how a sequence began",
        lambda spec: _sequence(spec) is None or spec.replicas <= 1,
    ),
    Rule(
        f"!({_HAS_SEQUENCE}) || has(self.traffic.sticky) || self.rollout.strategy == 'Recreate'",
        "traffic.sticky: name a header that is equal for all requests of a sequence, or set rollout.strategy to "
        "Recreate; runtime.options.sequence needs each sequence to stay with one revision",
        lambda spec: _sequence(spec) is None or spec.traffic.sticky is not None or spec.rollout.strategy == "Recreate",
    ),
    Rule(
        f"!({_HAS_SEQUENCE}) || !has(self.cache)",
        "cache: leave it out beside runtime.options.sequence; such an answer depends on what was asked before",
        lambda spec: _sequence(spec) is None or spec.cache is None,
    ),
    Rule(
        f"!({_HAS_SEQUENCE}) || !has(self.fallback)",
        "fallback: leave it out beside runtime.options.sequence; whoever steps in does not know how a sequence began",
        lambda spec: _sequence(spec) is None or spec.fallback is None,
    ),
    Rule(
        f"!({_HAS_SEQUENCE}) || self.rollout.strategy != 'Shadow'",
        "rollout.strategy: set Canary or Recreate beside runtime.options.sequence; copies of requests reach a shadow "
        "neither all nor in their order",
        lambda spec: _sequence(spec) is None or spec.rollout.strategy != "Shadow",
    ),
)
"""What these options ask of the rest of an InferenceService's spec."""
