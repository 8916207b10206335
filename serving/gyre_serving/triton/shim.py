"""Triton's Python backend runs this file as model.py: it answers with onnxruntime.

It is copied into the model repository and imports only what Triton's Python environment has
(numpy < 2, onnxruntime); nothing of Gyre is there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it reports to its maker from its import on

import onnxruntime  # type: ignore[import-untyped]

Feed = dict[str, Any]


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX file beside this one; an exception here is what the repository API answers."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        here = Path(args["model_repository"]) / args["model_version"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpus(int(parameters["instances"]))
        options.inter_op_num_threads = 1
        # Idle threads that spin take the CPU of the other containers and win nothing at these sizes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            str(here / parameters["graph"]), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.strings = {node.name for node in self.session.get_inputs() if node.type == "tensor(string)"}
        self.max_batch = int(parameters["max_batch"])
        self.joins = config["max_batch_size"] > 0
        declared = {tensor["name"] for tensor in config["output"]}
        if not declared <= set(self.outputs):
            raise ValueError(
                f"{parameters['graph']} has outputs {self.outputs}, the signature wants {sorted(declared)}"
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests together where their inputs can be joined; a failure stays with its request."""
        feeds = [self._feed(request) for request in requests]
        joined = self._joined(feeds) if len(feeds) > 1 and self.joins else None
        if joined is not None:
            return joined
        return [self._one(feed) for feed in feeds]

    def _joined(self, feeds: list[Feed]) -> list[Any] | None:
        """All requests in one run, or None where that does not work: then each is answered alone."""
        counts = [len(feed[self.inputs[0]]) for feed in feeds]
        try:
            together = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
            results = self._run(together)
        except Exception:  # noqa: BLE001  whatever it is, each request finds out for itself
            return None
        if any(len(result) != sum(counts) for result in results):
            return None
        edges = np.cumsum(counts)[:-1]
        parts = zip(*(np.split(result, edges) for result in results), strict=True)
        return [self._response(part) for part in parts]

    def _one(self, feed: Feed) -> Any:
        try:
            return self._response(self._run(feed))
        except Exception as error:  # noqa: BLE001  onnxruntime's exceptions share no base of their own
            text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(error).__name__}: {text[:400]}"))

    def _feed(self, request: Any) -> Feed:
        feed = {}
        for name in self.inputs:
            values = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            if name in self.strings:
                values = np.array(
                    [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.ravel()],
                    dtype=object,
                ).reshape(values.shape)
            feed[name] = values
        return feed

    def _run(self, feed: Feed) -> list[Any]:
        rows = len(feed[self.inputs[0]])
        if not self.joins or rows <= self.max_batch:
            whole: list[Any] = self.session.run(self.outputs, feed)
            return whole
        pieces = [
            self.session.run(self.outputs, {name: values[at : at + self.max_batch] for name, values in feed.items()})
            for at in range(0, rows, self.max_batch)
        ]
        joined: list[Any] = [np.concatenate(piece) for piece in zip(*pieces, strict=True)]
        return joined

    def _response(self, results: Any) -> Any:
        tensors = [
            pb_utils.Tensor(name, np.asarray(result, dtype=object) if result.dtype.kind in "OU" else result)
            for name, result in zip(self.outputs, results, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def cpus(instances: int) -> int:
    """Threads for one of so many instances: the container's CPU limit, which affinity does not show."""
    limit = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        limit = min(limit, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2, or no limit ("max")
    return max(1, limit // instances)
