"""How requests of an InferenceService reach its revisions, what is kept of them, and what bounds them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gyre_crds.base import (
    ApiModel,
    DurationText,
    Rule,
    Share,
    Word,
)  # fmt: skip


class Sticky(ApiModel):
    """The same key gets the same revision while weights only grow, and is one witness of a canary, not many."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
    """Request header that holds the key."""


class HeaderRoute(ApiModel):
    """Requests with one of these values of a header go to one revision, outside of the split and its evidence."""

    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]
    """Request header."""
    values: Annotated[list[Word], Field(min_length=1, max_length=16)]
    """Values, compared whole."""
    to: Literal["Stable", "Candidate"] = "Candidate"
    """Which revision; while there is none, or no pod of it answers, the split decides."""


class Tolerance(ApiModel):
    """How far two numbers may be apart and still agree: absolute + relative * |answer of the stable revision|."""

    absolute: Annotated[float, Field(ge=0)] = 0.000001
    """Absolute part."""
    relative: Annotated[float, Field(ge=0)] = 0.0001
    """Relative part."""


class Mirror(ApiModel):
    """How copies of requests reach a revision that answers nobody yet; they delay and fail no request."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the requests, by hash of the request id."""
    tolerance: Tolerance = Field(default_factory=Tolerance)
    """When two numbers agree; labels and texts must be equal."""
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Copies under way at once in one router process; more are dropped and counted."""


class Traffic(ApiModel):
    """How requests find a revision."""

    sticky: Sticky | None = None
    """Without it each request is assigned by its id."""
    headers: Annotated[list[HeaderRoute], Field(max_length=16)] = Field(default_factory=list)
    """Asked before the split; the first that fits decides. They do not count as evidence of a canary."""
    mirror: Mirror | None = None
    """Copies of the traffic while rollout.strategy Shadow compares; without it, of every request."""


class Fallback(ApiModel):
    """What answers when no pod of the chosen revision takes a request; the answer says so in x-gyre-fallback."""

    stable: bool = True
    """The stable revision answers for a candidate; the candidate's failure still counts against it."""
    static: Annotated[dict[str, float], Field(max_length=16)] = Field(default_factory=dict)
    """Then an answer made of these numbers, by the name of the output that each fills."""


class PayloadLog(ApiModel):
    """Answered rows, kept as Parquet in the store for monitors and training."""

    sample: Share = 1.0
    """Share of requests, by hash of the request id."""
    label_sample: Share = 0.01
    """Share of the logged rows that are marked for human labelling (column gyre_label_sample)."""
    redact: Annotated[list[Word], Field(max_length=100)] = Field(default_factory=list)
    """Columns that are never written."""
    flush_every: DurationText = "30s"
    """Oldest a row may get before its part is written."""
    retention: DurationText = "30d"
    """How long parts are kept."""


class ClientLimit(ApiModel):
    """Requests of one client: a token bucket in each router process."""

    rate: Annotated[float, Field(gt=0, le=1000000)]
    """Requests a second, on average."""
    burst: Annotated[int, Field(ge=1, le=1000000)] = 10
    """Requests at once; more get 429 with Retry-After."""
    header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] | None = None
    """Request header that names the client; without it, the client's address. Let a proxy that checked it set it."""


class Limits(ApiModel):
    """What one router replica lets in for this service."""

    max_body: Annotated[int, Field(ge=1024)] = 16777216
    """Largest body in bytes; more is answered 413."""
    timeout: DurationText = "30s"
    """Longest answer; more is answered 504."""
    concurrency: Annotated[int, Field(ge=1, le=100000)] = 256
    """Requests at once; more wait in a queue of the same length, then get 503 with Retry-After."""
    clients: ClientLimit | None = None
    """What one client may ask; without it only concurrency bounds it."""


class Batch(ApiModel):
    """Calls of many rows: POST /v2/models/<name>/batch cuts them into requests of batching.maxSize rows."""

    max_rows: Annotated[int, Field(ge=1, le=1000000)] = 10000
    """Most rows in one call; more is answered 413."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests of one call that run at once."""


class Cache(ApiModel):
    """Answers given again to an equal question without asking the model; not while two revisions share the traffic."""

    ttl: DurationText = "60s"
    """How long an answer may be given again."""
    max_size: Annotated[int, Field(ge=65536, le=1073741824)] = 16777216
    """Bytes held by one router process; the answer unused for longest goes first."""
    stale_if_error: DurationText | None = None
    """How long past its ttl an answer may still be given where no pod of its revision answers: behind the stable
    revision, before the numbers of fallback; x-gyre-cache: stale and age say so. Off unless set."""

    RULES = (
        Rule(
            "!has(self.ttl) || self.ttl.matches('[1-9]')",
            "cache.ttl: give more than 0s, or leave cache out",
            lambda cache: any(digit in cache.ttl for digit in "123456789"),
        ),
    )
