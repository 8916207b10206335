"""Strategic merge patches (`podTemplatePatch`), in the subset that pod templates need."""

from collections.abc import Mapping, Sequence
from typing import Any


def strategic_merge(base: Any, patch: Any) -> Any:
    """The patch merged into the base.

    Maps merge, a null removes, lists of objects with `name` (or `mountPath` ...) merge by it and
    drop what carries `$patch: delete`, all other lists are replaced.
    """
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = dict(base)
        for name, value in patch.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = strategic_merge(merged[name], value) if name in merged else value
        return merged
    if isinstance(base, list) and isinstance(patch, list):
        return _merge_lists(base, patch)
    return patch


def _merge_lists(base: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    key = _merge_key(base, patch)
    if key is None:
        return list(patch)
    merged = {item[key]: item for item in base}
    for item in patch:
        name = item[key]
        if item.get("$patch") == "delete":
            merged.pop(name, None)
        else:
            merged[name] = strategic_merge(merged[name], item) if name in merged else item
    return list(merged.values())


def _merge_key(base: Sequence[Any], patch: Sequence[Any]) -> str | None:
    items = [*base, *patch]
    for key in ("mountPath", "devicePath", "containerPort", "name", "ip", "topologyKey"):
        if items and all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None
