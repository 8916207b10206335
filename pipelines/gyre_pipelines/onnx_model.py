"""An ONNX graph as a function of rows, and its signature as the Open Inference Protocol says it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from gyre_crds.contracts import golden
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from gyre_pipelines.failure import Failure

_TYPES: dict[str, tuple[str, Any]] = {
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
    "tensor(float16)": ("FP16", np.float16),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int16)": ("INT16", np.int16),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(uint64)": ("UINT64", np.uint64),
    "tensor(uint32)": ("UINT32", np.uint32),
    "tensor(uint16)": ("UINT16", np.uint16),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(bool)": ("BOOL", np.bool_),
    "tensor(string)": ("BYTES", np.object_),
}
_NUMPY = dict(_TYPES.values())
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
_BATCH = 4096
_CURE = "leave a file that onnxruntime.InferenceSession opens in the training's own image"
_MATRIX = 2
_BINARY = 2


class RowsFailError(Exception):
    """The graph raised on these rows; the message is the runtime's."""


class OnnxModel:
    """A graph on the CPU, fed with columns.

    Raises:
        Failure: CannotLoad, with the runtime's sentence.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        # Gate pods are small; the default takes a thread for each core of the node, not of the pod.
        options.intra_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            first = str(error).splitlines()[0][:500]
            message = f"{path.name} does not load in onnxruntime: {first}; {_CURE}"
            raise Failure(Training.CANNOT_LOAD, message) from error

    def signature(self, features: Sequence[str]) -> Signature:
        """Inputs with the features' names on the last dimension where they fit, outputs, and the prediction."""
        inputs = [_tensor(node, "input") for node in self._session.get_inputs()]
        if len(inputs) == 1 and len(inputs[0].shape) == _MATRIX and inputs[0].shape[1] in {-1, len(features)}:
            named = inputs[0].model_copy(update={"columns": list(features), "shape": [-1, len(features) or -1]})
            inputs = [named]
        elif features and {tensor.name for tensor in inputs} != set(features):
            raise Failure(Training.CANNOT_LOAD, _misfit(inputs, features))
        outputs = [_tensor(node, "output") for node in self._session.get_outputs()]
        return Signature(inputs=inputs, outputs=outputs, prediction=_prediction(outputs))

    def predict(self, rows: golden.Rows, signature: Signature) -> golden.Predictions:
        """Labels and class scores of the rows, in their order; `classes` is not known to a graph.

        Raises:
            RowsFailError: the graph refuses some of them.
        """
        count = len(rows.values[0]) if rows.values else 0
        step = _BATCH if all(tensor.shape[:1] == [-1] for tensor in signature.inputs) else 1
        labels: list[Any] = []
        scores: list[list[float]] = []
        for start in range(0, count, step):
            one, several = self._run(rows, signature, start, min(count, start + step))
            labels += one
            scores += several
        return golden.Predictions(labels=labels, scores=scores)

    def _run(
        self, rows: golden.Rows, signature: Signature, start: int, end: int
    ) -> tuple[list[Any], list[list[float]]]:
        prediction = signature.prediction
        if prediction is None:
            raise RowsFailError("the signature names no prediction output")
        wanted = [prediction.output] + ([prediction.score] if prediction.score else [])
        try:
            found = self._session.run(wanted, _feed(rows, signature, start, end))
        except Exception as error:
            raise RowsFailError(str(error).splitlines()[0][:500]) from error
        labels = np.asarray(found[0]).reshape(end - start, -1)[:, 0].tolist()
        return labels, (np.asarray(found[1], dtype=np.float64).tolist() if prediction.score else [])


def failing_rows(model: OnnxModel, rows: golden.Rows, signature: Signature) -> list[int]:
    """Indices of the rows that the graph refuses when it gets them alone."""
    failing = []
    for index in range(len(rows.values[0]) if rows.values else 0):
        one = golden.Rows(columns=rows.columns, values=[[column[index]] for column in rows.values])
        try:
            model.predict(one, signature)
        except RowsFailError:
            failing.append(index)
    return failing


def _feed(rows: golden.Rows, signature: Signature, start: int, end: int) -> dict[str, Any]:
    by_name = dict(zip(rows.columns, rows.values, strict=True))
    if len(signature.inputs) == 1 and signature.inputs[0].columns:
        tensor = signature.inputs[0]
        matrix = [_column(by_name[name][start:end], tensor) for name in tensor.columns]
        return {tensor.name: np.stack(matrix, axis=1)}
    return {
        tensor.name: _column(by_name[tensor.name][start:end], tensor).reshape(-1, *([1] * (len(tensor.shape) - 1)))
        for tensor in signature.inputs
    }


def _column(values: Sequence[Any], tensor: Tensor) -> Any:
    kind = _NUMPY[tensor.datatype]
    if tensor.datatype in _FLOATS:
        return np.array([np.nan if value is None else value for value in values], dtype=kind)
    if any(value is None for value in values):
        raise RowsFailError(f"input {tensor.name!r} is {tensor.datatype}, which has no missing value")
    return np.array([str(value) for value in values] if tensor.datatype == "BYTES" else values, dtype=kind)


def _tensor(node: Any, what: str) -> Tensor:
    if node.type not in _TYPES:
        raise Failure(
            Training.CANNOT_LOAD,
            f"model.onnx: {what} {node.name!r} is {node.type}, which no serving runtime takes; export plain tensors "
            "(skl2onnx: options={'zipmap': False})",
        )
    shape = [size if isinstance(size, int) and size > 0 else -1 for size in node.shape]
    return Tensor(name=node.name, datatype=_TYPES[node.type][0], shape=shape)


def _misfit(inputs: Sequence[Tensor], features: Sequence[str]) -> str:
    told = ", ".join(f"{tensor.name} {tensor.shape}" for tensor in inputs[:5])
    return (
        f"model.onnx takes {told}, the contract has {len(features)} features ({', '.join(features[:5])}...); "
        "export one input of that width, or one input for each feature by its name"
    )


def _prediction(outputs: Sequence[Tensor]) -> Prediction | None:
    """A label output beside a matrix of scores is a classifier; one number a row is a regression; else unknown."""
    matrices = [tensor for tensor in outputs if tensor.datatype in _FLOATS and len(tensor.shape) == _MATRIX]
    scores = [tensor for tensor in matrices if tensor.shape[1] != 1]
    singles = [tensor for tensor in outputs if len(tensor.shape) == 1 or tensor.shape[1:] == [1]]
    labels = [tensor for tensor in singles if tensor.datatype not in _FLOATS]
    if labels:
        score = scores[0] if len(scores) == 1 else None
        positive = 1 if score is not None and score.shape[1] in {-1, _BINARY} else None
        return Prediction(
            output=labels[0].name, score=score.name if score else None, positive=positive, task="Classification"
        )
    if len(singles) == 1 and not scores:
        return Prediction(output=singles[0].name, task="Regression")
    return None
