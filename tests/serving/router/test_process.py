"""The router as it is run: a process with signals, a real S3 server, and its end in every form."""

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest

from gyre_serving.__main__ import main
from tests.serving.support.router import answers
from tests.serving.support.s3 import rows, served


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a store on a real S3 server."""
    with served(tmp_path / "s3", tmp_path / "meta") as environment:
        yield environment


async def _ask(session: aiohttp.ClientSession, url: str, document: Any) -> tuple[int, Any, Any]:
    async with session.post(url, data=json.dumps(document)) as answer:
        return answer.status, json.loads(await answer.read()), answer.headers


async def test_sigterm_under_load_fails_nothing_and_writes_everything(
    launch: Any, models: Any, kit: Any, s3: dict[str, str]
) -> None:
    """SIGTERM under load: every request is answered, every row and label is in S3, and the exit code is 0."""
    rule = {"prefix": "s3://gyre/a/payloads/m", "feedbackPrefix": "s3://gyre/a/feedback/m", "flushSeconds": 600}
    router = launch(kit.table(kit.route(await models()), payloads=rule), "--drain-delay", "0.5", **s3)
    statuses: list[int] = []
    labelled = 0
    unready = asyncio.Event()
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            nonlocal labelled
            while not unready.is_set():
                status, _, headers = await _ask(session, f"{router.url}/v2/models/m/infer", kit.rows([60, 1, 1]))
                statuses.append(status)
                label = {"id": headers["x-gyre-feedback-id"], "label": 1}
                if len(statuses) % 5 == 0:
                    status, _, _ = await _ask(session, f"{router.url}/v1/feedback", label)
                    labelled += status == 200

        clients = [asyncio.create_task(client()) for _ in range(6)]
        await asyncio.sleep(0.7)
        router.process.send_signal(signal.SIGTERM)
        while await asyncio.to_thread(answers, f"{router.control}/readyz"):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)
        after = len(statuses)
        await asyncio.sleep(0.2)
        unready.set()  # as a Service stops sending to a Pod that is not ready
        await asyncio.gather(*clients)
    code = await asyncio.to_thread(router.process.wait, 60)
    said = await asyncio.to_thread(router.log.read_text)
    assert code == 0, said
    assert "they are lost" not in said
    assert set(statuses) == {200}
    assert len(statuses) > after
    assert len(rows("s3://gyre/a/payloads/m", s3)) == len(statuses)
    assert len(rows("s3://gyre/a/feedback/m", s3)) == labelled > 10


async def _ask_until_it_breaks(session: aiohttp.ClientSession, router: Any, document: Any) -> None:
    while True:
        try:
            await _ask(session, f"{router.url}/v2/models/m/infer", document)
        except aiohttp.ClientError:
            return


async def test_sigkill_leaves_only_whole_parts(launch: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Killed while it writes parts as fast as it can, the router leaves no file that a reader cannot read."""
    rule = {"prefix": f"file://{tmp_path}/log", "feedbackPrefix": f"file://{tmp_path}/labels", "flushSeconds": 0.01}
    router = launch(kit.table(kit.route(await models()), payloads=rule))
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(_ask_until_it_breaks(session, router, kit.rows(*[[60, 1, 1]] * 50)))
        for _ in range(400):
            await asyncio.sleep(0.02)
            if len(await asyncio.to_thread(lambda: list((tmp_path / "log").rglob("*.parquet")))) > 2:
                break
        router.process.kill()
        await asking
    parts = await asyncio.to_thread(lambda: [pq.read_table(path) for path in (tmp_path / "log").rglob("*.parquet")])
    assert len(parts) > 2
    assert all(part.num_rows % 50 == 0 and part.num_rows for part in parts)


