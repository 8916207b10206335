"""What counts as the same answer."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.contracts.routing import Tolerance
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.comparing import LARGEST, Answer, Unreadable, compare
from tests.serving.router.conftest import SIGNATURE

SIGNED = Signature.model_validate(SIGNATURE)
TOLERANCE = Tolerance(absolute=0.01, relative=0.0)


def _answer(label: Any = 1, score: Any = 0.9, **more: Any) -> Answer:
    outputs = [
        {"name": "label", "datatype": more.get("type", "INT64"), "shape": [1], "data": [label]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [[1 - 0.9, score]]},
    ]
    return Answer(json.dumps({"model_name": more.get("model", "a"), "outputs": outputs}).encode())


@pytest.mark.parametrize(
    ("shadow", "agrees", "label"),
    [
        pytest.param(_answer(model="b"), True, False, id="the model's name is no answer"),
        pytest.param(_answer(score=0.9099), True, False, id="a number within the tolerance"),
        pytest.param(_answer(score=0.92), False, False, id="a number beyond the tolerance"),
        pytest.param(_answer(label=2), False, True, id="another label"),
        pytest.param(_answer(label=1.001, type="FP32"), False, True, id="a label of another type"),
        pytest.param(_answer(score=None), False, False, id="a missing value for a number"),
        pytest.param(_answer(score=float("nan")), False, False, id="NaN for a number"),
        pytest.param(_answer(score=float("inf")), False, False, id="infinity for a number"),
    ],
)
def test_same_and_other_answers(shadow: Answer, agrees: bool, label: bool) -> None:  # noqa: FBT001
    """Labels are compared exactly, scores within the tolerance, names of models not at all."""
    found = compare(_answer(), shadow, TOLERANCE, SIGNED)
    assert (found.agrees, found.label) == (agrees, label)


def test_classification_in_floats_is_compared_exactly() -> None:
    """A class that is told as 1.0 is no measurement: 1.001 is another one. A regression's value is."""
    ours, theirs = _answer(1.0, type="FP32"), _answer(1.001, type="FP32")
    assert compare(ours, theirs, TOLERANCE, SIGNED).label
    prediction = {"output": "label", "task": "Regression"}
    assert compare(ours, theirs, TOLERANCE, Signature.model_validate({**SIGNATURE, "prediction": prediction})).agrees


def test_missing_values_are_alike() -> None:
    """Null and NaN are one thing, and agree with one another."""
    assert compare(_answer(score=None), _answer(score=float("nan")), TOLERANCE, SIGNED).agrees


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="no JSON"),
        pytest.param(b'{"outputs": 3}', id="no list of outputs"),
        pytest.param(b'{"outputs": [{"name": "x"}]}', id="an output without data"),
        pytest.param(b'{"outputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": 1}]}', id="no list"),
        pytest.param(b" " * (LARGEST + 1), id="too large"),
    ],
)
def test_what_cannot_be_compared_is_said_to_be_so(body: bytes) -> None:
    """Neither agreed nor differed: a third thing."""
    with pytest.raises(Unreadable):
        compare(_answer(), Answer(body), TOLERANCE, SIGNED)


def _binary(*values: float, text: bytes = b"") -> Answer:
    raw = struct.pack(f"<{len(values)}f", *values)
    outputs = [
        {"name": "s", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(text)}},
        {"name": "y", "datatype": "FP32", "shape": [len(values)], "parameters": {"binary_data_size": len(raw)}},
    ]
    head = json.dumps({"outputs": outputs}).encode()
    return Answer(head + text + raw, len(head))


def test_binary_tensors_are_compared_by_value() -> None:
    """Numbers of the binary extension are read, texts compared byte by byte."""
    assert compare(_binary(1, 2), _binary(1, 2.001), TOLERANCE, None).agrees
    found = compare(_binary(1, 2), _binary(1, 2.5), TOLERANCE, None)
    assert (found.agrees, found.largest) == (False, 0.5)
    assert not compare(_binary(1, text=b"\1\0\0\0a"), _binary(1, text=b"\1\0\0\0b"), TOLERANCE, None).agrees


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 0.1))
def test_an_answer_agrees_with_itself_and_differs_beyond_the_tolerance(
    values: list[float], absolute: float, relative: float
) -> None:
    """Whatever the numbers and the tolerance."""
    tolerance = Tolerance(absolute=absolute, relative=relative)

    def answer(numbers: list[float]) -> Answer:
        output = {"name": "y", "datatype": "FP64", "shape": [len(numbers)], "data": numbers}
        return Answer(json.dumps({"outputs": [output]}).encode())

    assert compare(answer(values), answer(values), tolerance, None).agrees
    beyond = absolute + relative * abs(values[0])
    moved = [values[0] + 2 * beyond + 1, *values[1:]]
    assert not compare(answer(values), answer(moved), tolerance, None).agrees
