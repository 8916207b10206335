"""Large bodies of numbers are checked by a glance, which must never see less than the checker that parses."""

import json
import random
from typing import Any

import pytest

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.checks import Checker
from gyre_serving.router.message import Refusal
from gyre_serving.router.tensors import parse

OUTPUTS = [{"name": "y", "datatype": "FP32", "shape": [-1]}]
X = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
CHANGES = b'0123456789.,-+eE[]{}":ntrufals \\x\xff\xc3'


def _checker(*inputs: dict[str, Any]) -> Checker:
    return Checker(Signature.model_validate({"inputs": inputs, "outputs": OUTPUTS}))


def _body(data: str, shape: str = "[2, 2]", more: str = "") -> bytes:
    return f'{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": {shape}, "data": {data}{more}}}]}}'.encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_body("[1, -2.5, 3e-7, 0]"), id="flat numbers fit"),
        pytest.param(_body("[[1,2],[3,4]]"), id="a list of rows fits"),
        pytest.param(_body("[1,\n2,\t3,\r4]"), id="white space is no value"),
        pytest.param(b'{"id": "a", ' + _body("[1,2,3,4]")[1:], id="an id does not hinder"),
    ],
)
def test_glance_takes_what_fits(body: bytes) -> None:
    """What is usual is seen at a glance; were it not, large bodies would cost three times the CPU."""
    checker = _checker(X)
    assert checker.fits(body)
    assert checker.problem(parse(body).document) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_body("[1,2,3]"), id="a value is missing"),
        pytest.param(_body("[1,2,3,null]"), id="a null is to become NaN"),
        pytest.param(_body('[1,2,3,"4"]'), id="text is no number"),
        pytest.param(_body("[1,2,3,true]"), id="true is no number"),
        pytest.param(_body("[[1,2,3],[4]]"), id="rows of other lengths are ragged"),
        pytest.param(_body("[[1,2],3,4]"), id="a list beside values is ragged"),
        pytest.param(_body("[1,2,3,4.]"), id="half a number is no JSON"),
        pytest.param(_body("[1,2,3,NaN]"), id="NaN is no JSON"),
        pytest.param(_body("[1,2]", "[1, 2.0]"), id="a shape has whole numbers"),
        pytest.param(_body("[]", "[1, 1]"), id="an empty list is not one value"),
        pytest.param(_body("[[ ]]", "[1, 1]"), id="an empty row is not one value"),
        pytest.param(_body("[1,2,3,4]", "[4, 1]"), id="the signature wants another shape"),
        pytest.param(_body("[1,2,3,4]", more=', "parameters": {}'), id="parameters may change what data means"),
        pytest.param(_body("[1,2,3,4]") + b"x", id="bytes behind the document"),
        pytest.param(b'{"parameters": {"keys": ["a", "b"]}, ' + _body("[1,2,3,4]")[1:], id="keys are to be taken out"),
        pytest.param(_body("[1,2,3,4]").replace(b"FP32", b"FP64"), id="another datatype"),
        pytest.param(_body("[1,2,3,4]").replace(b'"x"', b'"z"'), id="another name"),
        pytest.param(_body("[1,2,3,4]").replace(b'"x"', b'"\xff"'), id="a name that is no UTF-8"),
        pytest.param(_body("[1,2,3,4]", "[1000000000000, 1000000]"), id="a shape that no body can fill"),
    ],
)
def test_glance_leaves_the_rest_to_the_parser(body: bytes) -> None:
    """Whatever is wrong, or is to be changed, is parsed."""
    assert not _checker(X).fits(body)


def test_glance_asks_for_all_inputs_once() -> None:
    """Each input stands in the request, and stands there once."""
    checker = _checker(X, X | {"name": "y"})
    one = json.loads(_body("[1,2,3,4]"))["inputs"][0]
    assert checker.fits(json.dumps({"inputs": [one, one | {"name": "y"}]}).encode())
    assert not checker.fits(json.dumps({"inputs": [one]}).encode())
    assert not checker.fits(json.dumps({"inputs": [one, one]}).encode())
    assert not checker.fits(json.dumps({"inputs": [one, one | {"name": "y"}, one]}).encode())


def test_glance_takes_nothing_that_the_checker_refuses() -> None:
    """Of mutated bodies each that a glance takes is one that the checker takes too."""
    draw = random.Random(5)  # noqa: S311  no secret
    checkers = [
        _checker(X),
        _checker({**X, "shape": [-1]}),
        _checker({**X, "shape": [-1, 2, 2]}),
        _checker({**X, "shape": [-1, 1]}),
    ]
    bodies = [_body("[1,-2.5,3e-7,0]"), _body("[[1,2],[3,4]]"), _body("[1.5]", "[1]"), _body("[7,8]", "[2, 1]"),
              _body("[[7],[8]]", "[2, 1]"), _body("[1,2,3,4]", "[1, 2, 2]")]  # fmt: skip
    taken = 0
    for _ in range(20_000):
        body = bytearray(draw.choice(bodies))
        for _ in range(draw.choice([0, 1, 1, 2])):
            at = draw.randrange(len(body))
            body[at : at + draw.choice([0, 1])] = bytes(draw.choices(CHANGES, k=draw.choice([0, 1])))
        checker = draw.choice(checkers)
        if checker.fits(bytes(body)):
            taken += 1
            try:
                problem = checker.problem(parse(bytes(body)).document)
            except Refusal as refusal:
                problem = refusal.sentence
            # Numbers beyond doubles are JSON; only Python's parser minds them.
            assert problem is None or "infinity" in problem, bytes(body)
    assert taken > 1000
