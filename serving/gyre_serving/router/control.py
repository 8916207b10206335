"""The control port: health, state, counters, metrics and the services' documentation."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from gyre_crds.contracts.routing import RouterCounters, RouterState
from gyre_serving.router.data_port import DataPort
from gyre_serving.router.docs import page
from gyre_serving.router.openapi import paths
from gyre_serving.router.service import Service
from gyre_serving.router.table import Tables


class Identity:
    """Who this process is: `pod` stays, `epoch` is new at every start."""

    def __init__(self, pod: str, epoch: str) -> None:
        self.pod = pod
        self.epoch = epoch


def state(identity: Identity, tables: Tables, port: DataPort) -> RouterState:
    """What the process runs."""
    known = tables.current.services if tables.current else {}
    return RouterState(
        pod=identity.pod,
        epoch=identity.epoch,
        generation=tables.generation(),
        refused=tables.refused,
        services=tables.state(),
        callers={
            one.name: len(one.guard.tokens)
            for one in known.values()
            if one.guard is not None and one.guard.tokens is not None
        },
        tls=port.tls.problem if port.tls is not None else None,
        reviews=tables.reviews.problem,
    )


def counters(identity: Identity, tables: Tables) -> RouterCounters:
    """What the process counted since its epoch."""
    services: dict[str, dict[str, Any]] = {}
    for (service, revision), stats in tables.stats.revisions.items():
        services.setdefault(service, {})[revision] = stats.counter()
    return RouterCounters(
        pod=identity.pod,
        epoch=identity.epoch,
        generation=tables.generation(),
        services=services,
        comparisons=tables.stats.comparisons(),
    )


def control_app(identity: Identity, tables: Tables, port: DataPort, metrics: CollectorRegistry) -> FastAPI:
    """The FastAPI application of the control port."""
    app = FastAPI(title="Gyre router", version="0.1.0", docs_url=None, redoc_url=None)
    _add_health(app, tables, port)
    _add_documents(app, tables)

    @app.get("/v1/state")
    async def get_state() -> Response:
        """RouterState."""
        return _json(state(identity, tables, port).model_dump_json(by_alias=True))

    @app.get("/v1/counters")
    async def get_counters() -> Response:
        """RouterCounters."""
        return _json(counters(identity, tables).model_dump_json(by_alias=True))

    @app.get("/metrics")
    async def get_metrics(request: Request) -> Response:
        """Prometheus' text format, or OpenMetrics with exemplars for who accepts it."""
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics), headers={"content-type": kind})

    return app


def _add_health(app: FastAPI, tables: Tables, port: DataPort) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The event loop answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        """200 while the router has a table and takes requests."""
        if port.draining:
            response.status_code = 503
            return {"status": "draining"}
        if tables.current is None:
            response.status_code = 503
            return {"status": f"no routing table: {tables.refused or 'none came yet'}"}
        return {"status": "ok"}


def _add_documents(app: FastAPI, tables: Tables) -> None:
    def services() -> list[Service]:
        return list(tables.current.services.values()) if tables.current else []

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """A page for people."""
        namespace = tables.current.table.namespace if tables.current else ""
        return HTMLResponse(page(namespace, services()))

    def openapi() -> dict[str, Any]:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        document["paths"] |= paths(services())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")
