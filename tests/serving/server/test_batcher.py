"""Micro-batching with models that are slow, hang, or fail."""

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gyre_serving.server.batcher import Batcher, Limits
from gyre_serving.server.errors import Late, ModelError, Overloaded
from gyre_serving.server.metrics import Metrics
from gyre_serving.server.models import pieces
from gyre_serving.server.workers import Workers

Array = NDArray[Any]


class Doubling:
    """Doubles x, remembers how many rows each run had; a row of -1 raises, a row of -2 hangs."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.runs: list[int] = []
        self.release = threading.Event()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Doubled rows."""
        x = inputs["x"]
        self.runs.append(len(x))
        if (x == -1).any():
            raise KeyError("no such code\nsecond line")
        if (x == -2).any():
            self.release.wait(20)
        time.sleep(self.seconds)
        return {"y": x * 2}


def _batcher(model: Doubling, *, workers: int = 1, joins: bool = True, **limits: Any) -> Batcher:
    wanted = {"max_rows": 8, "max_delay": 0.05, "deadline": 5.0} | limits
    run = pieces(model.run, wanted["max_rows"]) if joins else model.run
    threads = Workers(run, workers, asyncio.get_running_loop())
    return Batcher(threads, Limits(**wanted), joins=joins, metrics=Metrics("m", "v"))


def _ask(batcher: Batcher, *rows: float) -> "asyncio.Future[dict[str, Array]]":
    return batcher.submit({"x": np.array([[row] for row in rows])}, len(rows))


async def test_requests_that_wait_together_are_computed_together() -> None:
    """One runs at once, the eight that came meanwhile run as one batch, each gets its own rows."""
    model = Doubling(0.02)
    batcher = _batcher(model)
    answers = await asyncio.gather(*(_ask(batcher, index) for index in range(9)))
    assert [answer["y"].tolist() for answer in answers] == [[[2 * index]] for index in range(9)]
    assert model.runs == [1, 8]


async def test_a_lone_request_does_not_wait() -> None:
    """With nobody else in flight there is no company to wait for."""
    batcher = _batcher(Doubling(), max_delay=1.0)
    for _ in range(5):
        started = time.monotonic()
        await _ask(batcher, 1)
        assert time.monotonic() - started < 0.5


async def test_no_batch_exceeds_its_size() -> None:
    """Requests that do not fit wait for the next batch; one that is larger by itself is not cut without need."""
    model = Doubling(0.01)
    batcher = _batcher(model)
    large = [float(index) for index in range(20)]
    answers = await asyncio.gather(
        _ask(batcher, 1), _ask(batcher, *large), _ask(batcher, 1, 2, 3, 4, 5, 6), _ask(batcher, 1, 2, 3)
    )
    assert answers[1]["y"].ravel().tolist() == [2 * value for value in large]
    assert model.runs == [1, 20, 6, 3]


@pytest.mark.parametrize(
    ("rows", "width", "text", "runs"),
    [
        pytest.param(100, 4, False, [100], id="small rows are computed at once"),
        pytest.param(100_000, 1, False, [32768, 32768, 32768, 1696], id="very many of them are cut by their bytes"),
        pytest.param(100, 150_528, False, [64, 36], id="images are cut by the size of a batch"),
        pytest.param(100, 1, True, [64, 36], id="long texts are cut by the size of a batch"),
    ],
)
def test_a_large_request_is_cut_by_what_it_weighs(rows: int, width: int, text: bool, runs: list[int]) -> None:  # noqa: FBT001
    """What is computed at once is bounded in bytes, never below a batch, and the rows keep their order."""
    found: list[int] = []

    def run(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        found.append(len(inputs["x"]))
        return {"y": inputs["x"][:, :1]}

    if text:
        given = np.array([[b"%d" % index * 5000] for index in range(100)], dtype=object)
    else:
        given = np.broadcast_to(np.arange(rows, dtype=np.float64)[:, None], (rows, width))
    assert np.array_equal(pieces(run, 64)({"x": given})["y"], given[:, :1])
    assert found == runs


async def test_a_bad_row_fails_its_own_request_only() -> None:
    """The batch with the bad row fails; its neighbours are tried alone and answered."""
    batcher = _batcher(Doubling(0.02))
    answers = await asyncio.gather(*(_ask(batcher, row) for row in (1, 2, -1, 3)), return_exceptions=True)
    assert isinstance(answers[2], ModelError)
    assert str(answers[2]) == "KeyError: 'no such code\\nsecond line'"
    assert [answer["y"].item() for answer in answers if isinstance(answer, dict)] == [2, 4, 6]


async def test_a_model_that_hangs_is_cut_at_the_deadline() -> None:
    """The hanging request and those behind it are answered late; once all workers hang the server says so."""
    model = Doubling()
    batcher = _batcher(model, deadline=0.2)
    started = time.monotonic()
    answers = await asyncio.gather(_ask(batcher, -2), _ask(batcher, 1), return_exceptions=True)
    assert all(isinstance(answer, Late) for answer in answers)
    assert 0.15 < time.monotonic() - started < 2
    await asyncio.sleep(0.05)
    assert batcher.hung()
    model.release.set()
    await asyncio.sleep(0.1)
    assert not batcher.hung()
    assert (await _ask(batcher, 4))["y"].item() == 8


async def test_one_hanging_worker_leaves_the_others() -> None:
    """With two workers the second goes on while the first hangs."""
    model = Doubling()
    batcher = _batcher(model, workers=2, joins=False, deadline=1.0)
    stuck = _ask(batcher, -2)
    assert (await _ask(batcher, 5))["y"].item() == 10
    assert not batcher.hung()
    model.release.set()
    await stuck


async def test_a_full_queue_refuses() -> None:
    """Beyond the queue's length a request is refused at once instead of waiting for its deadline."""
    model = Doubling()
    batcher = _batcher(model, queue=3)
    waiting = [_ask(batcher, -2)] + [_ask(batcher, index) for index in range(3)]
    with pytest.raises(Overloaded):
        _ask(batcher, 1)
    model.release.set()
    await asyncio.gather(*waiting)


async def test_requests_of_different_free_shapes_are_not_joined() -> None:
    """A free trailing dimension that differs keeps requests apart, and both are answered."""
    model = Doubling(0.02)
    batcher = _batcher(model)
    first = _ask(batcher, 0)
    narrow = batcher.submit({"x": np.ones((2, 3))}, 2)
    wide = batcher.submit({"x": np.ones((2, 5))}, 2)
    await asyncio.gather(first, narrow, wide)
    assert (await narrow)["y"].shape == (2, 3)
    assert (await wide)["y"].shape == (2, 5)


async def test_a_client_that_left_costs_nobody_else() -> None:
    """A cancelled request in a batch does not disturb the others."""
    batcher = _batcher(Doubling(0.02))
    first, gone, kept = _ask(batcher, 1), _ask(batcher, 2), _ask(batcher, 3)
    gone.cancel()
    assert (await first)["y"].item() == 2
    assert (await kept)["y"].item() == 6
