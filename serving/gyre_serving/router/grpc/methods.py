"""The methods of `inference.GRPCInferenceService`: which call of the steps each is, and how its answer is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from gyre_serving.router.grpc.answers import predictions
from gyre_serving.router.grpc.messages import MESSAGES, PACKAGE
from gyre_serving.router.message import Refusal
from gyre_serving.router.paths import Ask

SERVICE = f"/{PACKAGE}.GRPCInferenceService/"
_NAMED = ("name", "version")
_TENSOR = ("name", "datatype", "shape")
_WIRE_BYTES = 2
_VARINT = 0x7F
_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Method:
    """One method."""

    name: str
    ask: Ask
    fields: tuple[str, ...]
    """Of the request, which say model and version: fields 1 and 2."""
    reply: Callable[[Mapping[bytes, bytes], bytes, bool], bytes]
    """The answer's message from the headers and body of the steps' answer, and whether tensors came raw."""
    takes: str = ""
    """The request's message, where it is not named like the method."""

    def request(self, data: bytes | memoryview) -> Any:
        """The request's message.

        Raises:
            Refusal: 400 when the bytes are none.
        """
        name = self.takes or f"{self.name}Request"
        try:
            return MESSAGES[name].FromString(data)
        except DecodeError as error:
            raise Refusal(400, f"the message is no {name}: {error}") from error


def _plain(name: str, *fields: str) -> Callable[[Mapping[bytes, bytes], bytes, bool], bytes]:
    """Takes over fields of the JSON answer."""
    kind = MESSAGES[f"{name}Response"]

    def reply(_headers: Mapping[bytes, bytes], body: bytes, _raw: bool) -> bytes:  # noqa: FBT001  positional in calls
        document = orjson.loads(body)
        return bytes(kind(**{field: document[field] for field in fields if field in document}).SerializeToString())

    return reply


def _metadata(_headers: Mapping[bytes, bytes], body: bytes, _raw: bool) -> bytes:  # noqa: FBT001  see _plain
    try:
        document = orjson.loads(body)
        told = MESSAGES["ModelMetadataResponse"](
            name=document["name"], versions=document.get("versions", []), platform=document.get("platform", "")
        )
        for side in ("inputs", "outputs"):
            for tensor in document.get(side, []):
                getattr(told, side).add(**{field: tensor[field] for field in _TENSOR})
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(502, f"the model server's metadata is none of the protocol: {error}") from error
    return bytes(told.SerializeToString())


def _infer(headers: Mapping[bytes, bytes], body: bytes, raw: bool) -> bytes:  # noqa: FBT001  see _plain
    return predictions(headers, body, raw=raw)


METHODS = {
    f"{SERVICE}{one.name}".encode(): one
    for one in (
        Method("ServerLive", Ask.LIVE, (), _plain("ServerLive", "live")),
        Method("ServerReady", Ask.READY, (), _plain("ServerReady", "ready")),
        Method("ServerMetadata", Ask.SERVER, (), _plain("ServerMetadata", "name", "version", "extensions")),
        Method("ModelReady", Ask.MODEL_READY, _NAMED, _plain("ModelReady", "ready")),
        Method("ModelMetadata", Ask.MODEL, _NAMED, _metadata),
        Method("ModelInfer", Ask.INFER, ("model_name", "model_version"), _infer),
        Method("ModelStreamInfer", Ask.INFER, ("model_name", "model_version"), _infer, "ModelInferRequest"),
    )
}
"""By path."""
STREAM = f"{SERVICE}ModelStreamInfer".encode()
"""The one whose calls have any number of messages, each with an answer."""


def named(data: bytes) -> tuple[str, str]:
    """Model and version that a request names, read off its first bytes, before anything of it is decoded.

    Writers put fields in the order of their numbers, and both come first.
    """
    found = {1: "", 2: ""}
    at = 0
    while at + _WIRE_BYTES <= len(data) and data[at] in {0x0A, 0x12}:  # field 1 or 2, with a length
        size, start = _length(data, at + 1)
        if size > _LONGEST_NAME or start + size > len(data):
            break
        found[data[at] >> 3] = data[start : start + size].decode("utf-8", "replace")
        at = start + size
    return found[1], found[2]


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A varint of at most two bytes, and where it ends: no name is longer."""
    if data[at] <= _VARINT:
        return data[at], at + 1
    if at + 1 < len(data) and data[at + 1] <= _VARINT:
        return data[at] & _VARINT | data[at + 1] << 7, at + 2
    return _LONGEST_NAME + 1, at
