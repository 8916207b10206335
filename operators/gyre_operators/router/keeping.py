"""What stays in the table as it was, because the object that it rests on cannot be read. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gyre_crds import names
from gyre_crds.contracts.routing import RevisionRoute, ServiceRoute

KEPT = f"{names.LABEL}/kept"
"""Annotation on the router's ConfigMap: what was kept, and why."""


@dataclass(frozen=True, slots=True)
class Unread:
    """Objects that do not parse, by name, each with its problem: an older CRD or a later Gyre wrote them."""

    versions: Mapping[str, str]
    monitors: Mapping[str, str]
    targets: Mapping[str, str] = field(default_factory=dict)
    """Services that these monitors name all the same; a monitor that is not in it may name any."""

    def __bool__(self) -> bool:
        return bool(self.versions or self.monitors)


NOTHING = Unread({}, {})


def keep(
    routes: Iterable[ServiceRoute], live: Mapping[str, ServiceRoute], unread: Unread
) -> tuple[list[ServiceRoute], str]:
    """The routes with signatures and payload logs as they are live where it cannot be known what they should be.

    A signature goes with the version that cannot be read, and a payload log with the monitor that names its
    service. Where even that cannot be read, each service keeps its log. The text says what was kept; empty for
    nothing.
    """
    told: list[str] = []
    made = [_route(route, live.get(route.name), unread, told) for route in routes]
    return made, "; ".join(told)


def _route(route: ServiceRoute, live: ServiceRoute | None, unread: Unread, told: list[str]) -> ServiceRoute:
    if live is None:
        return route
    payloads = route.payloads
    blind = {name: why for name, why in unread.monitors.items() if unread.targets.get(name, route.name) == route.name}
    if payloads is None and live.payloads is not None and blind:
        payloads = live.payloads
        told.append(f"payload log of InferenceService {route.name}: {_cannot('DriftMonitor', blind)}")
    before = {one.revision: one for one in live.revisions}
    revisions = [_revision(one, before.get(one.revision), unread, told) for one in route.revisions]
    return route.model_copy(update={"payloads": payloads, "revisions": revisions})


def _revision(route: RevisionRoute, live: RevisionRoute | None, unread: Unread, told: list[str]) -> RevisionRoute:
    problem = unread.versions.get(route.version)
    if problem is None or live is None or live.signature is None:
        return route
    told.append(f"signature of revision {route.revision}: {_cannot('ModelVersion', {route.version: problem})}")
    return route.model_copy(update={"signature": live.signature})


def _cannot(kind: str, problems: Mapping[str, str]) -> str:
    said = ", ".join(f"{name} ({problem})" for name, problem in sorted(problems.items()))
    return f"{kind} {said} cannot be read, correct it"
