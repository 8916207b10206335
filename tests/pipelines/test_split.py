"""Which rows never train, and digests: properties for any keys."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gyre_crds.contracts.attempt import AttemptOrder
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.training import DataSource, ResolvedData
from gyre_pipelines.digests import environment_digest, input_digest
from gyre_pipelines.holdout import divide, held_keys
from gyre_pipelines.sources import Fetched
from gyre_pipelines.split import is_held_out, rank
from gyre_pipelines.tables import spelled

KEYS = st.lists(st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=12)), min_size=1, max_size=60)
SHARES = st.floats(0, 0.9)
CONTRACT = Contract.model_validate({"key": "id", "label": {"column": "y"}})


@given(st.text(), SHARES, SHARES)
def test_a_larger_share_holds_out_a_superset(key: str, one: float, other: float) -> None:
    """Raising holdout never moves a row back into training."""
    assert is_held_out(key, min(one, other)) <= is_held_out(key, max(one, other))


def test_the_share_is_what_was_asked_for() -> None:
    """Of 20,000 keys a tenth is held out, within four standard errors."""
    held = sum(is_held_out(str(number), 0.1) for number in range(20_000))
    assert abs(held - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5


def test_the_order_of_reference_rows_knows_nothing_of_the_split() -> None:
    """Held-out keys are spread evenly over the ranks, so a sample by rank is a fair sample of them."""
    ranks = [rank(str(number)) / 2**64 for number in range(20_000) if is_held_out(str(number), 0.2)]
    assert abs(sum(ranks) / len(ranks) - 0.5) < 4 * (1 / 12 / len(ranks)) ** 0.5


@given(st.integers(-(2**53), 2**53))
def test_a_key_is_one_key_in_any_type(number: int) -> None:
    """A key that one file has as integer, another as float and a third as text is the same key."""
    assert spelled(number) == spelled(float(number)) == spelled(str(number))


def fetched(folder: Path, name: str, keys: list[Any], share: float, *, latest: bool = False) -> Fetched:
    """A source of one Parquet file with these keys."""
    staged = folder / f"staged-{name}"
    staged.mkdir(parents=True, exist_ok=True)
    path = staged / "rows.parquet"
    texts = [str(key) for key in keys]
    pq.write_table(
        pa.table({"id": texts, "x": [float(number) for number in range(len(keys))], "y": [0] * len(keys)}), path
    )
    source = DataSource(name=name, uri="file:///x", holdout=share)
    return Fetched(source, staged, [path], "file:///x", "sha256:" + "0" * 64, latest=latest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(one=KEYS, other=KEYS, share=SHARES, order=st.randoms())
def test_a_row_that_is_held_out_never_trains(
    tmp_path: Path, one: list[Any], other: list[Any], share: float, order: random.Random
) -> None:
    """Not in its own source, not as a copy in another, in whatever order the rows come; and no row is lost."""
    both = {"a": one, "b": other}
    trained: dict[str, set[str]] = {}
    sources = [fetched(tmp_path, name, keys, share if name == "a" else 0.0) for name, keys in both.items()]
    held = set().union(*(held_keys(source, CONTRACT) for source in sources))
    assert held == {str(key) for key in one if is_held_out(str(key), share)}
    for source in sources:
        rest = divide(source, tmp_path / "out" / source.source.name, CONTRACT, held)
        rows = pq.read_table(tmp_path / "out" / source.source.name / "rows.parquet")
        trained[source.source.name] = set(rows["id"].to_pylist())
        assert not trained[source.source.name] & held
        assert rows.num_rows + rest.count == len(both[source.source.name])
        assert rest.train_rows == rows.num_rows
    shuffled = list(one)
    order.shuffle(shuffled)
    assert held_keys(fetched(tmp_path, "a", shuffled, share), CONTRACT) == held


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(count=st.integers(1, 50), share=SHARES)
def test_a_services_holdout_is_its_latest_rows(tmp_path: Path, count: int, share: float) -> None:
    """Rows come oldest first; the last ones are held out, and their number is the share rounded down."""
    source = fetched(tmp_path, "recent", list(range(count)), share, latest=True)
    assert held_keys(source, CONTRACT) == {str(key) for key in range(count - int(count * share), count)}


def order_of(**changes: Any) -> AttemptOrder:
    """An order with some fields changed."""
    base: dict[str, Any] = {
        "namespace": "n", "job": "j", "uid": "u", "number": 1, "model": "m", "image": "i", "command": ["c"],
        "params": {"a": 1, "b": 2}, "data": [{"name": "x", "uri": "s3://b/x", "holdout": 0.1}, {"name": "y", "uri": "s3://b/y"}],
    }  # fmt: skip
    return AttemptOrder.model_validate({**base, **changes})


def pins(*names: str, digit: str = "1", uri: str = "s3://b/") -> list[ResolvedData]:
    """Pins of these sources."""
    return [ResolvedData(name=name, uri=uri + name, digest="sha256:" + digit * 64) for name in names]


def test_equal_input_has_an_equal_digest() -> None:
    """Order of sources and parameters, attempt, job and place of the bytes do not matter."""
    first = input_digest(order_of(), pins("x", "y"))
    again = order_of(number=3, uid="other", job="other", params={"b": 2, "a": 1})
    assert input_digest(again, pins("y", "x", uri="s3://elsewhere/")) == first


def test_any_other_input_has_another_digest() -> None:
    """Bytes, image, command, parameters and holdout share each change the digest."""
    changed = [
        input_digest(order_of(), pins("x", "y", digit="2")),
        input_digest(order_of(image="other"), pins("x", "y")),
        input_digest(order_of(command=["c", "d"]), pins("x", "y")),
        input_digest(order_of(params={"a": 1, "b": 3}), pins("x", "y")),
        input_digest(order_of(data=[{"name": "x", "uri": "s3://b/x", "holdout": 0.2}]), pins("x", "y")),
        input_digest(order_of(), pins("x", "y")),
    ]
    assert len(set(changed)) == len(changed)


def test_the_environment_digest_ignores_order() -> None:
    """The same packages give the same digest; none give none."""
    assert environment_digest(["b==1", "a==2"]) == environment_digest(["a==2", "b==1"])
    assert environment_digest([]) is None
