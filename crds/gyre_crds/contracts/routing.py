"""Routing table (operator -> router) and counters (router -> operator).

The operator writes ConfigMap `gyre-router` of the namespace, key `table.json`. Each router process
publishes what it runs and what it counted on its control port::

    GET /v1/state      RouterState
    GET /v1/counters   RouterCounters
    GET /healthz /readyz /metrics /docs
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from gyre_crds.base import ApiModel, Percent, Share
from gyre_crds.names import ROUTER
from gyre_crds.v1alpha1.version import Signature

CONFIG_KEY = "table.json"
DATA_PORT = 8080
CONTROL_PORT = 8081
GRPC_PORT = 8082
"""The data port's twin for gRPC V2, without TLS."""
GRPC_TLS_PORT = 8444
"""The same over TLS, open once the Secret below holds a certificate."""
TLS_PORT = 8443
"""The data port over TLS, open once the Secret below holds a certificate."""
TLS_SECRET = f"{ROUTER}-tls"
"""Secret of type kubernetes.io/tls of the namespace: the routers' certificate, and in ca.crt who signs callers'."""
TLS_ROOT = "/var/run/gyre/tls"
"""Where the router's pods have that Secret."""
TOKEN_ROOT = "/var/run/gyre/tokens"  # noqa: S105  a directory
"""Where the router's pods have the Secrets with callers' tokens, each in a directory of its name."""
REQUEST_ID = "x-request-id"
"""Request header: taken over when given, made otherwise; stands in the answer."""
VERSION_HEADER = "x-gyre-version"
"""Answer header: ModelVersion that answered."""
REVISION_HEADER = "x-gyre-revision"
"""Answer header: revision that answered."""
FEEDBACK_HEADER = "x-gyre-feedback-id"
"""Answer header: signed id to send back with the label."""
CACHE_HEADER = "x-gyre-cache"
"""Answer header, only of kept answers: `hit`, or `stale` where the model was asked in vain."""
FALLBACK_HEADER = "x-gyre-fallback"
"""Answer header, only where the chosen revision could not be reached: `revision`, `cache` or `static`."""


class RevisionRoute(ApiModel):
    """One revision's backends."""

    revision: str
    version: str
    """ModelVersion's name."""
    service: str
    """Headless Service whose EndpointSlices are the backends; `host:port,host:port` for a static list."""
    port: int = 8000
    model: str
    """The model's name upstream."""
    upstream_version: str = "1"
    """The version in the upstream path /v2/models/<model>/versions/<upstream_version>/infer."""
    weight: Percent
    signature: Signature | None = None


class PayloadRule(ApiModel):
    """What of the traffic is logged."""

    prefix: str
    """Store URI prefix."""
    feedback_prefix: str
    """Store URI prefix of feedback parts."""
    sample: Share = 1.0
    label_sample: Share = 0.01
    """Of the logged rows, the share marked for human labelling."""
    redact: list[str] = Field(default_factory=list)
    flush_seconds: float = 30.0


class ClientRule(ApiModel):
    """A token bucket for each client: `burst` requests at once, refilled with `rate` a second."""

    rate: Annotated[float, Field(gt=0)]
    burst: Annotated[int, Field(ge=1)]
    header: str | None = None
    """Request header that names the client; without it (in the rule or the request), the client's address."""
    most: Annotated[int, Field(ge=1)] = 10000
    """Clients remembered by one router process; the one that was longest away is forgotten first."""


class LimitRule(ApiModel):
    """What one router process lets in for a service."""

    max_body: int = 16777216
    timeout_seconds: float = 30.0
    concurrency: int = 256
    clients: ClientRule | None = None


class HeaderMatch(ApiModel):
    """Requests with one of these values of a header go to a revision, before the split."""

    header: str
    values: Annotated[list[str], Field(min_length=1)]
    """Compared whole, case and all."""
    revision: str
    """One of the service's; one without any healthy backend is passed over."""


class Tolerance(ApiModel):
    """How far two numbers may be apart and still agree: `absolute + relative * |primary|`."""

    absolute: Annotated[float, Field(ge=0)] = 1e-6
    relative: Annotated[float, Field(ge=0)] = 1e-4


