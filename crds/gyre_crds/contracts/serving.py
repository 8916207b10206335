"""Serving pod: how a version gets into it and how it proves that it answers.

Pod of a revision::

    init fetch     serving image  `gyre-serving fetch`   env GYRE_FETCH, store
    server         triton image (tritonserver, 8000) or serving image (`gyre-serving serve`)
    agent          serving image  `gyre-serving agent`   only beside Triton: loads the version, answers golden rows

Readiness of a revision is HTTP GET `/readyz` on AGENT_PORT (Triton) or on the server's own port
8000 (`Python`): 200 only after the golden rows came out as recorded. A version that cannot be fetched,
does not verify or does not load ends its container with `attempt.FailureReport` as termination message.
"""

from typing import Literal

from gyre_crds.base import ApiModel, Digest
from gyre_crds.v1alpha1.triton import TritonOptions

ENV = "GYRE_FETCH"
SERVER_PORT = 8000
AGENT_PORT = 8090
MODEL_ROOT = "/models"
"""emptyDir shared by the pod: /models/tree is the verified tree, /models/repository Triton's repository."""


class FetchOrder(ApiModel):
    """What the pod serves."""

    uri: str
    """The version's tree."""
    digest: Digest
    name: str
    """The model's name upstream: the InferenceService's name."""
    version: str
    """ModelVersion's name."""
    runtime: Literal["Triton", "Python"]
    format: Literal["ONNX", "MLflow", "Python"] = "ONNX"
    options: TritonOptions | None = None
    """spec.runtime.options of the service."""
    max_batch: int = 64
    max_delay_ms: float = 2.0
