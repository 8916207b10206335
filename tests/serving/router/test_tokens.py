"""Bearer tokens: who is let in, that strangers send nothing, and what happens while there are none."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

TOKEN, HASHED = "a-token-of-sixteen", "another-token-of-more"
INFER = "/v2/models/m/infer"


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A directory as a Secret's volume is: one token in the clear, one as its hash, one too short to count."""
    directory = tmp_path / "callers"
    directory.mkdir()
    (directory / "web").write_text(f"{TOKEN}\n")
    (directory / "batch").write_text(f"sha256:{sha256(HASHED.encode()).hexdigest()}")
    (directory / "short").write_text("short")
    return directory


def _auth(directory: Path, **more: Any) -> dict[str, Any]:
    return {"auth": {"tokens": str(directory), **more}}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(({}, 401), id="no header"),
        pytest.param((_bearer("a-token-of-sixteeN"), 401), id="a token that is nearly right"),
        pytest.param((_bearer("short"), 401), id="a key too short to be a token"),
        pytest.param((_bearer(""), 401), id="an empty token"),
        pytest.param(({"authorization": f"Basic {TOKEN}"}, 401), id="another scheme"),
        pytest.param((_bearer(sha256(HASHED.encode()).hexdigest()), 401), id="the hash instead of its token"),
        pytest.param((_bearer(TOKEN), 200), id="a token that stands in the clear"),
        pytest.param(({"authorization": f"bearer {HASHED}"}, 200), id="a token whose hash stands there"),
    ],
)
async def test_only_known_tokens_are_let_in(
    start: Any, models: Any, kit: Any, tokens: Path, case: tuple[dict[str, str], int]
) -> None:
    """A known token passes and goes no further; everything else is a 401 that says what to send."""
    headers, status = case
    model = await models()
    router = await start(kit.table(kit.route(model), **_auth(tokens)))
    got, _, answered = await router.infer(kit.rows([1, 1, 1]), headers=headers)
    assert got == status
    assert answered.get("www-authenticate") == (None if status == 200 else 'Bearer realm="gyre"')
    assert [head for head in model.heads if "authorization" in head] == []
    assert len(model.heads) == (status == 200)


async def test_a_stranger_sends_no_body(start: Any, models: Any, kit: Any, tokens: Path) -> None:
    """The 401 comes before the body, on every path that asks the model; readiness stays open."""
    router = await start(kit.table(kit.route(await models()), **_auth(tokens)))
    for path in (INFER, "/v1/models/m:predict", "/v2/models/m/generate", "/v2/models/m/versions/r1/infer"):
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n".encode()
        assert (await router.raw(head)).startswith(b"HTTP/1.1 401 ")
    for path, status in (("/v2/models/m", 401), ("/v2/models/m/ready", 200)):
        async with router.session.get(router.url + path) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v2/models/m", id="metadata"),
        pytest.param(INFER, id="infer"),
        pytest.param("/v2/models/m/batch", id="batch"),
    ],
)
async def test_no_model_server_sees_a_token(start: Any, models: Any, kit: Any, tokens: Path, path: str) -> None:
    """Neither the one that answers, nor a stand-in, nor a shadow; without `auth` the header passes unchanged."""
    gone, model, shadow = await models(), await models(), await models()
    revisions = (
        kit.route(gone, signature=None),
        kit.route(model, "r2", 0, signature=None),
        kit.route(shadow, "r3", 0, signature=None),
    )
    more = {"fallback": {"revisions": ["r2"]}, "mirror": {"revision": "r3", "share": 1.0}}
    router = await start(kit.table(*revisions, **_auth(tokens), **more))

    async def ask() -> int:
        data = None if path == "/v2/models/m" else json.dumps(kit.rows([1, 1, 1]))
        method = "GET" if data is None else "POST"
        async with router.session.request(method, router.url + path, data=data, headers=_bearer(TOKEN)) as answer:
            return int(answer.status)

    assert await ask() == 200
    await asyncio.sleep(0.1)
    gone.kill()
    await ask()
    heads = [*gone.heads, *model.heads, *shadow.heads]
    assert len(heads) == {INFER: 3}.get(path, 1)
    assert [head for head in heads if "authorization" in head] == []
    assert router.offer(kit.route(shadow, "r3", signature=None))
    assert await ask() == 200
    assert shadow.heads[-1]["authorization"] == f"Bearer {TOKEN}"


