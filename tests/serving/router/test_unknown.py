"""Callers whose token Kubernetes has yet to look at: nothing of a large body is taken before it has."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gyre_serving.router.sources.kubernetes import Access
from tests.serving.support.frames import PATH, Frames

SIZE = 12 * 2**20
READ = 2**20
"""What lies in the buffers of one read is taken."""


class Reviewer:
    """Says of the token `good` that it is web's, of others that they are nobody's, once it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        """One TokenReview."""
        token = (await request.json())["spec"]["token"]
        if "." in token:  # the router's own has none
            self.asked += 1
            await self.may_answer.wait()
        known = {"authenticated": True, "user": {"username": "web"}, "audiences": ["m"]}
        return web.json_response({"status": known if token.endswith(".good") else {}}, status=201)


def _token(signature: str) -> str:
    claims = json.dumps({"aud": ["m"], "exp": int(time.time()) + 600}).encode()
    return f"Bearer e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.{signature}"


def _head(signature: str, *more: str) -> bytes:
    lines = ("POST /v2/models/m/infer HTTP/1.1", "host: x", f"authorization: {_token(signature)}", *more, "", "")
    return "\r\n".join(lines).encode()


@pytest.fixture
async def reviewer() -> AsyncIterator[Reviewer]:
    """On a real port."""
    made = Reviewer()
    app = web.Application()
    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.may_answer.set()
    await runner.cleanup()


@pytest.fixture
async def guarded(start: Any, models: Any, kit: Any, reviewer: Reviewer, tmp_path: Path) -> Any:
    """A router that asks it."""
    (tmp_path / "token").write_text("own")
    router = await start(None, access=Access(reviewer.url, "team-a", tmp_path / "token", None), grpc_port=0)
    router.model = await models()
    assert router.offer(kit.route(router.model), auth={"review": {"audiences": ["m"], "users": ["web"]}})
    return router


def _held(router: Any) -> int:
    """Bytes of bodies that came in and have no verdict yet."""
    requests = [one for each in router.router.port.connections for one in (each._request, each._current)]
    return sum(one.length for one in requests if one is not None)


async def _asked(reviewer: Reviewer) -> None:
    """Until the question is put, and a moment for what else might happen."""
    for _ in range(200):
        if reviewer.asked:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


@pytest.mark.parametrize("chunked", [pytest.param(0, id="of a known length"), pytest.param(1, id="in chunks")])
@pytest.mark.parametrize(
    "caller", [pytest.param(("good", b"200", 1), id="somebody's"), pytest.param(("junk", b"401", 0), id="nobody's")]
)
async def test_large_body_waits_for_the_verdict(
    guarded: Any, reviewer: Reviewer, kit: Any, chunked: int, caller: tuple[str, bytes, int]
) -> None:
    """The question is put when the head came; until it is answered the client holds its body, not the router."""
    signature, status, seen = caller
    body = json.dumps(kit.rows([1, 1, 1])).encode().ljust(SIZE)
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {SIZE}"
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
    writer.write(_head(signature, framing))
    writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, body) if chunked else body)
    await _asked(reviewer)
    assert (reviewer.asked, _held(guarded) < READ) == (1, True)
    reviewer.may_answer.set()
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert (answer.split()[1], len(guarded.model.requests), reviewer.asked) == (status, seen, 1)
    writer.close()


@pytest.mark.parametrize(
    ("signature", "answers"),
    [pytest.param("good", [b"100", b"200"], id="somebody"), pytest.param("junk", [b"401"], id="nobody")],
)
async def test_who_asks_first_is_told_after_the_verdict(
    guarded: Any, reviewer: Reviewer, kit: Any, signature: str, answers: list[bytes]
) -> None:
    """A client with `expect: 100-continue` is not asked for its body before it is known."""
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port)
    writer.write(_head(signature, "expect: 100-continue", f"content-length: {len(body)}"))
    first = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    await _asked(reviewer)
    assert not first.done()
    reviewer.may_answer.set()
    said = [(await asyncio.wait_for(first, 5)).split()[1]]
    if said == [b"100"]:
        writer.write(body)
        said.append((await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).split()[1])
    assert said == answers
    writer.close()


async def test_client_that_leaves_meanwhile_is_forgotten(guarded: Any, reviewer: Reviewer) -> None:
    """Neither its connection nor its request outlives it by more than the verdict."""
    await guarded.leave(_head("good", f"content-length: {SIZE}") + b" " * 1000, 0.2)
    await _asked(reviewer)
    reviewer.may_answer.set()
    for _ in range(100):
        if not any(one._request is not None for one in guarded.router.port.connections):
            break
        await asyncio.sleep(0.02)
    assert _held(guarded) == 0
    assert not guarded.model.requests


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
@pytest.mark.parametrize(
    "caller", [pytest.param(("good", True, []), id="somebody's"), pytest.param(("junk", False, ["16"]), id="nobody's")]
)
async def test_large_message_waits_for_the_verdict(
    guarded: Any, reviewer: Reviewer, method: str, caller: tuple[str, bool, list[str]]
) -> None:
    """The window of a large gRPC message opens once its sender is known; of a stranger's nothing stays held."""
    signature, opened, statuses = caller
    asked = Frames(*await asyncio.open_connection("127.0.0.1", guarded.router.grpc_port))
    asked.begin(1, SIZE, 5000, ("authorization", _token(signature)), path=PATH.replace("ModelInfer", method))
    await asked.listen()
    await _asked(reviewer)
    assert (reviewer.asked, asked.windows[1], asked.statuses) == (1, 0, {})
    reviewer.may_answer.set()
    await asked.listen()
    assert (asked.windows[1] > READ) == opened
    assert [status for status, _ in asked.statuses.values()] == statuses
    assert (guarded.router.grpc_budget.held == 0) == bool(statuses)
    asked.writer.close()


async def test_call_that_ends_meanwhile_is_forgotten(guarded: Any, reviewer: Reviewer) -> None:
    """A call whose time passes before the verdict comes is answered so, and holds nothing until then."""
    asked = Frames(*await asyncio.open_connection("127.0.0.1", guarded.router.grpc_port))
    asked.begin(1, SIZE, 5000, ("authorization", _token("good")), ("grpc-timeout", "200m"))
    await asked.listen(0.1)
    await _asked(reviewer)
    await asked.listen()
    assert [status for status, _ in asked.statuses.values()] == ["4"]
    assert guarded.router.grpc_budget.held == 0
    reviewer.may_answer.set()
    await asked.listen()
    assert asked.windows[1] == 0
    asked.writer.close()
