"""The routing table, composed from the statuses of a namespace's services. Pure."""

import json
from collections.abc import Collection, Iterable, Mapping

from gyre_crds import names
from gyre_crds.base import seconds
from gyre_crds.contracts.routing import (
    BatchRule,
    CacheRule,
    ClientRule,
    FallbackRule,
    HeaderMatch,
    LimitRule,
    MirrorRule,
    PayloadRule,
    RevisionRoute,
    RoutingTable,
    ServiceRoute,
    Tolerance,
    stamped,
)
from gyre_crds.contracts.serving import SERVER_PORT
from gyre_crds.contracts.store import feedback_prefix, payload_prefix
from gyre_crds.v1alpha1.inference import Cache, InferenceService, Mirror, PayloadLog, RevisionRef
from gyre_crds.v1alpha1.version import ModelVersion, Signature
from gyre_operators.workload.tokens import rule_of


def table(
    namespace: str,
    services: Iterable[InferenceService],
    versions: Mapping[str, ModelVersion],
    *,
    watched: frozenset[str],
    store: str,
) -> RoutingTable:
    """The whole table, stamped with its generation.

    Args:
        namespace: whose table it is.
        services: all of the namespace.
        versions: the namespace's ModelVersions by name; their signatures are what requests are checked by.
        watched: names of services that a DriftMonitor targets: their payloads are logged even unasked,
            since a monitor without rows sees nothing.
        store: URI of the namespace's root in the object store.
    """
    ordered = sorted(services, key=lambda service: service.metadata.name)
    routes = [_route(service, versions, store=store, watched=service.metadata.name in watched) for service in ordered]
    return stamped(RoutingTable(namespace=namespace, services=routes))


def table_text(table_: RoutingTable) -> str:
    """The table as it stands in the ConfigMap: equal tables are equal texts."""
    return json.dumps(table_.dump(), sort_keys=True, separators=(",", ":"))


def _route(
    service: InferenceService, versions: Mapping[str, ModelVersion], *, store: str, watched: bool
) -> ServiceRoute:
    spec, name = service.spec, service.metadata.name
    revisions = _revisions(service, versions)
    routed = {one.revision for one in revisions}
    return ServiceRoute(
        name=name,
        revisions=revisions,
        matches=_matches(service, routed),
        fallback=_fallback(service, routed),
        mirror=_mirror(service, routed),
        sticky_header=spec.traffic.sticky.header if spec.traffic.sticky else None,
        salt=_salt(service),
        validation=spec.validation,
        payloads=_payloads(spec.payloads or PayloadLog(), name, store) if spec.payloads or watched else None,
        limits=LimitRule(
            max_body=spec.limits.max_body,
            timeout_seconds=seconds(spec.limits.timeout),
            concurrency=spec.limits.concurrency,
            clients=ClientRule(**spec.limits.clients.model_dump()) if spec.limits.clients else None,
        ),
        auth=rule_of(spec.auth),
        batch=BatchRule(rows=spec.batching.max_size, max_rows=spec.batch.max_rows, concurrency=spec.batch.concurrency),
        sequences=spec.runtime.options is not None and spec.runtime.options.sequence is not None,
        cache=_cache(spec.cache) if spec.cache else None,
        access_sample=spec.access_log,
    )


def _revisions(service: InferenceService, versions: Mapping[str, ModelVersion]) -> list[RevisionRoute]:
    """Wanted traffic as the service's status says; nothing before a revision answers."""
    status, name = service.status, service.metadata.name
    if status is None:
        return []
    known = _known(service)
    routes = [
        RevisionRoute(
            revision=traffic.revision,
            version=known[traffic.revision].version,
            service=names.revision(name, traffic.revision),
            port=SERVER_PORT,
            model=name,
            weight=traffic.wanted,
            signature=_signature(versions.get(known[traffic.revision].version)),
        )
        for traffic in status.traffic
        if traffic.revision in known
    ]
    return routes if sum(route.weight for route in routes) == 100 else []  # noqa: PLR2004  percent


def _cache(cache: Cache) -> CacheRule:
    stale = seconds(cache.stale_if_error) if cache.stale_if_error else 0.0
    return CacheRule(ttl_seconds=seconds(cache.ttl), max_bytes=cache.max_size, stale_if_error_seconds=stale)


def _matches(service: InferenceService, routed: Collection[str]) -> list[HeaderMatch]:
    """Header routes to the revisions that the table holds; the others wait until there is such a revision."""
    status = service.status
    if status is None:
        return []
    role = {"Stable": status.stable, "Candidate": status.candidate}
    return [
        HeaderMatch(header=one.header, values=one.values, revision=to.revision)
        for one in service.spec.traffic.headers
        if (to := role[one.to]) is not None and to.revision in routed
    ]


def _fallback(service: InferenceService, routed: Collection[str]) -> FallbackRule | None:
    rule, stable = service.spec.fallback, service.status.stable if service.status else None
    if rule is None:
        return None
    named = [stable.revision] if rule.stable and stable is not None and stable.revision in routed else []
    return FallbackRule(revisions=named, static=rule.static)


def _mirror(service: InferenceService, routed: Collection[str]) -> MirrorRule | None:
    """Copies go to a candidate while its answers are compared, and stop with its first share of the traffic."""
    candidate = service.status.candidate if service.status else None
    if service.spec.rollout.strategy != "Shadow" or candidate is None or candidate.strata:
        return None
    if service.status is None or service.status.stable is None or candidate.revision not in routed:
        return None
    asked = service.spec.traffic.mirror or Mirror()
    return MirrorRule(
        revision=candidate.revision,
        share=asked.percent / 100,
        tolerance=Tolerance(absolute=asked.tolerance.absolute, relative=asked.tolerance.relative),
        concurrency=asked.concurrency,
    )


def _known(service: InferenceService) -> dict[str, RevisionRef]:
    status = service.status
    refs = (status.stable, status.candidate) if status is not None else ()
    return {ref.revision: ref for ref in refs if ref is not None}


def _salt(service: InferenceService) -> str:
    """The revision on its way, then the same one as stable: keys move once, and only towards it."""
    status = service.status
    if status is None:
        return ""
    leading = status.candidate or status.stable
    return leading.revision if leading is not None else ""


def _signature(version: ModelVersion | None) -> Signature | None:
    if version is None:
        return None
    return version.spec.signature or (version.status.signature if version.status else None)


def _payloads(log: PayloadLog, service: str, store: str) -> PayloadRule:
    return PayloadRule(
        prefix=f"{store}/{payload_prefix(service)}",
        feedback_prefix=f"{store}/{feedback_prefix(service)}",
        sample=log.sample,
        label_sample=log.label_sample,
        redact=list(log.redact),
        flush_seconds=seconds(log.flush_every),
    )
