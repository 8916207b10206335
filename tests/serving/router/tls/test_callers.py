"""Callers known by their certificates over TLS, alone or beside tokens that nobody overhears."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.serving.support.certificates import Authority, client_context
from tests.serving.support.tls import close, once

SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"
TOKEN = "a-token-of-sixteen"


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
    assert await once(reader, writer, router.rows) == 200
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert await once(reader, writer, router.rows) == 401
    await close(writer)


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
    await close(writer)


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
