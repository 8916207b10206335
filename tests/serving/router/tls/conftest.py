"""A router with a TLS port, and the authorities that sign its certificate and its callers'."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gyre_serving.router.auth.tls import TlsFiles
from tests.serving.support.certificates import Authority, Pair, client_context, secret
from tests.serving.support.tls import INFER


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
