"""Columns of many records at once hold what each record's own columns hold, whatever stands in them."""

import io
import json
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_crds.v1alpha1.version import Signature
from gyre_serving.router.payloads import columns
from gyre_serving.router.payloads.columns import payload_table
from gyre_serving.router.payloads.records import Layout, Record

SIGNATURE = Signature.model_validate(
    {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 2], "columns": ["a", "b"]},
            {"name": "word", "datatype": "BYTES", "shape": [-1]},
            {"name": "vector", "datatype": "INT64", "shape": [-1, -1]},
        ],
        "outputs": [
            {"name": "y", "datatype": "INT64", "shape": [-1]},
            {"name": "p", "datatype": "FP32", "shape": [-1, 2]},
        ],
        "prediction": {"output": "y", "task": "Classification", "score": "p", "positive": 1},
    }
)  # fmt: skip
LAYOUT = Layout(SIGNATURE, frozenset({"b"}), 0.3)


def _record(number: int, rows: int, draw: random.Random) -> Record:
    width = draw.randint(1, 3)
    inputs: list[dict[str, Any]] = [
        {"name": "x", "shape": [rows, 2], "data": [draw.choice([1, 2.5, None]) for _ in range(2 * rows)]},
        {"name": "word", "shape": [rows], "data": [draw.choice(["a", "é", None]) for _ in range(rows)]},
        {"name": "vector", "shape": [rows, width], "data": [[draw.randint(-9, 9)] * width for _ in range(rows)]},
    ]
    if draw.random() < 0.1:  # one in ten does not fit its column
        inputs[1]["data"][0] = 7
    outputs = [{"name": "y", "data": [draw.randint(0, 1) for _ in range(rows)]}]
    if draw.random() < 0.7:  # some answers have no score
        outputs.append({"name": "p", "data": [0.25, 0.75] * rows})
    keys: list[str | None] | None = [f"k{row}" for row in range(rows)] if draw.random() < 0.5 else None
    return Record(f"q{number}", 10**15 + number, "r1", "v1", 0.5, keys, json.dumps({"inputs": inputs}).encode(),
                  json.dumps({"outputs": outputs}).encode())  # fmt: skip


def _read(table: pa.Table) -> pa.Table:
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False)
    return pq.read_table(sink)


@pytest.mark.parametrize("rows", [pytest.param(3, id="few rows"), pytest.param(columns.LONG + 1, id="many rows")])
def test_together_as_alone(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All records of a part give the rows that each gives alone, and as many of them are unreadable."""
    monkeypatch.setattr(columns, "AT_ONCE", 20 * rows)
    draw = random.Random(rows)  # noqa: S311  no secret
    records = [_record(number, draw.randint(1, rows), draw) for number in range(60)]
    table, unreadable = payload_table(records, LAYOUT)
    alone = [payload_table([one], LAYOUT) for one in records]
    assert unreadable == sum(count for _, count in alone) > 0
    assert _read(table).to_pylist() == [row for one, _ in alone for row in _read(one).to_pylist()]


def test_row_is_what_was_asked_and_answered() -> None:
    """A row has the request's values, its own prediction and score, and what the router knew."""
    record = _record(0, 2, random.Random(2))  # noqa: S311  no secret
    record = record._replace(
        keys=None,
        request=b'{"inputs": [{"name": "x", "shape": [2, 2], "data": [1, 2, null, 4]}, {"name": "word", "shape": [2],'
        b' "data": ["a", "b"]}, {"name": "vector", "shape": [2, 2], "data": [1, 2, 3, 4]}]}',
        answer=b'{"outputs": [{"name": "y", "data": [0, 1]}, {"name": "p", "data": [[0.9, 0.1], [0.2, 0.8]]}]}',
    )
    table, unreadable = payload_table([record], LAYOUT)
    assert unreadable == 0
    first, second = _read(table).to_pylist()
    assert (first["a"], first["word"], first["vector"], first["prediction"], first["score"]) == (1, "a", [1, 2], 0, 0.1)
    assert (second["a"], second["vector"], second["gyre_row"], second["score"]) == (None, [3, 4], 1, 0.8)
    assert second["gyre_key"] is None
    assert "b" not in first
    assert first["gyre_time"].timestamp() == 10**9


@pytest.mark.parametrize(
    "score",
    [
        pytest.param('"shape": [1, 2], "data": [0.3, 0.7]', id="of fewer rows"),
        pytest.param('"shape": [3, 2], "data": [0.3, 0.7, 0.1, 0.9, 0.2, 0.8]', id="of more rows"),
        pytest.param('"data": [0.3, 0.7, 0.5, 0.6, 0.9]', id="that fill no row"),
        pytest.param('"shape": [], "data": 0.3', id="of no row"),
    ],
)
def test_scores_of_other_rows_are_unreadable(score: str) -> None:
    """An output with other rows than the request is no score of these rows, whatever its values would fill."""
    record = _record(0, 2, random.Random(2))  # noqa: S311  no secret
    answer = f'{{"outputs": [{{"name": "y", "data": [0, 1]}}, {{"name": "p", {score}}}]}}'.encode()
    table, unreadable = payload_table([record._replace(answer=answer)], LAYOUT)
    assert (table.num_rows, unreadable) == (0, 1)


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        pytest.param("9007199254740993, null", [2.0**53, None], id="a whole number that no double holds"),
        pytest.param("18446744073709551615, 1.5", [2.0**64, 1.5], id="64 bits beside a fraction"),
        pytest.param("NaN, 36893488147419103232", [None, 2.0**65], id="more than 64 bits beside NaN"),
    ],
)
def test_large_whole_numbers_are_doubles(numbers: str, wanted: list[float | None]) -> None:
    """A floating-point input takes whole numbers of any size, and the log has them as the model does."""
    record = _record(0, 1, random.Random(2))  # noqa: S311  no secret
    others = '{"name": "word", "shape": [1], "data": ["a"]}, {"name": "vector", "shape": [1, 1], "data": [1]}'
    request = f'{{"inputs": [{{"name": "x", "shape": [1, 2], "data": [{numbers}]}}, {others}]}}'.encode()
    table, unreadable = payload_table([record._replace(request=request)], Layout(SIGNATURE))
    assert unreadable == 0
    assert [table.column(name)[0].as_py() for name in ("a", "b")] == wanted


def test_whole_number_beyond_its_column_costs_its_record_alone() -> None:
    """64 bits are all that a column of whole numbers holds; the records beside it are written."""
    good = _record(1, 2, random.Random(1))  # noqa: S311  no secret
    document = json.loads(good.request)
    document["inputs"][0]["data"][0] = float("nan")  # so that Python's parser reads the body
    document["inputs"][2]["data"][0][0] = 2**70
    table, unreadable = payload_table([good._replace(request=json.dumps(document).encode()), good], LAYOUT)
    assert (table.num_rows, unreadable) == (2, 1)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param("[1000000000, 2]", id="more rows than bytes"),
        pytest.param("[-1, 2]", id="less than no row"),
        pytest.param('["2", 2]', id="rows that are no number"),
        pytest.param("[3, 2]", id="rows that the data does not fill"),
    ],
)
def test_odd_shapes_are_unreadable(shape: str) -> None:
    """A shape that lies costs its record, and neither memory nor the part."""
    good = _record(1, 2, random.Random(1))  # noqa: S311  no secret
    odd = good._replace(request=good.request.replace(b'"shape": [2, 2]', f'"shape": {shape}'.encode(), 1))
    table, unreadable = payload_table([odd, good], LAYOUT)
    assert (table.num_rows, unreadable) == (2, 1)
