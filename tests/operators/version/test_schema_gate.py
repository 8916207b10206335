"""The schema's gate: what the champion's callers send and read must stay."""

from typing import Any

import pytest

from gyre_crds.v1alpha1.version import Signature
from gyre_operators.version.gates import schema_difference
from tests.operators.version.cluster import (
    CHAMPION,
    OTHER,
    SIGNATURE,
    model,
    version,
)
from tests.operators.version.conftest import Make
from tests.operators.version.gating import SCHEMA, SERVES, verified


async def test_incompatible_schema(make: Make) -> None:
    """Another input refuses the version with the sentence that names it."""
    mine = {
        **SIGNATURE,
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 3], "columns": ["a", "b", "c"]}],
    }
    cluster = make(model([SCHEMA], **SERVES), version(signature=mine), version(CHAMPION.name, OTHER))
    await verified(cluster)
    status, reason, message = cluster.ready()
    assert (status, reason) == ("False", "SchemaIncompatible")
    assert "Input 'input' is FP64, the champion's is FP32." in message


TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
OUT = {"name": "y", "datatype": "INT64", "shape": [-1]}


@pytest.mark.parametrize(
    ("mine", "sentence"),
    [
        ({"inputs": [TENSOR], "outputs": [OUT]}, None),
        ({"inputs": [{**TENSOR, "shape": [1, 3]}], "outputs": [OUT]}, None),
        ({"inputs": [TENSOR], "outputs": [OUT, {**OUT, "name": "score"}]}, None),
        ({"inputs": [{**TENSOR, "name": "z"}], "outputs": [OUT]}, "The champion's input 'x' is missing"),
        (
            {"inputs": [{**TENSOR, "shape": [-1, 4]}], "outputs": [OUT]},
            "Input 'x' has shape [-1, 4], the champion's has [-1, 3]",
        ),
        (
            {"inputs": [{**TENSOR, "columns": ["b", "a", "c"]}], "outputs": [OUT]},
            "Input 'x' has other columns or another order than the champion's",
        ),
        ({"inputs": [TENSOR, {**TENSOR, "name": "z"}], "outputs": [OUT]}, "Input 'z' is new, and no caller sends it"),
        (
            {"inputs": [TENSOR], "outputs": [{**OUT, "datatype": "BYTES"}]},
            "Output 'y' is BYTES, the champion's is INT64",
        ),
    ],
    ids=[
        "the same",
        "another batch size",
        "one more output",
        "an input renamed",
        "a wider input",
        "columns in another order",
        "one more input",
        "an output of another type",
    ],
)
def test_schema_difference(mine: dict[str, Any], sentence: str | None) -> None:
    """What breaks callers is named, what does not is let through."""
    champion = Signature.model_validate({"inputs": [TENSOR], "outputs": [OUT]})
    assert schema_difference(Signature.model_validate(mine), champion) == sentence