class MirrorRule(ApiModel):
    """Copies of answered requests go to a shadow revision; its answers are compared and thrown away.

    A copy is sent after the client has its answer, and only of inference that the split assigned and
    that was answered with 200.
    """

    revision: str
    """One of the service's, usually of weight 0."""
    share: Share
    """Of the requests, by hash of the request id: the same id always is mirrored, or never is."""
    tolerance: Tolerance = Field(default_factory=Tolerance)
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Copies under way at once in one router process; more are dropped and counted."""


class FallbackRule(ApiModel):
    """What answers when the chosen revision has no backend, or none of them takes the request.

    It takes over before the first byte of an answer. What the revision answers itself, a 5xx too, is
    passed on, and who asked for a version in the path gets that one or an error.
    """

    revisions: list[str] = Field(default_factory=list)
    """Others of the service's, in the order in which they are asked."""
    static: dict[str, float] = Field(default_factory=dict)
    """Then: an output's name to the number that fills it; outputs left out are left out of the answer."""


class ReviewRule(ApiModel):
    """Bearer tokens whose owner Kubernetes names (TokenReview), and which owners may ask; both empty: nobody."""

    audiences: Annotated[list[str], Field(min_length=1)]
    """A token must be made for one of these."""
    users: list[str] = Field(default_factory=list)
    """Usernames, such as system:serviceaccount:<namespace>:<name>."""
    groups: list[str] = Field(default_factory=list)
    """Groups, such as system:serviceaccounts:<namespace>."""


class AuthRule(ApiModel):
    """Who may ask: who proves itself in any one of the ways that are set; without any, nobody."""

    tokens: str | None = None
    """Directory with one file a caller: it holds the token, or `sha256:` and the token's SHA-256 in hex."""
    review: ReviewRule | None = None
    """Tokens of Kubernetes, as those of its ServiceAccounts."""
    certificates: list[str] = Field(default_factory=list)
    """Names in client certificates on the TLS port: `uri:`, `dns:` or `cn:` and the name, compared whole."""
    predict: bool = True
    """Whether questions to the model need it."""
    feedback: bool = True
    """Whether labels need it."""


class CacheRule(ApiModel):
    """Answers that are given again to an equal question to the same revision."""

    ttl_seconds: Annotated[float, Field(gt=0)] = 60.0
    max_bytes: Annotated[int, Field(ge=1)] = 16777216
    """Bytes held by one router process; the answer unused for longest goes first."""
    stale_if_error_seconds: Annotated[float, Field(ge=0)] = 0.0
    """How long past that an answer may still be given where nobody of its revision answers."""


class BatchRule(ApiModel):
    """How calls of many rows (`POST /v2/models/<name>/batch`) are cut."""

    rows: Annotated[int, Field(ge=1)] = 64
    """Most rows in one request to the model."""
    max_rows: Annotated[int, Field(ge=1)] = 10000
    """Most rows in one call."""
    concurrency: Annotated[int, Field(ge=1)] = 4
    """Requests of one call that run at once."""


class ServiceRoute(ApiModel):
    """One InferenceService."""

    name: str
    revisions: list[RevisionRoute] = Field(default_factory=list)
    """Weights sum to 100, or the list is empty: then requests get 503 with Retry-After."""
    matches: list[HeaderMatch] = Field(default_factory=list)
    """The first that fits decides; a version in the path goes before all of them."""
    fallback: FallbackRule | None = None
    mirror: MirrorRule | None = None
    sticky_header: str | None = None
    salt: str = ""
    """Mixed into the hash of the sticky key; stays while a rollout's weights only grow."""
    validation: Literal["Off", "Warn", "Enforce"] = "Enforce"
    payloads: PayloadRule | None = None
    limits: LimitRule = Field(default_factory=LimitRule)
    auth: AuthRule | None = None
    """Without it everybody who reaches the port may ask."""
    batch: BatchRule = Field(default_factory=BatchRule)
    sequences: bool = False
    """An answer depends on the requests before it (Triton's sequences): calls of many rows are refused."""
    cache: CacheRule | None = None
    """Not used while two revisions share the traffic."""
    access_sample: Share = 0.0
    """Share of the answers below 500 that the access log tells; those from 500 on it always tells."""


class RoutingTable(ApiModel):
    """Everything a namespace's router knows."""

    schema_: Literal["gyre.routing.v1"] = "gyre.routing.v1"
    namespace: str
    services: list[ServiceRoute] = Field(default_factory=list)
    generation: str = ""
    """Identity of the content; see `stamped`."""


def stamped(table: RoutingTable) -> RoutingTable:
    """The table with its generation: a hash of all the rest, so equal content is an equal generation."""
    body = table.model_copy(update={"generation": ""}).dump()
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return table.model_copy(update={"generation": hashlib.sha256(text.encode()).hexdigest()[:12]})


class BackendState(ApiModel):
    """Backends of one revision as the router sees them."""

    revision: str
    endpoints: int
    """Known endpoints."""
    healthy: int
    """Of these, not ejected."""
    in_flight: int


