"""Triton as the agent needs it: liveness, the repository API, inference."""

import secrets
from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from tritonclient.http.aio import InferenceServerClient, InferInput  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.pod.failure import Failure, one_line

Array = NDArray[Any]

ADMIN_HEADER = "gyre-admin"
"""Request header whose value opens Triton's administrative APIs."""
_AWAY = (OSError, TimeoutError)


class Away(Exception):  # noqa: N818  a state of the world
    """Triton does not answer."""


class Server(Protocol):
    """What the agent asks of the server beside it."""

    async def live(self) -> bool:
        """Whether the server answers at all."""

    async def loaded(self, name: str, version: str) -> bool:
        """Whether it has the model."""

    async def load(self, name: str) -> None:
        """Load the model, over the one that serves; raises Failure with the server's reason, or Away."""

    async def infer(self, name: str, version: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answer these tensors; raises Failure with the server's reason, or Away."""


class Triton:
    """A real Triton over HTTP.

    Args:
        address: `host:port` of its HTTP endpoint.
        key: value of ADMIN_HEADER that its administrative APIs want.
        signature: datatypes of the inputs.
        sequences: whether the model wants each request in a sequence; then each row is a sequence of its own.
        timeout: seconds one call may take.
    """

    def __init__(
        self, address: str, key: str, signature: Signature, *, sequences: bool = False, timeout: float = 60.0
    ) -> None:
        self._sequences = sequences
        self._client = InferenceServerClient(address, conn_timeout=timeout)
        self._admin = {ADMIN_HEADER: key}
        self._datatypes = {tensor.name: tensor.datatype for tensor in signature.inputs}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def live(self) -> bool:
        """Whether the server answers at all."""
        try:
            return bool(await self._client.is_server_live())
        except Exception as error:
            if _is_away(error):
                return False
            raise

    async def loaded(self, name: str, version: str) -> bool:
        """Whether the server says it has the model; that it answers is another matter."""
        try:
            return bool(await self._client.is_model_ready(name, version))
        except Exception as error:
            raise _explained(error, f"model {name}") from error

    async def load(self, name: str) -> None:
        """Load the model of the repository, over the one that serves.

        Never unload first: between unload and load every request fails, while a load over the old version
        keeps it until the new one is there, and keeps it for good when the new one fails.

        Raises:
            Failure: ModelDoesNotLoad with Triton's own reason.
            Away: Triton does not answer.
        """
        try:
            await self._client.load_model(name, headers=self._admin)
        except Exception as error:
            raise _explained(error, f"Triton refuses {name}") from error

    async def unload(self, name: str) -> None:
        """Unload the model; requests for it fail from here on."""
        try:
            await self._client.unload_model(name, headers=self._admin)
        except Exception as error:
            raise _explained(error, f"Triton keeps {name}") from error

    async def infer(self, name: str, version: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Answer these tensors with this version.

        Raises:
            Failure: ModelDoesNotLoad with the model's own reason.
            Away: Triton does not answer.
        """
        if not self._sequences:
            return await self._infer(name, version, inputs)
        rows = len(next(iter(inputs.values())))
        single = [
            await self._infer(name, version, {key: values[row : row + 1] for key, values in inputs.items()})
            for row in range(rows)
        ]
        return {key: np.concatenate([one[key] for one in single]) for key in single[0]}

    def _sequence(self) -> dict[str, Any]:
        if not self._sequences:
            return {}
        return {"sequence_id": secrets.randbits(48) + 1, "sequence_start": True, "sequence_end": True}

    async def _infer(self, name: str, version: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tensors = []
        for tensor_name, values in inputs.items():
            tensor = InferInput(tensor_name, list(values.shape), self._datatypes[tensor_name])
            tensor.set_data_from_numpy(values)
            tensors.append(tensor)
        try:
            result = await self._client.infer(name, tensors, model_version=version, **self._sequence())
        except Exception as error:
            raise _explained(error, f"Triton cannot answer with {name}") from error
        outputs = [output["name"] for output in result.get_response()["outputs"]]
        return {output: np.asarray(result.as_numpy(output)) for output in outputs}


def _is_away(error: Exception) -> bool:
    # aiohttp's connection errors are OSErrors, except for a server that hangs up in the middle.
    return isinstance(error, _AWAY) or type(error).__module__.startswith("aiohttp")


def _explained(error: Exception, what: str) -> Exception:
    if _is_away(error):
        return Away(one_line(error))
    if isinstance(error, InferenceServerException):
        text = " ".join(str(error.message()).split())
        return Failure(Inference.MODEL_DOES_NOT_LOAD, f"{what}: {text[:800]}")
    return error
