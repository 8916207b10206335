"""The way of an alert: numbers, a real Prometheus with our rules, a real Alertmanager with our routes, a webhook."""

import http.client
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

import gyre_monitoring
from tests.monitoring.support.programs import program

ALERTS = Path(gyre_monitoring.__file__).parent / "alerts"
_PATIENCE = 60.0


class Desk:
    """Serves the operator's numbers, and takes what is notified."""

    def __init__(self) -> None:
        self.samples = ""
        self.notified: list[tuple[str, dict[str, Any]]] = []
        """Receiver and body of each notification."""
        self.prometheus = self.alertmanager = 0
        """Their ports."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def show(self, series: Mapping[str, float]) -> None:
        """What the next scrape finds."""
        self.samples = "".join(f"{name} {value}\n" for name, value in series.items())

    def firing(self) -> set[tuple[str, str, str]]:
        """Namespace, monitor and name of the alerts that fire in Prometheus."""
        alerts = json.loads(_ask(self.prometheus, "/api/v1/alerts")[1])["data"]["alerts"]
        labels = [one["labels"] for one in alerts if one["state"] == "firing"]
        return {(one.get("namespace", ""), one.get("monitor", ""), one["alertname"]) for one in labels}

    def told(self, receiver: str, namespace: str) -> list[set[str]]:
        """Names of the alerts in each notification of a receiver that speaks of a namespace."""
        found = []
        for to, body in self.notified:
            names = {a["labels"]["alertname"] for a in body["alerts"] if a["labels"].get("namespace") == namespace}
            found += [names] if to == receiver and names else []
        return found

    def alert(self, namespace: str, monitor: str, name: str) -> None:
        """Put an alert of P1 to Alertmanager directly."""
        labels = {"alertname": name, "namespace": namespace, "monitor": monitor, "priority": "P1"}
        _ask(self.alertmanager, "/api/v2/alerts", json.dumps([{"labels": labels}]))

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Both programs running with our files, waits cut to a second."""
    made = Desk()
    with ExitStack() as stack:
        stack.callback(made.close)
        page, metrics, gossip = (_free() for _ in range(3))
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(_routes(made.port)), encoding="utf-8")
        (folder / "rules.yaml").write_text(_rules(), encoding="utf-8")
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(_scrapes(made.port, page)), encoding="utf-8")
        stack.enter_context(_running(folder, "prometheus-alertmanager", [
            "--config.file=alertmanager.yaml", "--storage.path=am", f"--web.listen-address=127.0.0.1:{page}",
            f"--cluster.listen-address=127.0.0.1:{gossip}",
        ]))  # fmt: skip
        stack.enter_context(_running(folder, "prometheus", [
            "--config.file=prometheus.yaml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{metrics}",
        ]))  # fmt: skip
        made.prometheus, made.alertmanager = metrics, page
        wait(lambda: _ready(made.alertmanager) and _ready(made.prometheus))
        yield made


def wait(condition: Callable[[], object]) -> None:
    """Until the condition holds.

    Raises:
        TimeoutError: it did not within a minute.
    """
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the alerts did not come in a minute")
        time.sleep(0.2)


def _handler(desk: Desk) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(desk.samples.encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            desk.notified.append((self.path.strip("/"), body))
            self._answer(b"")

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _routes(port: int) -> dict[str, Any]:
    """Our file, each receiver a webhook; a day cannot be waited for, so waits are seconds."""
    config: dict[str, Any] = yaml.safe_load((ALERTS / "alertmanager.yaml").read_text(encoding="utf-8"))
    for receiver in config["receivers"]:
        name = receiver["name"]
        receiver["webhook_configs"] = [{"url": f"http://127.0.0.1:{port}/{name}", "send_resolved": False}]
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "3s", "group_interval": "2s", "repeat_interval": "1h"}
    return config


def _rules() -> str:
    """Our rules, without the minutes that an alert has to last."""
    return re.sub(r"(?m)^( +for:) .*$", r"\1 0s", (ALERTS / "rules.yaml").read_text(encoding="utf-8"))


def _scrapes(numbers: int, page: int) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {"job_name": "operator", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{numbers}"]}]}
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{page}"]}]}]},
    }


@contextmanager
def _running(folder: Path, name: str, arguments: Sequence[str]) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([program(name), *arguments], cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def _ready(port: int) -> bool:
    try:
        return _ask(port, "/-/ready")[0] == 200
    except OSError:
        return False


def _ask(port: int, path: str, body: str | None = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def _free() -> int:
    with closing(socket.socket()) as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])
