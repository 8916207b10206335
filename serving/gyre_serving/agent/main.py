"""The container `agent` beside Triton: its settings, its probe port, its end."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys

from gyre_crds.contracts.serving import AGENT_PORT, SERVER_PORT, FetchOrder
from gyre_crds.reasons import Inference
from gyre_serving.agent.client import Triton
from gyre_serving.agent.proof import Claim, Pace, Prover
from gyre_serving.golden.signature import of_version
from gyre_serving.pod.failure import Failure, report
from gyre_serving.pod.http import Answer, Request, Server, listen
from gyre_serving.pod.order import Places, golden_rows, order, places
from gyre_serving.pod.readiness import Readiness
from gyre_serving.ports import port as as_port

ADDRESS_ENV = "GYRE_TRITON_ADDRESS"


def main(arguments: list[str]) -> int:
    """Load the version of `GYRE_FETCH` into Triton, answer /readyz and /healthz.

    Returns:
        0 after SIGTERM, EXIT_USER when the version does not load or answers otherwise than at training.
    """
    parser = argparse.ArgumentParser(
        prog="gyre-serving agent",
        description="Load the version that GYRE_FETCH names into the Triton at GYRE_TRITON_ADDRESS "
        f"(127.0.0.1:{SERVER_PORT}) and answer /readyz: 200 once the golden rows came out as at training.",
    )
    parser.add_argument("--port", type=as_port, default=AGENT_PORT, help="probe port (default: %(default)s)")
    parser.add_argument(
        "--patience", type=float, default=Pace.patience, help="seconds a failure stands in /readyz before the end"
    )
    parser.add_argument(
        "--check", type=float, default=Pace.check, help="seconds between two checks of a version that answers"
    )
    options = parser.parse_args(arguments)
    try:
        asyncio.run(
            _run(order(), places(), port=options.port, pace=Pace(patience=options.patience, check=options.check))
        )
    except Failure as failure:
        return report(failure)
    return 0


async def _run(told: FetchOrder, where: Places, *, port: int, pace: Pace) -> None:
    readiness = Readiness(told.version)
    probe = Server(lambda request: _answer(request, readiness), max_body=0)
    await listen(probe, "0.0.0.0", port)  # noqa: S104  the kubelet asks from outside of the pod
    signature = of_version(where.tree)
    address = os.environ.get(ADDRESS_ENV, f"127.0.0.1:{SERVER_PORT}")
    key = _key(where)
    claim = Claim(told, signature, golden_rows(where.tree))
    sequences = told.options is not None and told.options.sequence is not None
    prover = Prover(lambda: Triton(address, key, signature, sequences=sequences), claim, readiness, pace)
    work = asyncio.create_task(prover.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work
    await probe.close(grace=1.0, linger=0)
    sys.stdout.write("agent stopped\n")


async def _answer(request: Request, readiness: Readiness) -> Answer:
    if request.path == "/readyz":
        return readiness.answer()
    if request.path == "/healthz":
        return Answer(200, b'{"ok":true}')
    return Answer(404, b'{"error":"only /readyz and /healthz are here"}')


def _key(where: Places) -> str:
    try:
        return where.key.read_text().strip()
    except OSError as error:
        raise Failure(
            Inference.MODEL_DOES_NOT_LOAD,
            f"{where.key} cannot be read ({error.strerror}); run `gyre-serving fetch` on the same volume first",
        ) from error
