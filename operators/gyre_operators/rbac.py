"""`python -m gyre_operators.rbac write|check`: the rights that the operator needs, and no others.

Everything follows from what the controllers declare. The chart's file has three lists of rules:
`cluster` (cluster-scoped kinds, always a ClusterRole), `workload` (in each namespace that Gyre
works in: a ClusterRole, or a Role per namespace) and `system` (a Role in the operator's own
namespace).
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gyre_operators import registry
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.kinds import EVENT, LEASE, gyre
from gyre_operators.engine.kinds import Kind as _Kind

FILE = Path("charts/gyre/files/rbac.yaml")
_HEADER = "# Generated from what the controllers declare by `make generate`. Do not edit.\n"
_READ = ("get", "list", "watch")


class _Right(NamedTuple):
    kind: _Kind
    verbs: tuple[str, ...]
    subresource: str = ""
    names: tuple[str, ...] = ()


def rights(controllers: Sequence[type[Controller[Any]]]) -> list[_Right]:
    """All rights in workload namespaces and on cluster-scoped kinds, as declared."""
    found = [_Right(EVENT, ("create", "get", "patch"))]
    for controller in controllers:
        if controller.kind is not None:
            own = gyre(controller.kind)
            found += [_Right(own, _READ), _Right(own, ("patch",), "status")]
        found += [_Right(watch.kind, _READ) for watch in controller.children]
        found += [_Right(*grant) for grant in controller.grants]
    return found


def rules(rights: Iterable[_Right]) -> list[dict[str, Any]]:
    """RBAC rules: one per group and set of verbs, sorted, so that the same rights print the same."""
    verbs: dict[tuple[str, str, tuple[str, ...]], set[str]] = defaultdict(set)
    for right in rights:
        resource = right.kind.plural + (f"/{right.subresource}" if right.subresource else "")
        verbs[right.kind.group, resource, right.names] |= set(right.verbs)
    grouped: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource, names), wanted in verbs.items():
        grouped[group, names, tuple(sorted(wanted))].append(resource)
    return [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": list(wanted)}
        | ({"resourceNames": list(names)} if names else {})
        for (group, names, wanted), resources in sorted(grouped.items())
    ]


def document(controllers: Sequence[type[Controller[Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The three lists of rules."""
    wanted = rights(controllers)
    return {
        "cluster": rules(right for right in wanted if not right.kind.namespaced),
        "workload": rules(right for right in wanted if right.kind.namespaced),
        "system": rules([_Right(LEASE, ("create", "get", "update"))]),
    }


def main() -> int:
    """Write the chart's file, or say that it is stale."""
    if sys.argv[1:] not in (["write"], ["check"]):
        sys.stderr.write("usage: python -m gyre_operators.rbac write|check (from the repository's root)\n")
        return 2
    text = _HEADER + yaml.safe_dump(document(registry.load()), sort_keys=False)
    stale = not FILE.exists() or FILE.read_text() != text
    if sys.argv[1] == "write":
        FILE.write_text(text)
        return 0
    if stale:
        sys.stderr.write(f"{FILE} is not what the controllers declare: run `make generate`\n")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
