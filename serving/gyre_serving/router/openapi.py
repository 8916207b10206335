"""OpenAPI paths of the services that the table names, from their versions' signatures."""

from math import prod
from typing import Any

from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.router.service import Service

_EXAMPLES = {"FP": 0.0, "IN": 0, "UI": 0, "BO": False, "BY": "text"}


def paths(services: list[Service]) -> dict[str, Any]:
    """The paths of a service that ask its model, with the schema and an example of its inputs."""
    infer = {f"/v2/models/{service.name}/infer": {"post": _operation(service)} for service in services}
    return infer | {f"/v2/models/{service.name}/batch": {"post": _batch(service)} for service in services}


def _batch(service: Service) -> dict[str, Any]:
    rule = service.route.batch
    operation = _operation(service)
    operation["summary"] = f"Ask the InferenceService {service.name} about up to {rule.max_rows} rows"
    operation["description"] = (
        f"The same body with more rows. They are cut into requests of {rule.rows} rows to one version, "
        f"{rule.concurrency} at once, and answered in their order. A row that fails does not fail the others: its "
        "outputs are null, and `errors` names it. `parts` has the request ids under which the rows are logged, and "
        "feedback ids: the label of row r goes to `<feedback_id>#<r - first>`."
    )
    properties = {
        "outputs": {"type": "array"},
        "rows": {"type": "integer"},
        "errors": {"type": "array", "items": _object(row="integer", status="integer", error="string")},
        "parts": {
            "type": "array",
            "items": _object(first="integer", rows="integer", id="string", feedback_id="string"),
        },
    }
    answered = "The rows' answers; at least one row has one. Without any, the first row's status and `error`"
    operation["responses"]["200"] = {
        "description": answered,
        "content": _json({"type": "object", "properties": properties}),
    }
    operation["responses"]["413"] = {"description": f"More than {rule.max_rows} rows, or too large a body"}
    return operation


def _object(**types: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in types.items()}}


def _operation(service: Service) -> dict[str, Any]:
    signature = service.signature() if service.is_open() else None
    operation: dict[str, Any] = {
        "summary": f"Ask the InferenceService {service.name}",
        "tags": ["models"],
        "responses": {
            "200": {"description": "The model's answer", "content": _json({"type": "object"})},
            "400": {"description": "The request does not fit; the sentence names the input"},
            "503": {"description": "No room or no version now; come back after Retry-After seconds"},
            "504": {"description": f"No answer within {service.route.limits.timeout_seconds:g} s"},
        },
    }
    if not service.is_open():
        operation["description"] = f"Its inputs are told to whoever may ask: GET /v2/models/{service.name}"
        operation["responses"]["401"] = {"description": "Send `authorization: Bearer <token>`, or show a certificate"}
        operation["responses"]["403"] = {"description": "Known, but not among those who may ask"}
    if service.clients is not None:
        too_often = "This client asked too often; come back after Retry-After seconds"
        operation["responses"]["429"] = {"description": too_often}
    if signature is None:
        operation["requestBody"] = {"content": _json({"type": "object"})}
        return operation
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {
                "type": "array",
                "minItems": len(signature.inputs),
                "items": {"oneOf": [_schema(tensor) for tensor in signature.inputs]},
            },
            "parameters": {
                "type": "object",
                "properties": {"keys": {"type": "array", "description": "One business key a row"}},
            },
        },
    }
    operation["requestBody"] = {"required": True, "content": _json(schema, example(signature))}
    return operation


def example(signature: Signature, most: int | None = None) -> dict[str, Any]:
    """A request of one row; inputs of more than `most` values show only their shape."""
    return {"inputs": [_example(tensor, most) for tensor in signature.inputs]}


def _json(schema: dict[str, Any], shown: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"application/json": {"schema": schema} | ({"example": shown} if shown else {})}


def _schema(tensor: Tensor) -> dict[str, Any]:
    columns = f" Columns: {', '.join(tensor.columns)}." if tensor.columns else ""
    return {
        "type": "object",
        "title": tensor.name,
        "required": ["name", "datatype", "shape", "data"],
        "description": f"{tensor.datatype} {tensor.shape}.{columns}",
        "properties": {
            "name": {"const": tensor.name},
            "datatype": {"const": tensor.datatype},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": {"enum": tensor.categories}} if tensor.categories else {"type": "array"},
        },
    }


def _example(tensor: Tensor, most: int | None) -> dict[str, Any]:
    shape = [1 if size < 0 else size for size in tensor.shape]
    count = prod(shape)
    value = tensor.categories[0] if tensor.categories else _EXAMPLES[tensor.datatype[:2]]
    data = [value] * count if most is None or count <= most else [value, f"... {count} values"]
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}
