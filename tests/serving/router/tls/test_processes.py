"""Router processes under load over TLS: their certificates are renewed, and they end."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.serving.support.certificates import Authority, client_context, secret
from tests.serving.support.tls import close, exchange, once
from tests.serving.support.triton import free_port


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
            failed.extend([1] * (await once(reader, writer, kit.rows) != 200))
            asked[0] += 1
        await close(writer)

    async def come_and_go() -> None:
        while not done.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            failed.extend([1] * (await once(reader, writer, kit.rows) != 200))
            asked[1] += 1
            await close(writer)

    tasks = [asyncio.create_task(one) for one in (stay(), stay(), come_and_go(), come_and_go())]
    seen = set()
    for _ in range(renewals):
        renewed = authority.server()
        secret(directory, renewed, authority)
        certificate = ssl.PEM_cert_to_DER_cert(renewed.certificate.decode())
        enough, until = min(asked) + 10, time.monotonic() + 20
        while certificate not in seen or min(asked) < enough:
            assert time.monotonic() < until, f"came: {certificate in seen}; asked: {asked}, wanted {enough} of each"
            seen.add(await _served(port, context))
            await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(*tasks)
    assert failed == []


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
                status, closing = await exchange(reader, writer, served.kit.rows)
                answered.append(status)
            await close(writer)

    tasks = [asyncio.create_task(ask_on()) for _ in range(4)]
    await asyncio.sleep(0.3)
    before = len(answered)
    served.process.terminate()
    await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert set(answered) == {200}
    assert len(answered) > before > 0
    assert await asyncio.to_thread(served.process.wait, 20) == 0


async def _served(port: int, context: ssl.SSLContext) -> bytes:
    """The server's certificate of a new connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await close(writer)
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
