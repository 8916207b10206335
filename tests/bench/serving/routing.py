"""Router beside proxies: CPU a request, alone and with a mirror."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.serving import proxies, report
from tests.bench.serving.load import (
    CLIENT_CORE,
    SERVER_CORE,
    Command,
    Round,
    Started,
    measure,
    rest,
    running,
    wait,
    wrk_script,
)
from tests.bench.serving.options import Options
from tests.bench.serving.programs import Missing

Maker = Callable[[Path, int], Command]
MAKERS: dict[str, Maker] = {
    "router": proxies.router,
    "router, checked and logged": lambda folder, model: proxies.router(folder, model, full=True),
    "Envoy": proxies.envoy_proxy,
    "nginx": proxies.nginx_proxy,
    "haproxy": proxies.haproxy_proxy,
    "FastAPI + httpx": proxies.fastapi_proxy,
}


@contextlib.contextmanager
def model_server(folder: Path) -> Iterator[int]:
    """What every proxy forwards to; its port."""
    command = proxies.upstream(folder / "model")
    with running(command, CLIENT_CORE):
        yield command.port


@contextlib.contextmanager
def started(name: str, maker: Maker, folder: Path, model: int) -> Iterator[Started]:
    """One proxy, up and answering."""
    command = maker(folder / name.replace(" ", "-"), model)
    with running(command, SERVER_CORE) as pid:
        target = Started(name, command.port, pid, works_on=command.works_on)
        # What works on does so for the first time before anything is measured.
        for _ in range(100 if target.works_on else 1):
            wait(target, *proxies.bodies()["tiny JSON"])
        if target.works_on:
            rest(pid)
        yield target


def cpu(options: Options) -> None:
    """CPU a request of each proxy: sticky split, path rewrite, kept connections; rounds interleaved."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(model_server(folder))
        found: list[Started] = []
        for name, maker in MAKERS.items():
            try:
                found.append(stack.enter_context(started(name, maker, folder, model)))
            except (Missing, RuntimeError) as error:
                report.say(f"{name} is left out: {error}")
        report.head("Router: CPU a request (and median latency)", ["body", "connections", *[one.name for one in found]])
        for name, (body, headers) in proxies.bodies().items():
            script = wrk_script(folder, name.replace(" ", "-"), body, headers)
            for count in options.connections:
                rounds: dict[str, list[Round]] = {one.name: [] for one in found}
                for _ in range(options.rounds):
                    for one in found:
                        rounds[one.name].append(measure(one, script, count, options.seconds))
                report.row(name, str(count), *[report.cell(each) for each in rounds.values()])


def mirror(options: Options) -> None:
    """CPU a request with one in ten mirrored and compared, beside the plain route; rounds interleaved."""
    makers: dict[str, Maker] = {
        "plain": proxies.router,
        "mirror 10 %": lambda folder, model: proxies.router(folder, model, mirror=0.1),
    }
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(model_server(folder))
        found = [stack.enter_context(started(name, maker, folder, model)) for name, maker in makers.items()]
        report.head("Router: CPU a request with a mirror", ["body", "connections", *makers, "ratio"])
        for name, (body, headers) in proxies.bodies().items():
            script = wrk_script(folder, name.replace(" ", "-"), body, headers)
            rounds: dict[str, list[Round]] = {one.name: [] for one in found}
            for _ in range(options.rounds):
                for one in found:
                    rounds[one.name].append(measure(one, script, 4, options.seconds))
            plain, mirrored = (report.median([each.cpu for each in rounds[maker]]) for maker in makers)
            cells = [report.cell(each) for each in rounds.values()]
            report.row(name, "4", *cells, f"{mirrored / plain:.2f}")
