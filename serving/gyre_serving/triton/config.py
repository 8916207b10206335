"""config.pbtxt of a version: shapes, batching, instances, version policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.v1alpha1.triton import TritonOptions
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.triton.pbtxt import Enum, dumps
from gyre_serving.triton.scheduling import chain, instance_group, scheduler

LARGEST_REQUEST = 65536
"""Rows that one request may bring. Triton refuses requests above max_batch_size, while `max_batch` of the
order is what is worth computing at once: it becomes the batcher's preferred size, and the shim computes
larger requests in pieces of it."""


@dataclass(frozen=True)
class Options:
    """What does not follow from the version."""

    environment: str | None = None
    """Directory of the Python environment (EXECUTION_ENV_PATH); None where its `bin` is first on PATH."""
    graph: str = "model.onnx"
    """The file that answers."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """Datatypes of the inputs that Triton fills, by name."""


def config(order: FetchOrder, signature: Signature, options: Options, versions: list[int]) -> str:
    """The text of config.pbtxt.

    Args:
        order: name and batching.
        signature: tensors; the first dimension is the batch.
        options: instances and environment.
        versions: version numbers that are served side by side.
    """
    batched = batchable(signature)
    asked = order.options or TritonOptions()
    message: dict[str, Any] = {
        "name": order.name,
        "backend": "python",
        "max_batch_size": _largest(order, asked) if batched else 0,
        "input": [_tensor(tensor, batched=batched) for tensor in signature.inputs],
        "output": [_tensor(tensor, batched=batched) for tensor in signature.outputs],
        "version_policy": {"specific": {"versions": versions}},
        "instance_group": [instance_group(asked)],
        "parameters": _parameters(order, asked, options),
    }
    return dumps(message | scheduler(order, asked, options.controls, joins=batched))


def ensemble(order: FetchOrder, signature: Signature, versions: list[int]) -> str:
    """The text of config.pbtxt of a chain of graphs; it has the name and the tensors that clients know."""
    batched = batchable(signature)
    message: dict[str, Any] = {
        "name": order.name,
        "platform": "ensemble",
        "max_batch_size": LARGEST_REQUEST if batched else 0,
        "input": [_tensor(tensor, batched=batched) for tensor in signature.inputs],
        "output": [_tensor(tensor, batched=batched) for tensor in signature.outputs],
        "version_policy": {"specific": {"versions": versions}},
    }
    steps = order.options.ensemble if order.options is not None else []
    return dumps(message | chain(order.name, versions[-1], steps))


def _largest(order: FetchOrder, asked: TritonOptions) -> int:
    # Sequences come row by row, and Triton keeps a slot for each row of the largest batch.
    return LARGEST_REQUEST if asked.sequence is None else order.max_batch


def batchable(signature: Signature) -> bool:
    """Whether Triton may join requests: every tensor has a free first dimension, every input another one.

    Triton cannot say "a batch of scalars" for an input: such a model is served without joining.
    """
    tensors = [*signature.inputs, *signature.outputs]
    return all(t.shape and t.shape[0] == -1 for t in tensors) and all(len(t.shape) > 1 for t in signature.inputs)


def _tensor(tensor: Tensor, *, batched: bool) -> dict[str, Any]:
    kind = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
    fields: dict[str, Any] = {"name": tensor.name, "data_type": Enum(kind)}
    dims = list(tensor.shape[1:] if batched else tensor.shape)
    # Triton has no word for "a batch of scalars". Declared as [1] an output passes as the shim gives it, in the
    # signature's own shape; the documented `reshape` would answer [rows, 1] instead.
    return fields | {"dims": dims or [1]}


def _parameters(order: FetchOrder, asked: TritonOptions, options: Options) -> list[dict[str, Any]]:
    values = {
        "max_batch": str(order.max_batch),
        "instances": str(asked.instances),
        "graph": options.graph,
        # The model's name upstream says nothing about the bytes; this does, in Triton's own config API.
        "gyre_version": order.version,
        "gyre_digest": order.digest,
    }
    if options.environment is not None:
        values["EXECUTION_ENV_PATH"] = options.environment
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]
