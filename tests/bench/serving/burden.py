"""What the router holds in memory: at rest, and with many connections and every payload logged."""

import contextlib
import tempfile
from pathlib import Path

from tests.bench.serving import proxies, report, routing
from tests.bench.serving.load import measure, memory, wrk_script
from tests.bench.serving.options import Options

CONNECTIONS = 1000


def held(options: Options) -> None:
    """Peak memory under 1,000 busy connections, each request checked and logged, beside the router at rest."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(routing.model_server(folder))
        router = stack.enter_context(
            routing.started("router", lambda at, to: proxies.router(at, to, full=True, sample=1.0), folder, model)
        )
        rest = memory(router.pid)
        script = wrk_script(folder, "body", *proxies.bodies()["tiny JSON"])
        loaded = measure(router, script, CONNECTIONS, options.seconds * 5)
        peak = memory(router.pid, "VmHWM")
    report.head("Router: memory at 1,000 connections, all logged", ["at rest", "peak", "more", "rate"])
    report.row(f"{rest:.0f} MB", f"{peak:.0f} MB", f"{peak - rest:+.0f} MB", f"{loaded.rate:.0f}/s")
