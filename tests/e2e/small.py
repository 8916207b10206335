"""Small objects: one line of Python trains, in little room."""

from typing import Any

from tests.e2e.story.__main__ import local_kubeconfig
from tests.e2e.story.kube import Json, Kube

IMAGE = "ghcr.io/gyre-dev/census-train:0.1.0"
OUT = "import os, pathlib; out = pathlib.Path(os.environ['GYRE_OUTPUT']); "
# The smallest graph that serves: what comes in goes out.
GRAPH = OUT + (
    "import onnx; from onnx import helper as h; value = lambda name: h.make_tensor_value_info(name, 1, [None, 1]); "
    "graph = h.make_graph([h.make_node('Identity', ['input'], ['label'])], 'g', [value('input')], [value('label')]); "
    "onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid('', 13)], ir_version=8), out / 'model.onnx')"
)


def kube(namespace: str) -> Kube:
    """The cluster, in this namespace."""
    return Kube(local_kubeconfig(), namespace)


def thing(kind: str, name: str, spec: Json) -> Json:
    """An object of Gyre's."""
    return {"apiVersion": "gyre.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def template(script: str = "pass", **spec: Any) -> Json:
    """How to train: a line of Python, once, in little room."""
    small = {"requests": {"cpu": "50m"}, "limits": {"memory": "192Mi"}}
    return {
        "image": IMAGE,
        "command": ["python3", "-c", script],
        "resources": small,
        "retry": {"limit": 0},
        **spec,
    }


def job(name: str, script: str = "pass", **spec: Any) -> Json:
    """A TrainingJob."""
    return thing("TrainingJob", name, {"model": name, **template(script, **spec)})


def model(name: str, **spec: Any) -> Json:
    """A Model whose versions come from jobs applied by hand."""
    contract = {"key": "id", "label": {"column": "label"}, "features": ["x"]}
    return thing("Model", name, {"contract": contract, "gates": [], **spec})
