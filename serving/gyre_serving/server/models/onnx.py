"""ONNX by onnxruntime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gyre_crds.contracts.artifact import ONNX
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod import ort
from gyre_serving.pod.failure import Failure, one_line

Array = NDArray[Any]


class OnnxModel:
    """One onnxruntime session; `run` is safe from several threads."""

    def __init__(self, session: Any, outputs: list[str], strings: set[str]) -> None:
        self._session = session
        self._outputs = outputs
        self._strings = strings

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        feed = {name: _decoded(values) if name in self._strings else values for name, values in inputs.items()}
        results = self._session.run(self._outputs, feed)
        return {name: np.asarray(result) for name, result in zip(self._outputs, results, strict=True)}


def load(tree: Path, signature: Signature, threads: int) -> OnnxModel:
    """Load model.onnx of the tree.

    Raises:
        Failure: onnxruntime refuses it, or it lacks an input or output of the signature.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin take the CPU of the other containers and win nothing at these sizes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(str(tree / ONNX), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise Failure(Inference.MODEL_DOES_NOT_LOAD, f"onnxruntime refuses {ONNX}: {one_line(error)}") from error
    _check(session, signature)
    strings = {node.name for node in session.get_inputs() if node.type == "tensor(string)"}
    return OnnxModel(session, [tensor.name for tensor in signature.outputs], strings)


def _check(session: Any, signature: Signature) -> None:
    sides = (
        ("input", session.get_inputs(), signature.inputs),
        ("output", session.get_outputs(), signature.outputs),
    )
    for side, nodes, tensors in sides:
        have, wanted = {node.name for node in nodes}, {tensor.name for tensor in tensors}
        lacking = wanted - have if side == "output" else wanted ^ have
        if lacking:
            raise Failure(
                Inference.MODEL_DOES_NOT_LOAD,
                f"{side} {min(lacking)} is not in both {ONNX} ({', '.join(sorted(have))}) "
                f"and the signature ({', '.join(sorted(wanted))}); publish them together",
            )


def _decoded(values: Array) -> Array:
    """Onnxruntime wants str where the protocol has bytes."""
    texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values.ravel()]
    return np.array(texts, dtype=object).reshape(values.shape)
