"""spec.runtime.options: what stands in config.pbtxt is Triton's own schema, and what cannot work is said before it."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient  # type: ignore[import-untyped]
from google.protobuf import text_format
from onnx import TensorProto, helper
from pydantic import ValidationError

from gyre_crds.contracts import artifact
from gyre_crds.v1alpha1.triton import TritonOptions
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.fetch.main import main
from gyre_serving.triton import render
from gyre_serving.triton.config import Options
from tests.serving.support import pod
from tests.serving.support.versions import Version, write_tree

CHAIN = [
    {"file": "double.onnx", "inputs": {"a": "x"}, "outputs": {"b": "twice"}},
    {"file": "triple.onnx", "inputs": {"x": "twice"}, "outputs": {"y": "y"}},
]
SIGNATURE = Signature(
    inputs=[Tensor(name="x", datatype="FP32", shape=[-1, 1])],
    outputs=[Tensor(name="y", datatype="FP32", shape=[-1, 1])],
)


def graph(source: str, target: str, factor: float, *, control: str | None = None) -> bytes:
    """An ONNX file: target = source x factor, plus a hundred times the control's value where there is one."""
    shape: list[str | int | None] = ["rows", 1]
    inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)]
    nodes = [helper.make_node("Mul", [source, "factor"], ["product" if control else target])]
    constants = [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])]
    if control:
        inputs.append(helper.make_tensor_value_info(control, TensorProto.FLOAT, shape))
        constants.append(helper.make_tensor("hundred", TensorProto.FLOAT, [1], [100.0]))
        nodes += [
            helper.make_node("Mul", [control, "hundred"], ["extra"]),
            helper.make_node("Add", ["product", "extra"], [target]),
        ]
    outputs = [helper.make_tensor_value_info(target, TensorProto.FLOAT, shape)]
    made = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def publish(root: Path, **files: bytes) -> Version:
    """A version with signature x -> y and these ONNX files."""
    named = {f"{name}.onnx": content for name, content in files.items()}
    tree, digest = write_tree(root, named | {artifact.SIGNATURE: SIGNATURE.model_dump_json(by_alias=True).encode()})
    return Version(tree, digest, None, np.zeros((1, 1), dtype=np.float32))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Three times x, plus 100 where Triton fills the input start; and two graphs for a chain."""
    return publish(
        tmp_path_factory.mktemp("plain"),
        model=graph("x", "y", 3, control="start"),
        double=graph("a", "b", 2),
        triple=graph("x", "y", 3),
    )


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """Triton's model_config.proto, as its own client carries it."""
    path = Path(tritonclient.__file__).parent / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)  # the package itself wants grpc
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param({"instances": 4}, ("instance_group[0].count", 4), id="instances"),
        pytest.param(
            {"queue": {"maxSize": 7, "timeout": "250ms", "onTimeout": "Delay"}},
            ("dynamic_batching.default_queue_policy.default_timeout_microseconds", 250_000),
            id="a queue with a timeout",
        ),
        pytest.param(
            {"priorities": {"levels": 3, "default": 2}}, ("dynamic_batching.priority_levels", 3), id="priorities"
        ),
        pytest.param(
            {"rateLimit": [{"name": "R1", "count": 2, "available": 4}]},
            ("instance_group[0].rate_limiter.resources[0].count", 2),
            id="a rate limit",
        ),
        pytest.param(
            {"sequence": {"maxIdle": "5s", "controls": [{"input": "start", "kind": "Start"}]}},
            ("sequence_batching.control_input[0].control[0].fp32_false_true[1]", 1.0),
            id="sequences with a control",
        ),
        pytest.param(
            {"sequence": {"strategy": "Oldest", "maxCandidates": 9}},
            ("sequence_batching.oldest.max_candidate_sequences", 9),
            id="sequences by age",
        ),
        pytest.param({"responseCache": 1 << 20}, ("response_cache.enable", True), id="a response cache"),
        pytest.param({"ensemble": CHAIN}, ("ensemble_scheduling.step[1].model_version", 1), id="an ensemble"),
    ],
)
def test_every_option_is_a_field_of_triton_s_schema(
    plain: Version, schema: ModuleType, tmp_path: Path, options: dict[str, Any], wanted: tuple[str, Any]
) -> None:
    """Each rendered file parses as Triton's ModelConfig, and the option is where Triton looks for it."""
    render(plain.order("m", options=options), SIGNATURE, tree=plain.tree, repository=tmp_path)
    parsed = [text_format.Parse(file.read_text(), schema.ModelConfig()) for file in tmp_path.glob("*/config.pbtxt")]
    assert len(parsed) == (3 if "ensemble" in options else 1)
    found = next(one for one in parsed if one.name == "m")
    for part in wanted[0].split("."):
        name, _, index = part.partition("[")
        found = getattr(found, name)
        found = found[int(index.rstrip("]"))] if index else found
    assert found == wanted[1]


