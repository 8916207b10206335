"""The operator's process: settings, login, controllers, kopf as host, an orderly end."""

import asyncio
import logging
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp

from gyre_crds.base import API_VERSION
from gyre_operators import registry
from gyre_operators.engine.client import Client
from gyre_operators.engine.controller import Controller, Services
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.host import host
from gyre_operators.engine.login import LoginError, login
from gyre_operators.engine.logs import configure
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.runtime import Runtime, kinds_of
from gyre_operators.engine.wall_clock import utc_now
from gyre_operators.settings import Settings, SettingsError

log = logging.getLogger("gyre_operators")


def main(controllers: tuple[str, ...] = registry.CONTROLLERS) -> int:
    """Run these controllers until a signal comes; the exit status."""
    configure()
    try:
        asyncio.run(run(Settings.load(), registry.load(controllers)))
    except (SettingsError, LoginError) as error:
        log.critical(str(error))
        return 2
    return 0


async def run(settings: Settings, classes: Sequence[type[Controller[Any]]]) -> None:
    """The whole life of the operator.

    Raises:
        LoginError: there is no way to the API server.
    """
    way = login()
    metrics = Metrics()
    async with way.session() as session, aiohttp.ClientSession() as http:
        client = Client(session, way.server, metrics)
        services = Services(
            settings=settings,
            clock=utc_now,
            api=client,
            http=http,
            objects=Objects(settings.store),
            metrics=metrics.registry,
        )
        controllers = [controller(services) for controller in classes]
        kinds = kinds_of(classes)
        runtime = Runtime(
            settings=settings,
            client=client,
            metrics=metrics,
            clock=utc_now,
            controllers=controllers,
            kinds=kinds,
            identity=_identity(),
        )
        port = await runtime.health.serve(settings.health_port)
        log.info("answering", extra={"port": port})
        await _kinds_served(client, {kind.PLURAL for kind in kinds})
        await runtime.start()
        try:
            await host(runtime.own_stores, way, namespaces=settings.namespaces, stop=asyncio.Event())
        finally:
            await runtime.stop()


async def _kinds_served(client: Client, plurals: set[str]) -> None:
    """Wait until the API server knows our kinds: kopf, told not to scan, would not notice later."""
    said = ""
    while True:
        try:
            missing = plurals - await client.served(API_VERSION)
            sentence = f"install the CRDs: {', '.join(sorted(missing))}" if missing else ""
        except (ApiError, UnavailableError) as error:
            sentence = str(error)
        if not sentence:
            return
        if sentence != said:
            log.warning("waiting for the API server", extra={"why": sentence})
            said = sentence
        await asyncio.sleep(2.0)


def _identity() -> str:
    """The pod's name, made unique: a restarted container must not renew its dead self's Lease."""
    name = os.environ.get("POD_NAME") or socket.gethostname()
    return f"{name}_{uuid.uuid4().hex[:8]}"


if __name__ == "__main__":
    sys.exit(main())
