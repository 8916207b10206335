"""The V1 protocol (`{"instances": [...]}` -> `{"predictions": [...]}`) over a V2 model."""

from typing import Any

import orjson

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.router.message import Refusal


def to_v2(document: Any, signature: Signature | None) -> dict[str, Any]:
    """The V2 request of a V1 request.

    Instances are rows: a list of values (one input tensor), an object of columns or of inputs, or
    a bare value (one input with one value a row).

    Raises:
        Refusal: 400 naming the instance and what is missing; 501 without a signature.
    """
    if signature is None:
        raise Refusal(501, "this version has no signature, which V1 needs to name its inputs; ask over /v2")
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise Refusal(400, '"instances": give a list with one entry a row')
    return {"inputs": [_tensor(tensor, instances, only=len(signature.inputs) == 1) for tensor in signature.inputs]}


def _tensor(tensor: Tensor, instances: list[Any], *, only: bool) -> dict[str, Any]:
    data = [_row(tensor, index, instance, only=only) for index, instance in enumerate(instances)]
    shape = [len(instances), *_inner(tensor, data)]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}


def _row(tensor: Tensor, index: int, instance: Any, *, only: bool) -> Any:
    if isinstance(instance, dict):
        if tensor.name in instance:
            return instance[tensor.name]
        missing = [column for column in tensor.columns if column not in instance]
        if missing or not tensor.columns:
            raise Refusal(400, f"instances[{index}]: {', '.join(missing) or tensor.name} is missing")
        return [instance[column] for column in tensor.columns]
    if not only:
        raise Refusal(400, f"instances[{index}]: the model has several inputs; give an object with their names")
    return instance


def _inner(tensor: Tensor, data: list[Any]) -> list[int]:
    """Sizes behind the batch: of the first row where the signature leaves them free."""
    sizes, row = [], data[0]
    for _ in tensor.shape[1:]:
        sizes.append(len(row) if isinstance(row, list) else 1)
        row = row[0] if isinstance(row, list) and row else row
    return sizes


def to_v1(status: int, body: bytes, signature: Signature) -> tuple[int, bytes]:
    """The V1 answer of a V2 answer; errors pass unchanged."""
    if status != 200:  # noqa: PLR2004  only an answer of the model is translated
        return status, body
    try:
        outputs = {output["name"]: _rows(output) for output in orjson.loads(body)["outputs"]}
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        return 502, orjson.dumps({"error": f"the model's answer is no V2 document: {error!r:.200}"})
    prediction = signature.prediction
    if prediction is not None and prediction.output in outputs:
        return status, orjson.dumps({"predictions": outputs[prediction.output]})
    if len(outputs) == 1:
        return status, orjson.dumps({"predictions": next(iter(outputs.values()))})
    if len({len(one) for one in outputs.values()}) > 1:
        return 502, orjson.dumps({"error": "the model's outputs differ in their rows; ask over /v2"})
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return status, orjson.dumps({"predictions": rows})


def _rows(output: dict[str, Any]) -> list[Any]:
    """One entry a row: a value, or a list of the values behind the batch."""
    data, shape = output["data"], output["shape"]
    rows = shape[0] if shape else 1
    if data and isinstance(data[0], list):
        return list(data)
    width = len(data) // rows if rows else 0
    if width * rows != len(data):
        raise ValueError(f"output {output['name']} does not fill its shape")
    if len(shape) <= 1:
        return list(data)
    if width == 1:
        return list(data)
    return [data[start : start + width] for start in range(0, len(data), width)]