def test_steps_of_an_ensemble_run_as_a_model_does(plain: Version, schema: ModuleType, tmp_path: Path) -> None:
    """Each in the environment of the installation, and each with its own graph."""
    order = plain.order("m", options={"ensemble": CHAIN})
    options = Options(environment="/env")
    render(order, SIGNATURE, tree=plain.tree, repository=tmp_path, options=options)
    parsed = [text_format.Parse(file.read_text(), schema.ModelConfig()) for file in tmp_path.glob("*/config.pbtxt")]
    told = [{key: one.parameters[key].string_value for key in one.parameters} for one in parsed if one.name != "m"]
    assert sorted(one["graph"] for one in told) == ["double.onnx", "triple.onnx"]
    assert {one.get("EXECUTION_ENV_PATH") for one in told} == {"/env"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(
            {"priorities": {"levels": 2, "default": 3}}, "default: choose one of the levels", id="no such level"
        ),
        pytest.param(
            {"rateLimit": [{"name": "R", "count": 3, "available": 2}]},
            "count: take at most what is available",
            id="more than there is",
        ),
        pytest.param({"sequence": {}, "queue": {}}, "sequence: leave queue, priorities", id="sequences and a queue"),
        pytest.param({"ensemble": CHAIN, "sequence": {}}, "ensemble: leave queue", id="an ensemble of sequences"),
        pytest.param({"prioritys": {}}, "prioritys", id="a field that there is not"),
        pytest.param({"queue": {"onTimeout": "Drop"}}, "queue.onTimeout", id="an action that there is not"),
    ],
)
def test_what_the_type_alone_shows_is_refused_while_it_is_applied(options: dict[str, Any], sentence: str) -> None:
    """The API server has these rules in its schema; the Python twin says the same."""
    with pytest.raises(ValidationError) as refused:
        TritonOptions.model_validate(options)
    assert sentence in str(refused.value)


def _step(**changes: Any) -> dict[str, Any]:
    return {"ensemble": [CHAIN[0], CHAIN[1] | changes]}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(
            {"sequence": {"controls": [{"input": "begin", "kind": "Start"}]}},
            "spec.runtime.options.sequence.controls: begin is no input of model.onnx; it has start, x",
            id="an input that the graph lacks",
        ),
        pytest.param(
            {"sequence": {"controls": [{"input": "x", "kind": "Start"}]}},
            "x is an input of the signature; publish the version without it there",
            id="an input of the client's",
        ),
        pytest.param(
            {"sequence": {"controls": [{"input": "start", "kind": "CorrelationId"}]}},
            "start has type FP32; for CorrelationId export it as one of UINT64",
            id="a type that Triton cannot fill",
        ),
        pytest.param(
            _step(file="gone.onnx"),
            "ensemble[1].file: the version holds no gone.onnx; its graphs are double.onnx, model.onnx, triple.onnx",
            id="no such file",
        ),
        pytest.param(
            _step(inputs={"x": "thrice"}),
            "ensemble[1].inputs: no input of the signature and no earlier step gives thrice",
            id="no such tensor",
        ),
        pytest.param(
            _step(file="model.onnx"),
            "ensemble[1].inputs: start is missing; the graph has start, x",
            id="an input left open",
        ),
        pytest.param(
            _step(outputs={"z": "y"}),
            "ensemble[1].outputs: z is unknown",
            id="no such output",
        ),
        pytest.param(
            _step(outputs={"y": "z"}),
            "no step gives output y of the signature",
            id="an answer left open",
        ),
    ],
)
def test_what_does_not_fit_the_version_ends_the_init_container_with_one_sentence(
    plain: Version, root: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], sentence: str
) -> None:
    """Field, what is wrong and the cure stand in the termination message, where the operator reads them."""
    monkeypatch.setenv("GYRE_FETCH", plain.order("m", options=options).model_dump_json(by_alias=True))
    assert main([]) == 64
    said = pod.failure(root)
    assert said.reason == "ModelDoesNotLoad"
    assert sentence in said.message
