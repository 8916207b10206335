"""A routing table from JSON: taken whole, or refused with a reason."""

import json

from pydantic import ValidationError

from gyre_crds.contracts.routing import RoutingTable, ServiceRoute, stamped
from gyre_serving.router.endpoints import parse_static


class Refused(Exception):  # noqa: N818  a verdict on a table, not a fault of the program
    """The table is broken; the sentence says where."""


def parse(text: bytes | str) -> RoutingTable:
    """A table from JSON, with its generation.

    Raises:
        Refused: with the first thing that is wrong and where.
    """
    try:
        table = RoutingTable.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "table"
        raise Refused(f"{where}: {first['msg']}") from error
    except ValueError as error:
        raise Refused(f"the table is no JSON: {error}") from error
    _check(table)
    return table if table.generation else stamped(table)


def _check(table: RoutingTable) -> None:
    """What the types cannot say."""
    if len({service.name for service in table.services}) < len(table.services):
        raise Refused("services: a name stands twice")
    for service in table.services:
        where = f"services.{service.name}"
        revisions = service.revisions
        if revisions and sum(one.weight for one in revisions) != 100:  # noqa: PLR2004  percent
            raise Refused(f"{where}: the weights sum to {sum(one.weight for one in revisions)}, not to 100")
        if len({one.revision for one in revisions}) < len(revisions):
            raise Refused(f"{where}: a revision stands twice")
        if service.limits.concurrency < 1 or service.limits.timeout_seconds <= 0 or service.limits.max_body < 1:
            raise Refused(f"{where}.limits: concurrency, timeoutSeconds and maxBody must be positive")
        _check_names(service, where)
        for one in revisions:
            try:
                parse_static(one.service)
            except ValueError as error:
                raise Refused(f"{where}.{one.revision}.{error}") from error


def _check_names(service: ServiceRoute, where: str) -> None:
    """Rules lead to revisions that the service has."""
    known = {one.revision for one in service.revisions}
    for match in service.matches:
        if match.revision not in known:
            raise Refused(f"{where}.matches: {match.header} leads to {match.revision!r}, which is no revision")
    if service.mirror is not None and service.mirror.revision not in known:
        raise Refused(f"{where}.mirror: {service.mirror.revision!r} is no revision")
    for name in service.fallback.revisions if service.fallback else ():
        if name not in known:
            raise Refused(f"{where}.fallback: {name!r} is no revision")
