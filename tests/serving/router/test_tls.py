"""TLS on the data port: callers known by their certificates, tokens that nobody overhears, renewal in use."""

import asyncio
import contextlib
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from gyre_serving.router.auth.tls import TlsFiles
from gyre_serving.router.main import main
from tests.serving.support.certificates import Authority, Pair, client_context, secret
from tests.serving.support.triton import free_port

INFER = "/v2/models/m/infer"
SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"
TOKEN = "a-token-of-sixteen"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Signs servers and clients."""
    return Authority()


@pytest.fixture(scope="module")
def foreign() -> Authority:
    """Signs clients that are nobody's."""
    return Authority("foreign")


@dataclass
class Secure:
    """A router with a TLS port, and how to reach it."""

    running: Any
    model: Any
    authority: Authority
    folder: Path
    rows: Any

    @property
    def port(self) -> int:
        """Of TLS."""
        return int(self.running.router.port.tls.port)

    async def ask(self, shown: Pair | None = None, **headers: str) -> tuple[int, Any, Any]:
        """Status, answer and headers of a new connection."""
        files = shown.files(self.folder / "clients", "one") if shown is not None else None
        context = client_context(self.authority, files)
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"https://127.0.0.1:{self.port}{INFER}",
                data=json.dumps(self.rows([1, 1, 1])),
                headers=headers,
                ssl=context,
            ) as answer,
        ):
            return answer.status, json.loads(await answer.read()), answer.headers

    async def refresh(self) -> None:
        """Look at the files now."""
        await self.running.router.port.tls.refresh()


@pytest.fixture
def secured(start: Any, models: Any, kit: Any, authority: Authority, tmp_path: Path) -> Any:
    """Starts a router whose service asks for what the test says."""

    async def make(*authorities: Authority, **auth: Any) -> Secure:
        files = TlsFiles.in_directory(secret(tmp_path / "tls", authority.server(), *(authorities or (authority,))))
        model = await models()
        more = {"auth": auth} if auth else {}
        running = await start(kit.table(kit.route(model), **more), tls=files, tls_port=0)
        made = Secure(running, model, authority, tmp_path, kit.rows)
        await made.refresh()
        return made

    return make


@pytest.mark.parametrize(
    ("names", "status", "sentence"),
    [
        pytest.param({"uri": SPIFFE}, 200, None, id="the URI, as SPIFFE has it"),
        pytest.param({"dns": "web.shop.svc"}, 200, None, id="a DNS name"),
        pytest.param({"common_name": "web"}, 200, None, id="the subject's common name"),
        pytest.param({"uri": SPIFFE + "2"}, 403, f"m: a certificate of uri:{SPIFFE}2 is not among", id="another URI"),
        pytest.param({"dns": "web"}, 403, "m: a certificate of dns:web is not among", id="a name of another sort"),
        pytest.param({"common_name": "WEB"}, 403, "cn:WEB", id="another spelling"),
        pytest.param(None, 401, "m: show a client certificate", id="no certificate"),
    ],
)
async def test_certificates_name_who_may_ask(
    secured: Any, authority: Authority, names: dict[str, str] | None, status: int, sentence: str | None
) -> None:
    """Each sort of name counts as that sort only; a known stranger is told its name, and reaches no model."""
    router = await secured(certificates=[f"uri:{SPIFFE}", "dns:web.shop.svc", "cn:web"])
    shown = (
        authority.client(names.get("common_name", ""), uri=names.get("uri", ""), dns=names.get("dns", ""))
        if names is not None
        else None
    )
    got, answer, _ = await router.ask(shown)
    assert got == status
    if sentence is not None:
        assert sentence in answer["error"]
    assert len(router.model.heads) == (status == 200)


async def test_plain_http_is_told_the_port(secured: Any, kit: Any) -> None:
    """A service that asks for certificates answers nobody without TLS, and its sentence says where to go."""
    router = await secured(certificates=["cn:web"])
    status, answer, headers = await router.running.infer(kit.rows([1, 1, 1]))
    assert (status, headers["www-authenticate"]) == (401, 'ClientCertificate realm="gyre"')
    ports = "https on port 443, a pod's 8443; gRPC on 8444"
    assert answer["error"] == f"m: ask over TLS ({ports}) and show a client certificate"


@pytest.mark.parametrize(
    ("signer", "seconds"),
    [
        pytest.param("authority", -1.0, id="expired"),
        pytest.param("foreign", 3600.0, id="signed by somebody else"),
    ],
)
async def test_bad_certificates_shake_no_hands(
    secured: Any, request: pytest.FixtureRequest, signer: str, seconds: float
) -> None:
    """Also where the service asks for none: who shows a certificate must be able to."""
    router = await secured(certificates=["cn:web"])
    with pytest.raises((aiohttp.ClientError, OSError)):
        await router.ask(request.getfixturevalue(signer).client("web", seconds=seconds))
    assert router.model.heads == []


