"""Evidently's JSON that other people's jobs drop in the store: each file becomes a report once.

What a look took over leaves a marker below its window's start. A marker of a window whose look never
became objects counts as nothing, so a Job that died after it loses no file.
"""

import hashlib
import json

from gyre_crds.contracts.store import stamp
from gyre_crds.contracts.task import Import, LookOrder
from gyre_monitoring import ingest
from gyre_monitoring.errors import InputError, StoreError
from gyre_monitoring.store import Entry, Store

MOST = 16
"""Files of one look; the others are taken by the next looks."""


def found(order: LookOrder, store: Store) -> list[Import]:
    """Files that came since the last look, oldest first; a place that cannot be listed is one entry with its problem.

    Raises:
        StoreError: the marker cannot be written.
    """
    source = order.spec.evidently
    if source is None or order.imports is None:
        return []
    try:
        taken = _taken(order, store)
        fresh = [one for one in store.entries(source.uri) if one.uri.endswith(".json") and _key(one) not in taken]
    except (InputError, StoreError) as error:
        return [Import(key=_digest(source.uri), uri=source.uri, problem=f"spec.evidently.uri: {error}")]
    made = [_import(one, order, store) for one in sorted(fresh, key=lambda one: (one.at, one.uri))[:MOST]]
    for one in made:
        marker = f"{order.imports.rstrip('/')}/{stamp(order.window_start)}/{one.key}.json"
        store.write(marker, json.dumps(one.dump()).encode())
    return made


def _taken(order: LookOrder, store: Store) -> set[str]:
    """Keys whose reports are objects by now."""
    if order.imported_until is None or order.imports is None:
        return set()
    last = stamp(order.imported_until)
    parts = [uri.removesuffix(".json").rsplit("/", 2)[-2:] for uri in store.list(order.imports)]
    return {key for window, key in parts if window <= last}


def _import(one: Entry, order: LookOrder, store: Store) -> Import:
    try:
        body = json.loads(store.read(one.uri))
        made = ingest.report(body, service=order.service, start=order.window_start, end=order.window_end)
    except (InputError, StoreError) as error:
        return Import(key=_key(one), uri=one.uri, problem=str(error))
    except ValueError as error:
        return Import(key=_key(one), uri=one.uri, problem=f"this is no JSON: {error}")
    return Import(key=_key(one), uri=one.uri, spec=made.spec)


def _key(one: Entry) -> str:
    return _digest(f"{one.uri}\n{one.version}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
