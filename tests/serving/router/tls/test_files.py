"""Where the certificates come from: what replaces them, what breaks them, and options that cannot work."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gyre_serving.router.auth.tls import TlsFiles
from gyre_serving.router.main import main
from tests.serving.support.certificates import Authority, client_context, secret
from tests.serving.support.tls import close, once


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
    assert await once(reader, writer, router.rows) == 200
    assert not reader.at_eof()
    assert (await router.ask(foreign.client("web")))[0] == 200
    secret(router.folder / "tls", server, foreign)
    await router.refresh()
    assert await once(reader, writer, router.rows) == 200
    await asyncio.wait_for(reader.read(), 5)
    assert reader.at_eof()
    await close(writer)
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
