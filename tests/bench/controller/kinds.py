"""The peer's own kind, as loose as a tutorial's."""

from typing import Any

from gyre_operators.engine.kinds import Kind

NAIVE = Kind("bench.gyre.dev", "v1", "NaiveTraining", "naivetrainings")
_LOOSE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
NAIVE_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{NAIVE.plural}.{NAIVE.group}"},
    "spec": {
        "group": NAIVE.group,
        "scope": "Namespaced",
        "names": {"kind": NAIVE.kind, "plural": NAIVE.plural, "singular": "naivetraining"},
        "versions": [
            {
                "name": NAIVE.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _LOOSE, "status": _LOOSE}}},
            }
        ],
    },
}
