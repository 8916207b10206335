"""Versions come and go on a running Triton without a failed request."""

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from gyre_crds.contracts.serving import FetchOrder
from gyre_serving.agent.client import Triton
from gyre_serving.pod.failure import Failure
from gyre_serving.pod.order import Places
from gyre_serving.triton import render
from tests.serving.support import pod, triton
from tests.serving.support.pod import call
from tests.serving.support.versions import Version, infer_body, publish, signature


class Traffic:
    """Clients that ask version 1 without pause and count what they get."""

    def __init__(self, port: int, body: bytes, clients: int = 4) -> None:
        self.statuses: Counter[int] = Counter()
        self._port, self._body = port, body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            status, _ = call(self._port, "/v2/models/census/versions/1/infer", self._body)
            self.statuses[status] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _add(order: FetchOrder, tree: Path, repository: Path, number: int) -> None:
    render(order, signature(), tree=tree, repository=repository, number=number)


async def test_load_over_fails_no_request_and_a_broken_version_leaves_the_old_one(
    version: Version, installation: triton.Installation, tmp_path: Path, root: Path
) -> None:
    """Under four clients: version 2 is broken and refused, then replaced by a good one that is loaded beside 1."""
    order = version.order()
    assert pod.fetch(order, root).returncode == 0
    where = Places(root)
    other = publish(tmp_path / "other", seed=5)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no model")
    with triton.running(installation, root) as server:
        server.wait()
        async with Triton(server.address, where.key.read_text(), signature()) as client:
            await client.load("census")
            with Traffic(server.port, infer_body(version.rows[:1])) as traffic:
                _add(order, broken, where.repository, 2)
                with pytest.raises(Failure, match="Protobuf parsing failed"):
                    await client.load("census")
                _add(order, other.tree, where.repository, 2)
                await client.load("census")
                answers = [
                    (await client.infer("census", number, {"X": version.rows[:500]}))["probabilities"]
                    for number in ("1", "2")
                ]
                await asyncio.sleep(0.3)
    for answered, asked in zip(answers, (version, other), strict=True):
        assert np.abs(answered - asked.model.predict_proba(version.rows[:500])).max() < 1e-6
    assert np.abs(answers[0] - answers[1]).max() > 1e-5
    assert set(traffic.statuses) == {200}
    assert traffic.statuses[200] > 100
