"""The messages of the Open Inference Protocol over gRPC.

Names and numbers are those of the protocol's own definition, `open_inference_grpc.proto` of
github.com/kserve/open-inference-protocol (Apache-2.0). They live in a pool of their own: Triton's client
registers messages of the same names in the process's default one, and two of a name may not stand there.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _FIELD.TYPE_BOOL, "int32": _FIELD.TYPE_INT32, "int64": _FIELD.TYPE_INT64, "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64, "float": _FIELD.TYPE_FLOAT, "double": _FIELD.TYPE_DOUBLE,
    "string": _FIELD.TYPE_STRING, "bytes": _FIELD.TYPE_BYTES,
}  # fmt: skip
_PARAMETERS = {4: "map parameters"}
_TENSOR = {1: "string name", 2: "string datatype", 3: "repeated int64 shape"}
_DATA = {**_TENSOR, **_PARAMETERS, 5: "InferTensorContents contents"}
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {1: "bool live"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {1: "bool ready"},
    "ModelReadyRequest": {1: "string name", 2: "string version"},
    "ModelReadyResponse": {1: "bool ready"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {1: "string name", 2: "string version", 3: "repeated string extensions"},
    "ModelMetadataRequest": {1: "string name", 2: "string version"},
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelMetadataResponse": {
        1: "string name", 2: "repeated string versions", 3: "string platform",
        4: "repeated ModelMetadataResponse.TensorMetadata inputs",
        5: "repeated ModelMetadataResponse.TensorMetadata outputs",
    },
    "InferParameter": {
        1: "oneof bool bool_param", 2: "oneof int64 int64_param", 3: "oneof string string_param",
        4: "oneof double double_param", 5: "oneof uint64 uint64_param",
    },
    "InferTensorContents": {
        1: "repeated bool bool_contents", 2: "repeated int32 int_contents", 3: "repeated int64 int64_contents",
        4: "repeated uint32 uint_contents", 5: "repeated uint64 uint64_contents", 6: "repeated float fp32_contents",
        7: "repeated double fp64_contents", 8: "repeated bytes bytes_contents",
    },
    "ModelInferRequest.InferInputTensor": _DATA,
    "ModelInferRequest.InferRequestedOutputTensor": {1: "string name", 2: "map parameters"},
    "ModelInferRequest": {
        1: "string model_name", 2: "string model_version", 3: "string id", **_PARAMETERS,
        5: "repeated ModelInferRequest.InferInputTensor inputs",
        6: "repeated ModelInferRequest.InferRequestedOutputTensor outputs",
        7: "repeated bytes raw_input_contents",
    },
    "ModelInferResponse.InferOutputTensor": _DATA,
    "ModelInferResponse": {
        1: "string model_name", 2: "string model_version", 3: "string id", **_PARAMETERS,
        5: "repeated ModelInferResponse.InferOutputTensor outputs",
        6: "repeated bytes raw_output_contents",
    },
    "ModelStreamInferResponse": {1: "string error_message", 2: "ModelInferResponse infer_response"},
}  # fmt: skip


def _built() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    known: dict[str, descriptor_pb2.DescriptorProto] = {}
    # Outer messages first, for those within them stand in them.
    for name in sorted(_FIELDS, key=lambda one: one.count(".")):
        outer, _, inner = name.rpartition(".")
        message = known[outer].nested_type.add() if outer else file.message_type.add()
        message.name = inner
        known[name] = message
        for number, text in _FIELDS[name].items():
            _add(name, message, number, text.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _FIELDS}


def _add(owner: str, message: descriptor_pb2.DescriptorProto, number: int, words: list[str]) -> None:
    kind = words[-2]
    field = message.field.add(name=words[-1], number=number, label=_FIELD.LABEL_OPTIONAL)
    if kind == "map":
        _add_map(owner, message, field)
        return
    if words[0] == "repeated":
        field.label = _FIELD.LABEL_REPEATED
    if words[0] == "oneof":
        field.oneof_index = 0
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


def _add_map(owner: str, message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto) -> None:
    """Protobuf keeps a map as a list of entries, a message of their own."""
    entry = message.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=_FIELD.TYPE_MESSAGE, type_name=f".{PACKAGE}.InferParameter",
        label=_FIELD.LABEL_OPTIONAL,
    )  # fmt: skip
    field.label, field.type = _FIELD.LABEL_REPEATED, _FIELD.TYPE_MESSAGE
    field.type_name = f".{PACKAGE}.{owner}.ParametersEntry"


MESSAGES = _built()
"""Message classes by name, within the package."""
