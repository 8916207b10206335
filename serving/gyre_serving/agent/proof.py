"""Load, prove, keep watching: the agent's work as a small state machine."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gyre_crds.contracts.golden import GoldenRows
from gyre_crds.contracts.serving import FetchOrder
from gyre_crds.reasons import Inference
from gyre_crds.v1alpha1.version import Signature
from gyre_serving.agent.client import Away, Server
from gyre_serving.golden import first_row, prove
from gyre_serving.pod.failure import Failure
from gyre_serving.pod.order import UPSTREAM_VERSION
from gyre_serving.pod.readiness import Readiness


@dataclass(frozen=True)
class Pace:
    """Seconds between the agent's steps."""

    look: float = 0.25
    """While the server starts."""
    check: float = 5.0
    """Between two checks of a version that answers."""
    patience: float = 20.0
    """How long a failure stands in /readyz before the container ends with it."""
    start: float = 180.0
    """How long the server may take to start."""


@dataclass(frozen=True)
class Claim:
    """What is to be proven: this version, under this name, answers these rows so."""

    order: FetchOrder
    signature: Signature
    golden: GoldenRows | None
    """None where the version carries none."""


class Prover:
    """Makes the version answer and says whether it does.

    Args:
        connect: opens a conversation with the Triton beside it. There is a new one for each step: Triton that is
            told to end waits for open connections, and the agent must not be the one that holds it.
        claim: what is to be proven.
        readiness: where the outcome goes.
        pace: how often and how long.
    """

    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[Server]], claim: Claim, readiness: Readiness, pace: Pace
    ) -> None:
        self._connect = connect
        self._order, self._signature, self._golden = claim.order, claim.signature, claim.golden
        self._readiness = readiness
        self._pace = pace
        self._proven = False
        self._failing: float | None = None  # since when a failure stands

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            Failure: the version never answered right; a version that did once is tried again for ever.
        """
        begun = time.monotonic()
        while True:
            try:
                async with self._connect() as server:
                    await self._step(server)
                self._failing, pause = None, self._pace.check
            except Away as away:
                self._away(str(away), begun)
                pause = self._pace.look
            except Failure as failure:
                self._readiness.down(failure)
                self._failing = self._failing or time.monotonic()
                if not self._proven and time.monotonic() - self._failing >= self._pace.patience:
                    raise
                pause = min(5.0, self._pace.patience / 4)
            await asyncio.sleep(pause)

    async def _step(self, server: Server) -> None:
        name, started = self._order.name, time.monotonic()
        if not await server.live():
            raise Away("no answer on /v2/health/live")
        # Loading anew costs memory and time: only for a server that started empty, or a version that fails.
        if self._failing is not None or not await server.loaded(name, UPSTREAM_VERSION):
            self._tell(f"Triton loads {self._order.version}")
            await server.load(name)
        elif self._readiness.ready:
            await server.infer(name, UPSTREAM_VERSION, first_row(self._signature, self._golden))
            return
        self._tell(f"{self._order.version} is loaded; the golden rows are answered")
        message = await prove(
            lambda inputs: server.infer(name, UPSTREAM_VERSION, inputs),
            self._order.version,
            self._signature,
            self._golden,
        )
        self._proven = True
        self._readiness.up(f"{message}; loaded and proven in {time.monotonic() - started:.2f} s")

    def _tell(self, message: str) -> None:
        """What goes on; a failure that is tried again stays in sight until it is gone."""
        if self._failing is None:
            self._readiness.wait(message)

    def _away(self, why: str, begun: float) -> None:
        waited = time.monotonic() - begun
        failure = Failure(Inference.STARTING, f"Triton does not answer: {why}", retry=True)
        self._readiness.down(failure)
        if not self._proven and waited >= self._pace.start:
            raise Failure(
                Inference.MODEL_DOES_NOT_LOAD,
                f"Triton did not start within {self._pace.start:.0f} s; see the log of container triton",
                retry=True,
            )
