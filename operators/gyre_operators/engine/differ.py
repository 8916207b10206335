"""Whether a live object already is what a manifest wants, so that nothing is written at rest."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gyre_crds.base import GROUP, amount
from gyre_operators.engine.plan import Manifest

APPLIED = f"{GROUP}/applied"
"""Annotation with the digest of what was last applied. A field that left the manifest shows in no
comparison with the live object; the digest tells, also after a restart."""

_MERGE_KEYS = ("name", "containerPort", "port", "mountPath", "uid", "ip", "topologyKey", "type")


def digest(value: Any) -> str:
    """Sixteen hex digits that change when the JSON value does."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(data).hexdigest()[:16]


def stamped(manifest: Manifest) -> dict[str, Any]:
    """The manifest with the digest of itself; one with a uid changes only parts and gets none."""
    meta = manifest["metadata"]
    if "uid" in meta:
        return dict(manifest)
    annotations = {**meta.get("annotations", {}), APPLIED: digest(manifest)}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def covers(live: Any, wanted: Any) -> bool:
    """Whether `live` has all that `wanted` asks for; what the server added does not count.

    Empty values match absent ones, quantities match by amount (`1000m` is `1`), and lists of
    objects match item by item by their natural key.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return not wanted and live is None
        return all(covers(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _covers_list(live, wanted)
    return _same(live, wanted)


def _covers_list(live: Any, wanted: Sequence[Any]) -> bool:
    if not wanted:
        return not live
    if not isinstance(live, Sequence) or isinstance(live, str):
        return False
    key = _merge_key(wanted)
    if key is None:
        return len(live) == len(wanted) and all(map(covers, live, wanted))
    found = {item.get(key): item for item in live if isinstance(item, Mapping)}
    return all(item[key] in found and covers(found[item[key]], item) for item in wanted)


def _merge_key(items: Sequence[Any]) -> str | None:
    if not all(isinstance(item, Mapping) for item in items):
        return None
    for key in _MERGE_KEYS:
        values = [item.get(key) for item in items]
        if None not in values and len(set(map(str, values))) == len(values):
            return key
    return None


def _same(live: Any, wanted: Any) -> bool:
    if live == wanted:
        return True
    if live is None:
        # The server leaves zero values out; None in a manifest means "not said".
        return not wanted
    if isinstance(live, int | str) and isinstance(wanted, int | str):
        return _quantity(live) is not None and _quantity(live) == _quantity(wanted)
    return False


def _quantity(value: int | str) -> float | None:
    try:
        return amount(value)
    except (KeyError, ValueError):
        return None


def settled_digest(live: Manifest) -> str:
    """A digest of all that a spec writer could have changed on a live object."""
    meta = live["metadata"]
    kept = {name: meta.get(name) for name in ("uid", "labels", "annotations", "ownerReferences")}
    rest = {k: v for k, v in live.items() if k not in ("metadata", "status")}
    return digest([kept, rest])
