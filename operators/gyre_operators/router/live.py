"""What a namespace's router routes now, as its ConfigMap says. Pure."""

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from gyre_crds.contracts.routing import CONFIG_KEY, RoutingTable, ServiceRoute
from gyre_operators.engine.kinds import CONFIG_MAP
from gyre_operators.engine.plan import Manifest


def live_routes(live: Iterable[Manifest]) -> Mapping[str, ServiceRoute] | None:
    """The routes by service among a router's objects, none without a table; None where it cannot be read."""
    tables = [body for body in live if body["kind"] == CONFIG_MAP.kind]
    if not tables:
        return {}
    try:
        table = RoutingTable.model_validate_json(tables[0].get("data", {}).get(CONFIG_KEY, ""))
    except ValidationError:
        return None
    return {route.name: route for route in table.services}