def test_taken_port_is_one_sentence(launch: Any, kit: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A port that is taken ends the start with one sentence that names it, and exit code 2."""
    first = launch(kit.table())
    port = first.url.rsplit(":", 1)[1]
    (tmp_path / "other.json").write_text(kit.table())
    assert main(["router", "--table", str(tmp_path / "other.json"), "--host", "127.0.0.1", "--port", port]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"gyre-serving router: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "end what listens there, or choose another --port"
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("option", ["--port", "--control-port", "--grpc-port"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_port_that_is_taken_names_its_option(
    kit: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, processes: str
) -> None:
    """The cure is the option that gave the port, with one process and with several."""
    (tmp_path / "table.json").write_text(kit.table())
    ports = {"--port": "0", "--control-port": "0", "--processes": processes}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports[option] = str(taken.getsockname()[1])
        options = [word for pair in ports.items() for word in pair]
        assert main(["router", "--table", str(tmp_path / "table.json"), "--host", "127.0.0.1", *options]) == 2
    gc.collect()  # the ports that were had, which the end of the process would close
    assert capsys.readouterr().err.endswith(
        f"127.0.0.1:{ports[option]}: Address already in use; end what listens there, or choose another {option}\n"
    )


def test_port_without_the_right_to_it_is_one_sentence(kit: Any, tmp_path: Path) -> None:
    """Port 80 as a user that may not have it: exit code 2, and the option with a number that works."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("on this machine everybody may have port 80")
    (tmp_path / "table.json").write_text(kit.table())
    command = [sys.executable, "-m", "gyre_serving", "router", "--table", str(tmp_path / "table.json"), "--port", "80"]
    if not os.geteuid():
        command = ["setpriv", "--bounding-set", "-net_bind_service", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(":80: Permission denied; this user may not have it; choose --port of 1024 or above\n")


TOKENS = {"auth": {"tokens": "/nowhere/tokens"}}


@pytest.mark.parametrize(
    ("service", "file", "options", "sentence"),
    [
        pytest.param({}, "missing.json", [], "missing.json: No such file or directory; write the rou", id="no-table"),
        pytest.param({}, ".", [], ": Is a directory; write the routing table there", id="a-directory-as-table"),
        pytest.param({"limits": {"concurrency": 0}}, "table.json", [], "must be positive", id="a-broken-table"),
        pytest.param(TOKENS, "table.json", [], "services.m.auth.tokens: /nowhere/tokens: No such", id="no-tokens"),
        pytest.param({}, "table.json", ["--host", "192.0.2.7"], "choose an address of this machine", id="not-our-host"),
        pytest.param({}, "table.json", ["--processes", "0"], "--processes: give 1 or more", id="no-process"),
    ],
)
def test_what_keeps_a_router_from_starting_is_one_sentence(  # noqa: PLR0917  a table's columns
    kit: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, service: Any, file: str, options: list[str],
    sentence: str,
) -> None:  # fmt: skip
    """Exit code 2, and the field or option with its cure."""
    table = json.loads(kit.table())
    table["services"][0] |= service
    (tmp_path / "table.json").write_text(json.dumps(table | {"generation": ""}))
    ports = ["--port", "0", "--control-port", "0"]
    assert main(["router", "--table", str(tmp_path / file), *ports, *options]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("text", ["65536", "-1", "http"])
def test_number_that_is_no_port(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """It is refused with what a port is."""
    with pytest.raises(SystemExit) as ended:
        main(["router", f"--port={text}"])
    assert ended.value.code == 2
    assert f"argument --port: {text!r} is no port: give 0 to 65535" in capsys.readouterr().err


def test_outside_of_a_pod_the_cure_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file and outside of a cluster the router says which option to give."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert main(["router"]) == 2
    assert "give --table FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [pytest.param([], 2, id="none"), pytest.param(["--help"], 0, id="help"), pytest.param(["rooter"], 2, id="typo")],
)
def test_commands(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The entry point names its commands when it is asked or does not understand."""
    assert main(arguments) == code
    said = capsys.readouterr()
    assert "router" in said.out + said.err
