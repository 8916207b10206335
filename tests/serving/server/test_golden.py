"""Golden rows: how rows become tensors, and which answers count as the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.v1alpha1.version import Prediction, Signature, Tensor
from gyre_serving.golden import compare, first_row, from_rows, neutral, prove
from gyre_serving.pod.failure import Failure

ROWS = Rows(columns=["a", "b", "c"], values=[[1, None], [2.5, 3], ["x", None]])


def _inputs(*tensors: Tensor) -> Signature:
    return Signature(inputs=list(tensors), outputs=[Tensor(name="y", datatype="FP32", shape=[-1])])


def test_columns_are_taken_in_the_signature_s_order() -> None:
    """One matrix of two named columns, another order than the rows', missing as NaN."""
    signature = _inputs(Tensor(name="X", datatype="FP32", shape=[-1, 2], columns=["b", "a"]))
    np.testing.assert_array_equal(from_rows(signature, ROWS)["X"], np.array([[2.5, 1], [3, np.nan]], np.float32))


def test_an_input_for_each_column() -> None:
    """Inputs without columns take the column of their name, in their own rank; missing text is empty."""
    signature = _inputs(
        Tensor(name="c", datatype="BYTES", shape=[-1, 1]), Tensor(name="b", datatype="FP64", shape=[-1])
    )
    tensors = from_rows(signature, ROWS)
    assert tensors["c"].tolist() == [["x"], [""]]
    assert tensors["b"].tolist() == [2.5, 3.0]


def test_an_only_input_without_columns_takes_all() -> None:
    """What an ONNX without a signature says of itself: one matrix as wide as the rows."""
    rows = Rows(columns=["a", "b"], values=[[1, 2], [3, 4]])
    signature = _inputs(Tensor(name="X", datatype="FP32", shape=[-1, 2]))
    assert from_rows(signature, rows)["X"].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        pytest.param(
            Tensor(name="X", datatype="FP32", shape=[-1, 1], columns=["d"]), "needs column d", id="a column is missing"
        ),
        pytest.param(
            Tensor(name="X", datatype="FP32", shape=[-1, 1], columns=["c"]), "does not fit FP32", id="text for numbers"
        ),
        pytest.param(
            Tensor(name="X", datatype="INT64", shape=[-1, 1], columns=["a"]),
            "does not fit INT64",
            id="null in integers",
        ),
        pytest.param(
            Tensor(name="X", datatype="FP32", shape=[-1, 5], columns=["a", "b"]),
            "has shape [-1, 5], the golden rows give it 2 columns",
            id="another width",
        ),
    ],
)
def test_rows_that_do_not_fit_the_signature_are_told(tensor: Tensor, sentence: str) -> None:
    """The sentence names input and column."""
    with pytest.raises(Failure) as failed:
        from_rows(_inputs(tensor), ROWS)
    assert sentence in failed.value.message


def test_neutral_rows_fit_any_shape() -> None:
    """Zeros and empty texts, one where a dimension is free."""
    signature = _inputs(
        Tensor(name="X", datatype="FP32", shape=[-1, 3]), Tensor(name="s", datatype="BYTES", shape=[-1, -1])
    )
    assert neutral(signature)["X"].tolist() == [[0, 0, 0]]
    assert neutral(signature)["s"].tolist() == [[b""]]
    assert first_row(signature, None).keys() == {"X", "s"}


CLASSES = Signature(
    inputs=[Tensor(name="a", datatype="FP32", shape=[-1])],
    outputs=[Tensor(name="label", datatype="BYTES", shape=[-1]), Tensor(name="p", datatype="FP32", shape=[-1, 2])],
    prediction=Prediction(output="label", score="p", positive=1, task="Classification"),
)
VALUES = Signature(
    inputs=[Tensor(name="a", datatype="FP32", shape=[-1])],
    outputs=[Tensor(name="y", datatype="FP32", shape=[-1])],
)


def _golden(labels: list[Any], scores: list[list[float]] | None = None) -> GoldenRows:
    rows = Rows(columns=["a"], values=[[0.0] * len(labels)])
    return GoldenRows(rows=rows, predictions=Predictions(labels=labels, scores=scores or []))


SCORES = [[0.9, 0.1], [0.2, 0.8]]
YES_NO = np.array([b"no", b"yes"], dtype=object)


@pytest.mark.parametrize(
    ("signature", "golden", "outputs", "row"),
    [
        pytest.param(
            CLASSES, _golden(["no", "yes"], SCORES), {"label": YES_NO, "p": np.array(SCORES)}, None, id="all the same"
        ),
        pytest.param(
            CLASSES, _golden(["no", "no"], SCORES), {"label": YES_NO, "p": np.array(SCORES)}, 1, id="another label"
        ),
        pytest.param(
            CLASSES,
            _golden(["no", "yes"], SCORES),
            {"label": YES_NO, "p": np.array([[0.9, 0.1], [0.2, 0.8002]])},
            1,
            id="another score",
        ),
        pytest.param(
            CLASSES,
            _golden(["no", "yes"], SCORES),
            {"label": YES_NO, "p": np.array([[np.nan, 0.1], [0.2, 0.8]])},
            0,
            id="NaN is never the same",
        ),
        pytest.param(
            CLASSES,
            _golden(["no", "yes"], SCORES),
            {"label": YES_NO, "p": np.array([0.1, 0.8])},
            None,
            id="the positive class alone",
        ),
        pytest.param(
            CLASSES,
            _golden(["no", "yes"], SCORES),
            {"label": YES_NO, "p": np.zeros((2, 3))},
            -1,
            id="another number of classes",
        ),
        pytest.param(CLASSES, _golden(["no"]), {"label": YES_NO, "p": np.array(SCORES)}, -1, id="too many answers"),
        pytest.param(CLASSES, _golden(["no", "yes"]), {"label": YES_NO}, -1, id="the score is missing"),
        pytest.param(CLASSES, _golden([0, 1]), {"label": np.array([0, 1]), "p": np.zeros((2, 2))}, None, id="numbers"),
        pytest.param(VALUES, _golden([300000.0]), {"y": np.array([300000.03])}, None, id="float32 of a large value"),
        pytest.param(VALUES, _golden([300000.0]), {"y": np.array([300100.0])}, 0, id="another large value"),
        pytest.param(VALUES, _golden([0.5]), {"y": np.array([0.5002])}, 0, id="another small value"),
    ],
)
def test_which_answers_count_as_the_same(
    signature: Signature, golden: GoldenRows, outputs: Mapping[str, NDArray[Any]], row: int | None
) -> None:
    """Labels equal, scores within the tolerance, values within it relative to their size."""
    mismatch = compare(signature, golden, outputs)
    assert (None if mismatch is None else mismatch.row) == row


async def test_a_graph_with_a_fixed_batch_is_asked_row_by_row() -> None:
    """A first dimension of 1 takes one golden row at a time; all of them are compared."""
    signature = Signature(
        inputs=[Tensor(name="a", datatype="FP32", shape=[1, 1])],
        outputs=[Tensor(name="y", datatype="FP32", shape=[1, 1])],
    )
    golden = GoldenRows(rows=Rows(columns=["a"], values=[[1, 2, 3]]), predictions=Predictions(labels=[2, 4, 7]))
    asked = []

    async def infer(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        asked.append(inputs["a"].shape)
        return {"y": inputs["a"] * 2}

    with pytest.raises(Failure, match="golden row 2: y is 6"):
        await prove(infer, "m-1", signature, golden)
    assert asked == [(1, 1)] * 3
