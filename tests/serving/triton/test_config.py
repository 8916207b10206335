"""config.pbtxt: what Triton is told of a version."""

import pytest

from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.v1alpha1.version import Signature, Tensor
from gyre_serving.triton.config import Options, batchable, config
from gyre_serving.triton.pbtxt import Enum, dumps

DIGEST = "sha256:" + "0" * 64


def _order(**fields: object) -> FetchOrder:
    base = {"uri": "file:///t", "digest": DIGEST, "name": "m", "version": "m-1", "runtime": "Triton"}
    return FetchOrder.model_validate(base | fields)


def _signature(*shapes: list[int], output: list[int] | None = None) -> Signature:
    return Signature(
        inputs=[Tensor(name=f"x{index}", datatype="FP32", shape=shape) for index, shape in enumerate(shapes)],
        outputs=[Tensor(name="y", datatype="BYTES", shape=output or [-1])],
    )


@pytest.mark.parametrize(
    ("shapes", "output", "joins"),
    [
        pytest.param([[-1, 4]], [-1], True, id="rows of features joined, scalars out"),
        pytest.param([[-1, 4], [-1, 1]], [-1, 2], True, id="several inputs joined"),
        pytest.param([[-1]], [-1], False, id="a batch of scalars in cannot be said to Triton"),
        pytest.param([[1, 4]], [-1], False, id="a fixed first dimension is no batch"),
        pytest.param([[-1, 4]], [1], False, id="an output that has no rows"),
    ],
)
def test_requests_are_joined_where_every_tensor_has_rows(
    shapes: list[list[int]],
    output: list[int],
    joins: bool,  # noqa: FBT001
) -> None:
    """Dynamic batching needs a free first dimension everywhere, and is off otherwise."""
    signature = _signature(*shapes, output=output)
    text = config(_order(), signature, Options(), [1])
    assert batchable(signature) is joins
    assert ("dynamic_batching" in text) is joins
    assert ("max_batch_size: 0\n" in text) is not joins


def test_the_batch_dimension_is_left_out_of_dims() -> None:
    """Triton adds the batch dimension itself where it may join requests."""
    assert "dims: [ 4 ]" in config(_order(), _signature([-1, 4]), Options(), [1])
    assert "dims: [ -1, 4 ]" in config(_order(), _signature([-1, 4], output=[2]), Options(), [1])


def test_settings_reach_triton() -> None:
    """Size, delay, instances, versions and the environment's path all stand in the file."""
    text = config(
        _order(maxBatch=16, maxDelayMs=0.5, options={"instances": 3}),
        _signature([-1, 4]),
        Options(environment="/env"),
        [1, 2],
    )
    assert "preferred_batch_size: [ 16 ]" in text
    assert "max_queue_delay_microseconds: 500" in text
    assert "count: 3" in text
    assert "versions: [ 1, 2 ]" in text
    assert 'key: "EXECUTION_ENV_PATH"\n  value {\n    string_value: "/env"' in text


def test_text_format_quotes_what_it_must() -> None:
    """A name with quotes and line breaks stays one string; enums stay bare."""
    assert dumps({"name": 'a"b\n', "kind": Enum("KIND_CPU"), "on": True}) == (
        'name: "a\\"b\\n"\nkind: KIND_CPU\non: true\n'
    )
    with pytest.raises(TypeError, match="no protobuf text form"):
        dumps({"x": object()})
