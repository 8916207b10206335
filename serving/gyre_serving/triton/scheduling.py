"""spec.runtime.options as fields of config.pbtxt."""

from collections.abc import Mapping
from typing import Any

from gyre_crds.base import seconds
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.v1alpha1.triton import Control, EnsembleStep, Queue, Sequence, TritonOptions
from gyre_serving.triton.pbtxt import Enum

_ACTIONS = {"Reject": "REJECT", "Delay": "DELAY"}
_KINDS = {
    "Start": "CONTROL_SEQUENCE_START",
    "End": "CONTROL_SEQUENCE_END",
    "Ready": "CONTROL_SEQUENCE_READY",
    "CorrelationId": "CONTROL_SEQUENCE_CORRID",
}
_TRUTH: Mapping[str, tuple[str, list[Any]]] = {
    "FP32": ("fp32_false_true", [0, 1]),
    "INT32": ("int32_false_true", [0, 1]),
    "BOOL": ("bool_false_true", [False, True]),
}
"""Types that Triton can fill with yes or no."""
CONTROL_TYPES = tuple(_TRUTH)


def instance_group(options: TritonOptions) -> dict[str, Any]:
    """Copies of the model, and what a run of one takes."""
    group: dict[str, Any] = {"count": options.instances, "kind": Enum("KIND_CPU")}
    if options.rate_limit:
        resources = [{"name": one.name, "count": one.count} for one in options.rate_limit]
        group["rate_limiter"] = {"resources": resources}
    return group


def scheduler(order: FetchOrder, options: TritonOptions, controls: Mapping[str, str], *, joins: bool) -> dict[str, Any]:
    """How requests find an instance.

    Args:
        order: what is worth computing at once, and how long to wait for it.
        options: what the user asks for besides.
        controls: datatypes of the inputs that Triton fills.
        joins: whether requests may be joined at all.
    """
    if options.sequence is not None:
        return {"sequence_batching": _sequence(options.sequence, controls, order)}
    queued = options.queue is not None or options.priorities is not None
    message: dict[str, Any] = {}
    if joins and (order.max_batch > 1 or queued):
        batching: dict[str, Any] = {
            "preferred_batch_size": [order.max_batch],
            "max_queue_delay_microseconds": round(order.max_delay_ms * 1000),
        }
        if options.priorities is not None:
            batching |= {
                "priority_levels": options.priorities.levels,
                "default_priority_level": options.priorities.default,
            }
        if options.queue is not None:
            batching["default_queue_policy"] = _queue(options.queue)
        message["dynamic_batching"] = batching
    if options.response_cache is not None:
        message["response_cache"] = {"enable": True}
    return message


def chain(name: str, number: int, steps: list[EnsembleStep]) -> dict[str, Any]:
    """The graphs of a version one behind the other."""
    return {
        "ensemble_scheduling": {
            "step": [
                {
                    "model_name": step_name(name, step),
                    "model_version": number,
                    "input_map": _map(step.inputs),
                    "output_map": _map(step.outputs),
                }
                for step in steps
            ]
        }
    }


def step_name(name: str, step: EnsembleStep) -> str:
    """Triton's name of one graph of the chain."""
    return f"{name}-{step.file.removesuffix('.onnx')}"


def _map(names: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in names.items()]


def _queue(queue: Queue) -> dict[str, Any]:
    policy: dict[str, Any] = {"timeout_action": Enum(_ACTIONS[queue.on_timeout])}
    if queue.timeout is not None:
        policy["default_timeout_microseconds"] = round(seconds(queue.timeout) * 1e6)
    if queue.max_size is not None:
        policy["max_queue_size"] = queue.max_size
    return policy


def _sequence(sequence: Sequence, controls: Mapping[str, str], order: FetchOrder) -> dict[str, Any]:
    delay = round(order.max_delay_ms * 1000)
    strategy: dict[str, Any] = (
        {"direct": {"max_queue_delay_microseconds": delay}}
        if sequence.strategy == "Direct"
        else {
            "oldest": {
                "max_candidate_sequences": sequence.max_candidates,
                "preferred_batch_size": [min(order.max_batch, sequence.max_candidates)],
                "max_queue_delay_microseconds": delay,
            }
        }
    )
    return {
        **strategy,
        "max_sequence_idle_microseconds": round(seconds(sequence.max_idle) * 1e6),
        "control_input": [_control(control, controls[control.input]) for control in sequence.controls],
    }


def _control(control: Control, datatype: str) -> dict[str, Any]:
    said: dict[str, Any] = {"kind": Enum(_KINDS[control.kind])}
    if control.kind == "CorrelationId":
        said["data_type"] = Enum("TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}")
    else:
        field, values = _TRUTH[datatype]
        said[field] = values
    return {"name": control.input, "control": [said]}
