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
    """No directory: 503 and told. A token in it: let in. Taken away: refused again. No restart, no new table."""
    directory = tmp_path / "late"
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
        directory.mkdir()
        (directory / "web").write_text(TOKEN)
        await until(200)
        async with session.get(f"{router.control}/v1/state") as answer:
            assert (await answer.json())["callers"] == {"m": 1}
        (directory / "web").write_text(HASHED)
        await until(401)
    told = router.access.read_text()
    assert json.loads(told.splitlines()[0])["status"] == 503
    assert TOKEN not in told + router.log.read_text()
