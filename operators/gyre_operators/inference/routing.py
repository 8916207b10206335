"""What the routers have taken over: acknowledged tables, seen backends, drained revisions."""

from collections.abc import Mapping

from gyre_crds import names
from gyre_crds.contracts.routing import BackendState, ServiceRoute
from gyre_operators.inference.observed import Observed, Router


def route_of(seen: Observed) -> ServiceRoute | None:
    """This service's route in the table as it stands."""
    services = seen.table.services if seen.table is not None else []
    return next((route for route in services if route.name == seen.service.metadata.name), None)


def weights_in_table(seen: Observed) -> Mapping[str, int]:
    """Weights by revision in the table as it stands."""
    route = route_of(seen)
    return {revision.revision: revision.weight for revision in route.revisions} if route is not None else {}


def confirmed(seen: Observed) -> str | None:
    """The table's generation, once every live router runs it; None before."""
    if seen.table is None or not seen.routers:
        return None
    runs = all(router.state is not None and router.state.generation == seen.table.generation for router in seen.routers)
    return seen.table.generation if runs else None


def runs(seen: Observed, weights: Mapping[str, int]) -> bool:
    """Whether every live router splits this service's traffic by exactly these weights."""
    return confirmed(seen) is not None and dict(weights_in_table(seen)) == dict(weights)


def knows_backends(seen: Observed, revision: str) -> bool:
    """Whether every live router has at least one healthy backend of the revision."""
    return bool(seen.routers) and all(
        (backend := _backend(seen, router, revision)) is not None and backend.healthy > 0 for router in seen.routers
    )


def is_drained(seen: Observed, revision: str) -> bool:
    """Whether no live router can send, or still waits for, a request of the revision.

    A namespace without any router sends nothing.
    """
    if revision in weights_in_table(seen):
        return False
    if not seen.routers:
        return True
    if confirmed(seen) is None:
        return False
    backends = [_backend(seen, router, revision) for router in seen.routers]
    return all(backend is None or backend.in_flight == 0 for backend in backends)


def waits_for(seen: Observed) -> str:
    """Which router does not run the newest table, as a clause."""
    if not seen.routers:
        why = seen.router_waits or f"Deployment {names.ROUTER} and its events say why"
        return f"no router pod runs yet: {why}"
    if seen.table is None:
        return "the routing table is not written yet"
    for router in seen.routers:
        if router.state is None:
            return f"router pod {router.pod} does not answer{': ' if seen.router_waits else ''}{seen.router_waits}"
        if router.state.generation != seen.table.generation:
            refused = f" and refuses it: {router.state.refused}" if router.state.refused else ""
            return f"router pod {router.pod} does not run table {seen.table.generation} yet{refused}"
    return "the routing table does not hold the wanted weights yet"


def _backend(seen: Observed, router: Router, revision: str) -> BackendState | None:
    states = router.state.services.get(seen.service.metadata.name, []) if router.state is not None else []
    return next((state for state in states if state.revision == revision), None)