class RouterState(ApiModel):
    """What one router process runs."""

    pod: str
    """Pod uid (or host name) and, with several processes, its index."""
    epoch: str
    """New at every start, so that a restart is no negative delta."""
    generation: str
    """Table it runs."""
    refused: str | None = None
    """Why the newest table was refused, if it was."""
    services: dict[str, list[BackendState]] = Field(default_factory=dict)
    callers: dict[str, int] = Field(default_factory=dict)
    """Tokens known by service, of those that ask for them."""
    tls: str | None = None
    """What keeps the TLS port from asking callers for certificates; empty when nothing does, None without that port."""
    reviews: str | None = None
    """What keeps Kubernetes from saying whose tokens are; empty when nothing does, None where no service asks."""


class Counter(ApiModel):
    """Counts of one revision since the epoch."""

    requests: Annotated[int, Field(ge=0)] = 0
    """Answered requests that the revision was asked for."""
    errors: Annotated[int, Field(ge=0)] = 0
    """Of these, failures of the revision: 5xx answers, timeouts, broken connections."""
    rejected: Annotated[int, Field(ge=0)] = 0
    """Refused before the revision was asked (schema, limits)."""
    directed: Annotated[int, Field(ge=0)] = 0
    """Of `requests`, those that are no evidence: a header or a path chose the revision, not the split, or
    only the model's metadata was asked for. Only the rest is a random sample that compares revisions."""
    directed_errors: Annotated[int, Field(ge=0)] = 0
    """Of `errors`, those of directed requests."""
    fallbacks: Annotated[int, Field(ge=0)] = 0
    """Of `errors`, those after which a fallback was asked: the client may have got an answer."""
    keys: Annotated[int, Field(ge=0)] = 0
    """Of services with a sticky header: keys that the split brought to the revision and that got an outcome.
    Each counts once until the service's weights change, and none in the first five seconds after that; a request
    without the header is a key of its own.
    Beyond 65,536 keys only every second, fourth, ... one counts, chosen by hash alike for all revisions. A
    key that several router processes meet counts once in each."""
    failed_keys: Annotated[int, Field(ge=0)] = 0
    """Of these, keys whose first request failed; later ones change nothing."""
    cached: Annotated[int, Field(ge=0)] = 0
    """Answered from the cache. Not in `requests`: the revision was not asked, and has proven nothing."""
    latency_seconds: float = 0.0
    """Sum."""
    buckets: dict[str, int] = Field(default_factory=dict)
    """Cumulative latency histogram, upper bound in seconds to count."""


class Comparison(ApiModel):
    """What mirroring found since the epoch for one pair of revisions. Nothing of it is in `Counter`."""

    primary: str
    """Revision whose answers the clients got."""
    shadow: str
    """Revision that got copies."""
    agreed: Annotated[int, Field(ge=0)] = 0
    """Pairs of answers alike: labels and texts equal, numbers within the tolerance."""
    differed: Annotated[int, Field(ge=0)] = 0
    """Pairs that are not."""
    labels_differed: Annotated[int, Field(ge=0)] = 0
    """Of `differed`, those whose prediction (the signature's) is another."""
    failed: Annotated[int, Field(ge=0)] = 0
    """Copies that the shadow did not answer with 200 and a V2 answer where the primary did."""
    dropped: Annotated[int, Field(ge=0)] = 0
    """Copies not sent: too many, or too many bytes, were under way, or the shadow had no endpoint."""
    skipped: Annotated[int, Field(ge=0)] = 0
    """Pairs of which an answer was too large to compare, or the primary's no V2 answer."""
    largest: Annotated[float, Field(ge=0)] = 0.0
    """Largest absolute difference of two numbers."""
    primary_seconds: float = 0.0
    """Sum of the primary's latencies over agreed and differed pairs."""
    shadow_seconds: float = 0.0
    """The same of the shadow's."""
    buckets: dict[str, int] = Field(default_factory=dict)
    """Cumulative histogram of the shadow's latencies over these pairs, upper bound in seconds to count."""


class RouterCounters(ApiModel):
    """Counters of one router process (all its workers merged)."""

    pod: str
    epoch: str
    generation: str
    processes: Annotated[int, Field(ge=1)] = 1
    """Processes whose counts are merged here, ended ones too."""
    services: dict[str, dict[str, Counter]] = Field(default_factory=dict)
    """service -> revision -> counts."""
    comparisons: dict[str, list[Comparison]] = Field(default_factory=dict)
    """service -> what mirroring found, by pair of revisions."""
