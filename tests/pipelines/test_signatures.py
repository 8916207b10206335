"""What a version takes: the graph's inputs, with what the contract says of them."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from gyre_crds.v1alpha1.common import Contract
from gyre_pipelines.artifact import Artifact
from gyre_pipelines.failure import Failure
from gyre_pipelines.signatures import signature_of

FEATURES = ["town", "area"]


@pytest.fixture
def found(tmp_path: Path) -> Artifact:
    """A graph of one text and one number a row."""
    inputs = [
        helper.make_tensor_value_info("town", onnx.TensorProto.STRING, [None, 1]),
        helper.make_tensor_value_info("area", onnx.TensorProto.FLOAT, [None, 1]),
    ]
    outputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 1]) for name in ("price",)]
    graph = helper.make_graph([helper.make_node("Identity", ["area"], ["price"])], "g", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    return Artifact("ONNX", {"model.onnx": tmp_path / "m.onnx"})


def _contract(feature: str) -> Contract:
    categories = [{"feature": feature, "values": ["Linz", "Graz"]}]
    return Contract.model_validate({"key": "id", "label": {"column": "price"}, "categories": categories})


def test_a_text_input_gets_its_categories(found: Artifact) -> None:
    """By its feature's name; other inputs have none."""
    signature = signature_of(found, FEATURES, _contract("town"))
    assert signature is not None
    assert [one.categories for one in signature.inputs] == [["Linz", "Graz"], []]


@pytest.mark.parametrize("feature", ["area", "twon"])
def test_categories_of_no_text_are_refused(found: Artifact, feature: str) -> None:
    """A number or a misspelt name is told with what there is."""
    with pytest.raises(Failure, match=f"contract.categories names {feature}, and the model's text inputs are: town"):
        signature_of(found, FEATURES, _contract(feature))
