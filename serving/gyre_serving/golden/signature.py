"""The signature of a version: the one that travels with it, or what its ONNX file says of itself."""

from pathlib import Path
from typing import Any

from gyre_crds.contracts.artifact import ONNX, SIGNATURE
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure, one_line
from gyre_serving.pod.order import signature

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


def of_version(tree: Path) -> Signature:
    """What the version takes and gives.

    Raises:
        Failure: it carries no signature and no ONNX file that says it.
    """
    carried = signature(tree)
    if carried is not None:
        return carried
    if not (tree / ONNX).is_file():
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"the version has neither {SIGNATURE} nor {ONNX}; publish it with a signature",
        )
    return of_onnx(tree / ONNX)


def of_onnx(path: Path) -> Signature:
    """The signature that an ONNX file declares.

    Raises:
        Failure: onnxruntime refuses the file, or it has an input or output that is no tensor.
    """
    from gyre_serving.pod import ort  # noqa: PLC0415  only a version without a signature pays the import

    try:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base of their own
        raise Failure(Inference.MODEL_DOES_NOT_LOAD, f"onnxruntime refuses {path.name}: {one_line(error)}") from error
    return Signature.model_validate(
        {
            "inputs": [_tensor(node) for node in session.get_inputs()],
            "outputs": [_tensor(node) for node in session.get_outputs()],
        }
    )


def _tensor(node: Any) -> dict[str, Any]:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"{node.name} of {ONNX} has type {node.type}; export the model with tensors only (skl2onnx: zipmap=False)",
        )
    # Free dimensions come as None or as a name.
    return {"name": node.name, "datatype": datatype, "shape": [d if isinstance(d, int) else -1 for d in node.shape]}