async def test_token_tells_clients_apart(start: Any, models: Any, kit: Any, tokens: Path) -> None:
    """It may name the client that is rationed, and choose the revision."""
    one, two = await models(), await models()
    match = {"header": "authorization", "values": [f"Bearer {HASHED}"], "revision": "r2"}
    rule = {"clients": {"rate": 0.01, "burst": 2, "header": "authorization"}}
    router = await start(
        kit.table(kit.route(one), kit.route(two, "r2", 0), matches=[match], limits=rule, **_auth(tokens))
    )
    asked = [TOKEN, TOKEN, TOKEN, HASHED]
    assert [(await router.infer(kit.rows([1, 1, 1]), headers=_bearer(token)))[0] for token in asked] == [
        200,
        200,
        429,
        200,
    ]
    assert (len(one.heads), len(two.heads)) == (2, 1)


async def test_token_is_looked_at_again_behind_its_body(start: Any, models: Any, kit: Any, tokens: Path) -> None:
    """One that is taken away while a slow body comes lets nobody in."""
    model = await models()
    router = await start(kit.table(kit.route(model), **_auth(tokens)))
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    head = f"POST {INFER} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    await asyncio.sleep(0.1)
    (tokens / "web").unlink()
    router.router.tables.current.services["m"].guard.tokens.refresh()
    writer.write(body)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 401 ")
    assert model.heads == []
    writer.close()


async def test_labels_need_the_token_of_every_service_they_name(
    start: Any, models: Any, kit: Any, tokens: Path, tmp_path: Path
) -> None:
    """Without it no label of the call is taken, of whatever service."""
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f", "flushSeconds": 600}
    route = kit.route(await models())
    document = json.loads(kit.table(route, payloads=rule, **_auth(tokens)))
    document["services"].append({**document["services"][0], "name": "open", "auth": None})
    router = await start(json.dumps(document | {"generation": ""}))
    _, _, guarded = await router.infer(kit.rows([1, 1, 1]), headers=_bearer(TOKEN))
    _, _, free = await router.infer(kit.rows([1, 1, 1]), path="/v2/models/open/infer")
    both = [{"id": headers["x-gyre-feedback-id"], "label": 1} for headers in (free, guarded)]
    feedback = "/v1/feedback"
    assert (await router.infer(both, path=feedback))[0] == 401
    assert router.router.port._feedback.counts["accepted"] == 0
    assert (await router.infer(both[0], path=feedback))[0] == 200
    assert (await router.infer(both[1], path=feedback, headers=_bearer(TOKEN)))[0] == 200


async def test_tokens_come_and_go_while_the_router_runs(launch: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """No token: 503 and told. A token in it: let in. Taken away: refused again. No restart, no new table."""
    directory = tmp_path / "late"
    directory.mkdir()
    router = launch(kit.table(kit.route(await models()), **_auth(directory)))
    async with aiohttp.ClientSession() as session:

        async def until(status: int) -> str:
            for _ in range(100):
                body = json.dumps(kit.rows([1, 1, 1]))
                async with session.post(router.url + INFER, data=body, headers=_bearer(TOKEN)) as answer:
                    text = await answer.text()
                    if answer.status == status:
                        return text
                await asyncio.sleep(0.1)
            raise AssertionError(f"never {status}")

        assert str(directory) in await until(503)
        (directory / "web").write_text(TOKEN)
        await until(200)
        async with session.get(f"{router.control}/v1/state") as answer:
            assert (await answer.json())["callers"] == {"m": 1}
        (directory / "web").write_text(HASHED)
        await until(401)
    told = router.access.read_text()
    assert json.loads(told.splitlines()[0])["status"] == 503
    assert TOKEN not in told + router.log.read_text()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(({}, False), id="who asks has to be known"),
        pytest.param(({"predict": False}, True), id="only labels need a token"),
    ],
)
async def test_control_port_tells_nobody_what_a_guarded_model_takes(
    start: Any, models: Any, kit: Any, tokens: Path, case: tuple[dict[str, Any], bool]
) -> None:
    """Its columns stand in no document that is read without a token; the page says where they are told."""
    more, shown = case
    router = await start(kit.table(kit.route(await models()), **_auth(tokens, **more)))
    for path in ("/docs", "/openapi.json"):
        async with router.session.get(router.control + path) as answer:
            text = await answer.text()
        assert ("income" in text) == shown
        assert ("told to whoever may ask" in text) != shown
        assert INFER in text
    async with router.session.get(f"{router.url}/v2/models/m", headers=_bearer(TOKEN)) as answer:
        assert "features" in await answer.text()