async def test_certificate_that_runs_out_on_an_open_connection_counts_no_more(
    secured: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may live for days; what it proved ends with the certificate."""
    router = await secured(certificates=["cn:web"])
    context = client_context(authority, authority.client("web", seconds=3600).files(router.folder, "short"))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, ssl=context)
    assert await _once(reader, writer, router.rows) == 200
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert await _once(reader, writer, router.rows) == 401
    await _close(writer)


@pytest.mark.parametrize(("seconds", "said"), [pytest.param(30, 1, id="soon"), pytest.param(3600, 0, id="much later")])
async def test_certificate_that_ends_soon_is_asked_for_anew(
    secured: Any, authority: Authority, seconds: float, said: int
) -> None:
    """The connection is closed behind an answer before its certificate ends: who has a new one misses none."""
    router = await secured(certificates=["cn:web"])
    context = client_context(authority, authority.client("web", seconds=seconds).files(router.folder, "short"))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, ssl=context)
    body = json.dumps(router.rows([1, 1, 1])).encode()
    writer.write(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.lower().count(b"connection: close") == said
    await _close(writer)


async def test_any_of_several_ways_will_do(secured: Any, authority: Authority, tmp_path: Path) -> None:
    """A token over TLS or in the clear, or a certificate; no model server sees the token."""
    (tmp_path / "callers").mkdir()
    (tmp_path / "callers" / "batch").write_text(TOKEN)
    router = await secured(certificates=["cn:web"], tokens=str(tmp_path / "callers"))
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert (await router.ask(None, **bearer))[0] == 200
    assert (await router.ask(authority.client("web")))[0] == 200
    assert (await router.ask(authority.client("other"), **bearer))[0] == 200
    assert (await router.running.infer(router.rows([1, 1, 1]), headers=bearer))[0] == 200
    assert (await router.ask(authority.client("other"), authorization="Bearer nobodys-token-at-all"))[0] == 401
    assert [head for head in router.model.heads if "authorization" in head] == []


async def test_open_service_answers_over_tls_too(secured: Any) -> None:
    """TLS without certificates of clients: the port is for everybody."""
    router = await secured()
    status, _, headers = await router.ask()
    assert (status, headers["x-gyre-version"]) == (200, "v-r1")


async def test_authority_that_is_withdrawn_gets_one_answer_more(
    secured: Any, authority: Authority, foreign: Authority
) -> None:
    """An open connection is asked to come again, which it then cannot; one more authority disturbs nobody."""
    router = await secured(authority, certificates=["cn:web"])
    context = client_context(authority, authority.client("web").files(router.folder, "old"))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, ssl=context)
    server = authority.server()
    secret(router.folder / "tls", server, authority, foreign)
    await router.refresh()
    assert await _once(reader, writer, router.rows) == 200
    assert not reader.at_eof()
    assert (await router.ask(foreign.client("web")))[0] == 200
    secret(router.folder / "tls", server, foreign)
    await router.refresh()
    assert await _once(reader, writer, router.rows) == 200
    await asyncio.wait_for(reader.read(), 5)
    assert reader.at_eof()
    await _close(writer)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await router.ask(authority.client("web"))
    assert (await router.ask(foreign.client("web")))[0] == 200


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        pytest.param("tls.key", None, "cannot be used", id="a key of another certificate"),
        pytest.param("tls.crt", b"", "missing or empty", id="an empty certificate"),
        pytest.param("ca.crt", b"rubbish", "cannot be used", id="an authority that is none"),
    ],
)
async def test_broken_files_leave_the_last_good_ones(
    secured: Any, authority: Authority, file: str, content: bytes | None, problem: str
) -> None:
    """The port goes on, the state says what is wrong, and good files are taken again."""
    router = await secured(certificates=["cn:web"])
    good = (router.folder / "tls" / file).read_bytes()
    (router.folder / "tls" / file).write_bytes(authority.server().key if content is None else content)
    await router.refresh()
    assert (await router.ask(authority.client("web")))[0] == 200
    assert problem in (await router.running.get_control("/v1/state"))["tls"]
    (router.folder / "tls" / file).write_bytes(good)
    await router.refresh()
    assert (await router.running.get_control("/v1/state"))["tls"] == ""


async def test_state_tells_what_the_secret_lacks(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """Nothing yet, then no authority, then all; without a directory there is nothing to tell."""
    authority = Authority()
    plain = await start(kit.table(kit.route(await models())))
    assert (await plain.get_control("/v1/state"))["tls"] is None
    router = await start(kit.table(kit.route(await models())), tls=TlsFiles.in_directory(tmp_path / "s"), tls_port=0)

    async def said() -> str:
        await router.router.port.tls.refresh()
        return str((await router.get_control("/v1/state"))["tls"])

    assert "missing or empty" in await said()
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", router.router.port.tls.port)
    secret(tmp_path / "s", authority.server())
    assert await said() == "ca.crt, which says who signs callers' certificates, is missing"
    secret(tmp_path / "s", authority.server(), authority)
    assert await said() == ""


def test_router_does_not_start_with_a_key_of_another_certificate(
    authority: Authority, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Who runs it by hand hears of it at once, not when the first caller fails."""
    certificate, _ = authority.server().files(tmp_path, "one")
    _, key = authority.server().files(tmp_path, "two")
    assert main(["--table", str(tmp_path / "t"), "--tls-cert", certificate, "--tls-key", key]) == 2
    assert f"{certificate}, {key} or their authority cannot be used" in capsys.readouterr().err


class Served(NamedTuple):
    """Router processes that ask for the certificate of `web`."""

    port: int
    context: ssl.SSLContext
    """What the client web needs."""
    authority: Authority
    kit: Any
    process: Any


@pytest.fixture
def secure(launch: Any, models: Any, kit: Any, authority: Authority, tmp_path: Path) -> Any:
    """Starts router processes with a TLS port."""

    async def make(processes: int) -> Served:
        directory, port = secret(tmp_path / "tls", authority.server(), authority), free_port()
        table = kit.table(kit.route(await models()), auth={"certificates": ["cn:web"]})
        named = {"--tls-cert": "tls.crt", "--tls-key": "tls.key", "--client-ca": "ca.crt"}
        each = [text for option, file in named.items() for text in (option, str(directory / file))]
        files = ["--tls-directory", str(directory)] if processes == 1 else each
        options = [*files, "--tls-port", str(port), "--processes", str(processes)]
        router = launch(table, *options, "--drain-delay", "0.5")
        context = client_context(authority, authority.client("web").files(tmp_path, "web"))
        await _listens(port, context)
        return Served(port, context, authority, kit, router.process)

    return make


@pytest.mark.parametrize(
    ("processes", "renewals"),
    [
        pytest.param(1, 2, id="one process, twice, a directory"),
        pytest.param(2, 1, id="two processes, once, named files"),
    ],
)
async def test_certificates_are_renewed_under_load(secure: Any, tmp_path: Path, processes: int, renewals: int) -> None:
    """Not one request fails, on old connections and on new ones, and new ones soon meet the new certificate."""
    port, context, authority, kit, _ = await secure(processes)
    directory = tmp_path / "tls"
    done, failed = asyncio.Event(), []
    asked = [0, 0]

    async def stay() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        while not done.is_set():
            failed.extend([1] * (await _once(reader, writer, kit.rows) != 200))
            asked[0] += 1
        await _close(writer)

    async def come_and_go() -> None:
        while not done.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            failed.extend([1] * (await _once(reader, writer, kit.rows) != 200))
            asked[1] += 1
            await _close(writer)

    tasks = [asyncio.create_task(one) for one in (stay(), stay(), come_and_go(), come_and_go())]
    seen = set()
    for _ in range(renewals):
        renewed = authority.server()
        secret(directory, renewed, authority)
        until = time.monotonic() + 15
        while ssl.PEM_cert_to_DER_cert(renewed.certificate.decode()) not in seen:
            assert time.monotonic() < until, "the renewed certificate never came"
            seen.add(await _served(port, context))
            await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(*tasks)
    assert failed == []
    assert min(asked) > 10


async def test_no_request_over_tls_fails_when_the_router_ends(secure: Any) -> None:
    """SIGTERM under load: every request that was sent is answered, on kept connections and on new ones."""
    served = await secure(1)
    answered: list[int] = []

    async def ask_on() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.context)
            except OSError:
                return  # the listener is gone
            closing = False
            while not closing:
                status, closing = await _exchange(reader, writer, served.kit.rows)
                answered.append(status)
            await _close(writer)

    tasks = [asyncio.create_task(ask_on()) for _ in range(4)]
    await asyncio.sleep(0.3)
    before = len(answered)
    served.process.terminate()
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert set(answered) == {200}
    assert len(answered) > before > 0
    assert await asyncio.to_thread(served.process.wait, 20) == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(["--tls-cert", "a"], "give --tls-cert and --tls-key together", id="a certificate without its key"),
        pytest.param(["--client-ca", "a"], "--client-ca needs them too", id="an authority alone"),
        pytest.param(["--tls-directory", "d", "--tls-key", "k"], "not both", id="both ways at once"),
        pytest.param(["--tls-cert", "a", "--tls-key", "k"], "--tls-cert: there is no file a", id="files that are not"),
    ],
)
def test_options_that_cannot_work_are_one_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The router does not start, and says why."""
    assert main(["--table", str(tmp_path / "t"), *options]) == 2
    assert sentence in capsys.readouterr().err


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close, and wait for the end: it takes a round trip."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rows: Any) -> int:
    """Status of one more request on the connection."""
    return (await _exchange(reader, writer, rows))[0]


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rows: Any) -> tuple[int, bool]:
    """The same, and whether the answer is the connection's last."""
    body = json.dumps(rows([1, 1, 1])).encode()
    writer.write(b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b" % (INFER.encode(), len(body), body))
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(int(line.partition(":")[2]) for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(length)
    return int(head.split(" ")[1]), "connection: close" in head


async def _served(port: int, context: ssl.SSLContext) -> bytes:
    """The server's certificate of a new connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await _close(writer)
    return found


async def _listens(port: int, context: ssl.SSLContext) -> None:
    for _ in range(200):
        try:
            await _served(port, context)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("nothing listens on the TLS port")
