"""The gRPC port over TLS: tokens that nobody overhears, callers known by certificates, authorities withdrawn in use."""

import asyncio
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from gyre_serving.router.auth.tls import TlsFiles
from tests.serving.support.certificates import Authority, Pair, secret
from tests.serving.support.grpc import client, labels, raw

SPIFFE = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Signs servers and clients."""
    return Authority()


def _credentials(trusts: Authority, shown: Pair | None) -> grpc.ChannelCredentials:
    key, chain = (shown.key, shown.certificate) if shown is not None else (None, None)
    return grpc.ssl_channel_credentials(trusts.pem, key, chain)


async def _secured(start: Any, models: Any, kit: Any, folder: Path, *authorities: Authority) -> Any:
    files = TlsFiles.in_directory(secret(folder, authorities[0].server(), *authorities))
    table = kit.table(kit.route(await models()), auth={"certificates": [f"uri:{SPIFFE}"]})
    running = await start(table, tls=files, tls_port=0, grpc_port=0, grpc_tls_port=0)
    await running.router.grpc_tls.refresh()
    return running


async def test_callers_are_known_by_their_certificates(
    start: Any, models: Any, kit: Any, authority: Authority, tmp_path: Path
) -> None:
    """The named client passes over TLS; another one, none, and one without TLS do not, and are told apart."""
    router = await _secured(start, models, kit, tmp_path / "tls", authority)
    port = router.router.grpc_tls.port
    async with client(port, _credentials(authority, authority.client(uri=SPIFFE))) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
    other = authority.client(uri="spiffe://cluster.local/ns/shop/sa/other")
    for shown, code in ((other, "PERMISSION_DENIED"), (None, "UNAUTHENTICATED")):
        async with client(port, _credentials(authority, shown)) as asked:
            assert (await asked.infer(raw([60, 1, 1]))).code == code
    async with client(router.router.grpc_port) as asked:
        assert (await asked.infer(raw([60, 1, 1]))).code == "UNAUTHENTICATED"


async def test_withdrawn_authority_lets_nobody_go_on(
    start: Any, models: Any, kit: Any, authority: Authority, tmp_path: Path
) -> None:
    """Once the authority that signed a client is withdrawn its open connection serves no further call."""
    before = Authority("before")
    router = await _secured(start, models, kit, tmp_path / "tls", authority, before)
    shown = before.client(uri=SPIFFE)
    async with client(router.router.grpc_tls.port, _credentials(authority, shown)) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
        secret(tmp_path / "tls", authority.server(), authority)
        await router.router.grpc_tls.refresh()
        told = await asked.infer(raw([60, 1, 1]))
    assert told.code in {"UNAVAILABLE", "UNAUTHENTICATED"}
    assert told.answer is None


async def test_certificate_that_ends_ends_its_connection(
    start: Any, models: Any, kit: Any, authority: Authority, tmp_path: Path
) -> None:
    """A client whose certificate runs out is sent away to come with a new one, instead of refused for ever after."""
    router = await _secured(start, models, kit, tmp_path / "tls", authority)
    shown = authority.client(uri=SPIFFE, seconds=3)
    async with client(router.router.grpc_tls.port, _credentials(authority, shown)) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
        await asyncio.sleep(3.2)
        told = await asked.infer(raw([60, 1, 1]), seconds=2)
    assert told.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert not router.router.port.connections


async def test_renewal_fails_no_call(start: Any, models: Any, kit: Any, authority: Authority, tmp_path: Path) -> None:
    """A withdrawn authority beside one's own costs a client a new connection and no call."""
    router = await _secured(start, models, kit, tmp_path / "tls", authority, Authority("leaves"))
    async with client(router.router.grpc_tls.port, _credentials(authority, authority.client(uri=SPIFFE))) as asked:
        assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
        first = set(router.router.port.connections)
        secret(tmp_path / "tls", authority.server(), authority)
        await router.router.grpc_tls.refresh()
        for _ in range(5):
            assert labels(await asked.infer(raw([60, 1, 1]))) == [1]
        assert len(router.router.port.connections - first) == 1
