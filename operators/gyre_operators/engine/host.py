"""kopf as host: process life, signals, login, and the watch of our own kinds. It writes nothing."""

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import kopf

from gyre_operators.engine.echo import without_echo
from gyre_operators.engine.login import Login
from gyre_operators.engine.plan import Key
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.store import Store

log = logging.getLogger(__name__)

_PAGE = 100
"""Objects that kopf lists at once; it keeps a page as dictionaries until its workers have seen it."""
_LINGER = 1.0
"""Seconds that kopf keeps a task for an object that has no news. At its default, 5, a re-list has one for each."""


class _Endless(Iterable[float]):
    """Backoffs that never run out: by default kopf ends the process when they do."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((1, 1, 2, 3, 5, 8, 13, 21), itertools.repeat(30))


class _NoProgress(kopf.ProgressStorage):
    """Handlers of events have no progress; the default copies each object to find that out."""

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """Nothing is stored."""

    def purge(self, **_: Any) -> None:
        """Nothing is there to purge."""

    def touch(self, **_: Any) -> None:
        """No object is ever touched."""

    def clear(self, *, essence: Any) -> Any:
        """Nothing of ours is in it."""
        return essence


class _NoDiff(kopf.DiffBaseStorage):
    """Nobody asks what changed since the last handling: plans look at what is."""

    def build(self, **_: Any) -> Any:
        """No essence is kept."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Nothing was stored."""

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


def quiet_settings() -> kopf.OperatorSettings:
    """The settings under which kopf only watches."""
    settings = kopf.OperatorSettings()
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDiff()
    # Another kopf operator removes finalizers of kopf's default name from objects it sees.
    settings.persistence.finalizer = "gyre.dev/kopf"
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.networking.error_backoffs = _Endless()
    settings.watching.inactivity_timeout = 70
    settings.watching.server_timeout = 570
    settings.watching.chunk_size = _PAGE
    settings.queueing.idle_timeout = _LINGER
    settings.queueing.worker_limit = None
    return settings


def registry_for(stores: Sequence[Store[Any]], login: Login) -> kopf.OperatorRegistry:
    """Handlers that put every event of a kind into its store, and the login that we share."""
    registry = kopf.OperatorRegistry()

    async def authenticate(**_: Any) -> kopf.AiohttpSession:
        session = login.session(without_echo(stores))
        return kopf.AiohttpSession(server=login.server, aiohttp_session=session)

    kopf.on.login(registry=registry)(authenticate)
    for store in stores:
        kind = store.source.kind
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(_feed(store))
    return registry


def _feed(store: Store[Any]) -> Any:
    async def on_event(event: Any, **_: Any) -> None:
        body = event["object"]
        version = int(body["metadata"]["resourceVersion"])
        entry = store.entry(_key(body))
        if event["type"] == "DELETED":
            gone = entry_of(store.source, body)
            store.remove(gone.key, gone.version)
        elif entry is None or version > entry.version:
            # Parsing costs the most, and after a re-list nearly all is known already.
            store.upsert(entry_of(store.source, body, entry))

    return on_event


def _key(body: Any) -> Key:
    return Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])


async def host(
    stores: Sequence[Store[Any]],
    login: Login,
    *,
    namespaces: Sequence[str],
    stop: asyncio.Event,
) -> None:
    """Run kopf until `stop` is set or a signal comes.

    Should it fail all the same, it is begun anew: what it brings late, the sweep finds meanwhile,
    and a restart of the whole process would cost the leadership and every store.
    """
    # kopf logs each event it hands over; its own failures still come through.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for pause in _Endless():
        try:
            await kopf.operator(
                registry=registry_for(stores, login),
                settings=quiet_settings(),
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                # By default kopf asks for the user's name, which a container's user has not got.
                identity=cast("Any", "gyre"),
                stop_flag=stop,
            )
        except Exception:
            log.exception("kopf failed and is begun anew", extra={"in_seconds": pause})
            await asyncio.sleep(pause)
        else:
            return
