"""A process under measurement: what it used, according to /proc."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.controller.site import Site, credentials
from tests.integration.engine.harness import Operator

_ROOT = Path(__file__).parents[3]
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """One process, by its id."""

    pid: int

    def cpu(self) -> float:
        """Seconds of user and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def peak(self) -> float:
        """Largest resident set so far, MB (10^6 bytes)."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
        return int(kib) * 1024 / 1e6

    async def settled(self, *, quiet: float = 2.0, limit: float = 300) -> float:
        """Wait until it used less than 5 % of a core for `quiet` seconds; its CPU seconds when that began."""
        for _ in range(int(limit / quiet)):
            before = self.cpu()
            await asyncio.sleep(quiet)
            if self.cpu() - before < 0.05 * quiet:
                return before
        raise TimeoutError(f"not at rest within {limit:g} s")


def gyre(site: Site, folder: Path, namespace: str) -> Operator:
    """Gyre's operator over one namespace with the TrainingJob controller alone, not yet started."""
    return Operator(
        folder,
        str(site.plane.kubeconfig),
        namespace,
        program="tests.integration.training.program",
        store={"uri": f"file://{folder / 'store'}"},
    )


async def ready(operator: Operator) -> None:
    """Until it says that its stores are filled and it leads."""
    for _ in range(600):
        if (await operator.health())[0] == 200:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"the operator was not ready within 60 s: {operator.log.read_text()[-2000:]}")


@asynccontextmanager
async def naive(site: Site, folder: Path, namespace: str) -> AsyncIterator[Usage]:
    """The peer over one namespace."""
    environment = {
        **credentials(site.plane),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(["crds", "operators", str(_ROOT)]),
        "KUBECONFIG": str(site.plane.kubeconfig),
    }
    command = ["-m", "kopf", "run", "--standalone", "--quiet", "-n", namespace, "-m", "tests.bench.controller.naive"]
    with (folder / f"naive-{namespace}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, cwd=_ROOT, stdout=log, stderr=log
        )
        try:
            await asyncio.sleep(3)
            yield Usage(process.pid)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
