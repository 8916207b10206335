"""Kubernetes' tokens: a real API server says whose they are, and may be away, refuse, or be spared."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gyre_serving.router.auth.reviews import FRESH_SECONDS, PEER_BURST, RENEW_SECONDS, STALE_SECONDS
from gyre_serving.router.sources.kubernetes import Access
from tests.localcluster.control import ControlPlane, control_plane
from tests.serving.support.grpc import client, typed

pytestmark = pytest.mark.cluster

NAMESPACE = "team-a"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
INFER = "/v2/models/m/infer"
RULE = {
    "audiences": ["m"],
    "users": ["system:serviceaccount:shop:web", "system:serviceaccount:shop:gone"],
    "groups": ["system:serviceaccounts:ops"],
}
Token = Callable[..., str]


def _accounts(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/serviceaccounts"


def _bind(plane: ControlPlane) -> None:
    binding = {
        "metadata": {"name": "reviews"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reviews"},
        "subjects": [{"kind": "ServiceAccount", "name": "gyre-router", "namespace": NAMESPACE}],
    }
    plane.api.request("POST", f"{RBAC}/clusterrolebindings", binding)


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane whose router may review tokens, as the chart makes it."""
    with control_plane() as running:
        for namespace, names in ((NAMESPACE, ["gyre-router"]), ("shop", ["web", "other", "gone"]), ("ops", ["any"])):
            running.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            for name in names:
                running.api.request("POST", _accounts(namespace), {"metadata": {"name": name}})
        right = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
        running.api.request("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "reviews"}, "rules": [right]})
        _bind(running)
        yield running


@pytest.fixture
def token(plane: ControlPlane) -> Token:
    """A fresh token of a ServiceAccount (TokenRequest), for the audience m unless told otherwise."""

    def make(account: str = "shop/web", audience: str | None = "m") -> str:
        namespace, _, name = account.partition("/")
        spec = {"expirationSeconds": 600, **({"audiences": [audience]} if audience else {})}
        answer = plane.api.request("POST", f"{_accounts(namespace)}/{name}/token", {"spec": spec})
        return str(answer["status"]["token"])

    return make


@pytest.fixture
async def guarded(plane: ControlPlane, start: Any, models: Any, kit: Any, tmp_path: Path) -> Any:
    """A router in the cluster whose service asks for Kubernetes' tokens, and its model."""
    (tmp_path / "token").write_text(_router_token(plane))
    access = Access(plane.url, NAMESPACE, tmp_path / "token", plane.layout.state.pki / "ca.crt")
    model = await models()
    router = await start(None, access=access, grpc_port=0)
    more = {"payloads": {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f"}}
    router.router.tables.offer(kit.table(kit.route(model), auth={"review": RULE}, **more))
    router.model, router.rows = model, kit.rows([1, 1, 1])
    return router


def _router_token(plane: ControlPlane) -> str:
    spec = {"spec": {"expirationSeconds": 3600}}
    return str(plane.api.request("POST", f"{_accounts(NAMESPACE)}/gyre-router/token", spec)["status"]["token"])


async def _ask(router: Any, given: str, scheme: str = "Bearer") -> tuple[int, str]:
    """Status and the error's sentence."""
    status, answer, _ = await router.infer(router.rows, headers={"authorization": f"{scheme} {given}"})
    return status, str(answer.get("error", ""))


def _forged(given: str, **claims: Any) -> str:
    """The token with other claims, under its old signature; without any, a signature of nobody."""
    head, body, signature = given.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    fresh = base64.urlsafe_b64encode(json.dumps({**said, **claims}).encode()).rstrip(b"=").decode()
    return f"{head}.{fresh}.{signature[::-1] if not claims else signature}"


async def _until(check: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(400):
        if await check():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to pass")


async def test_kubernetes_says_who_is_let_in(guarded: Any, token: Token) -> None:
    """By account or group; a known stranger gets 403 with its name, nobody's tokens 401, and no model sees any."""
    web = token()
    cases = {
        "the ServiceAccount": (web, 200, ""),
        "one of the group": (token("ops/any"), 200, ""),
        "another account": (token("shop/other"), 403, "system:serviceaccount:shop:other is not among"),
        "another audience": (token(audience="n"), 401, "not made for the audience m"),
        "the API server's own": (token(audience=None), 401, "not made for the audience m"),
        "an audience that was added": (_forged(token(audience="n"), aud=["m"]), 401, "Kubernetes does not know"),
        "another's name": (_forged(token("shop/other"), sub="system:serviceaccount:shop:web"), 401, "does not know"),
        "expired": (_forged(web, exp=int(time.time()) - 1), 401, "has expired"),
        "no such form": ("a-token-of-sixteen", 401, "not known"),
        "nothing in it": ("a.b.c", 401, "not known"),
    }
    found = {name: await _ask(guarded, given) for name, (given, _, _) in cases.items()}
    for name, (_, status, sentence) in cases.items():
        assert found[name][0] == status, (name, found[name])
        assert sentence in found[name][1], name
    assert (await _ask(guarded, web, "Basic"))[0] == 401
    assert len(guarded.model.heads) == 2
    assert [head for head in guarded.model.heads if "authorization" in head] == []


async def test_token_that_runs_out_is_refused_though_it_is_remembered(
    guarded: Any, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Kubernetes said holds no longer than the token itself."""
    web = token()
    assert (await _ask(guarded, web))[0] == 200
    later = time.time() + 700
    monkeypatch.setattr(time, "time", lambda: later)
    assert await _ask(guarded, web) == (401, "m: this token has expired; get a new one")


async def test_one_question_for_all_who_bring_a_token_at_once(guarded: Any, token: Token) -> None:
    """Forty callers, one question; none for half a minute, and then one that nobody waits for."""
    web = token()
    got = await asyncio.gather(*(_ask(guarded, web) for _ in range(40)))
    assert {status for status, _ in got} == {200}
    assert (await _ask(guarded, web))[0] == 200
    reviews = guarded.router.tables.reviews
    assert reviews.counts == Counter(known=1)
    _turn_clock(guarded, RENEW_SECONDS + 1)
    assert (await _ask(guarded, web))[0] == 200
    await _until(lambda: _counted(guarded, "known", 2))
    assert (await _ask(guarded, web))[0] == 200
    assert reviews.counts == Counter(known=2)


async def test_nobody_hammers_the_api_server_through_the_router(guarded: Any, token: Token) -> None:
    """Junk of one address is asked about ten times, then told to come later; who is known goes on."""
    web = token()
    assert (await _ask(guarded, web))[0] == 200
    junk = [_forged(web, jti=f"forged-{number}") for number in range(3 * PEER_BURST)]
    got = [(await _ask(guarded, one))[0] for one in junk]
    assert got[:PEER_BURST] == [401] * PEER_BURST
    assert got.count(429) >= PEER_BURST
    asked = guarded.router.tables.reviews.counts["unknown"]
    assert asked <= PEER_BURST + 5
    assert [(await _ask(guarded, junk[0]))[0] for _ in range(5)] == [401] * 5
    assert guarded.router.tables.reviews.counts["unknown"] == asked, "a token of nobody is asked about once"
    assert (await _ask(guarded, web))[0] == 200
    status, _, headers = await guarded.infer(guarded.rows, headers={"authorization": f"Bearer {junk[-1]}"})
    assert (status, int(headers["retry-after"]) > 0) == (429, True)
    _turn_clock(guarded, FRESH_SECONDS + 1)
    await asyncio.gather(*(_ask(guarded, _forged(web, jti=f"again-{number}")) for number in range(2 * PEER_BURST)))
    assert (await _ask(guarded, token()))[0] == 429
    assert (await _ask(guarded, web))[0] == 200, "its verdict has to be renewed, and the address owes"
    async with guarded.session.get(f"{guarded.control}/metrics") as answer:
        assert 'gyre_router_token_reviews_total{result="known"} 2.0' in await answer.text()


async def test_missing_right_lets_nobody_in_and_names_its_cure(plane: ControlPlane, guarded: Any, token: Token) -> None:
    """503 with the sentence, the same in the state; the right comes, and all is well without a restart."""
    plane.api.request("DELETE", f"{RBAC}/clusterrolebindings/reviews")
    cure = "ServiceAccount team-a/gyre-router may not create tokenreviews: add team-a to the chart's value"

    async def refused() -> bool:
        status, sentence = await _ask(guarded, token())
        return status == 503 and cure in sentence

    await _until(refused)

    async def says(wanted: Callable[[str | None], bool]) -> bool:
        return wanted((await guarded.get_control("/v1/state")).get("reviews"))

    await _until(lambda: says(lambda said: said is not None and cure in said))
    _bind(plane)
    web = token()
    await _until(lambda: _is(guarded, web, 200))
    await _until(lambda: says(lambda said: said == ""))


async def test_labels_wait_for_the_same_verdict(guarded: Any, token: Token) -> None:
    """A label is taken of whoever may ask, of nobody else."""
    web = token()
    _, _, headers = await guarded.infer(guarded.rows, headers={"authorization": f"Bearer {web}"})
    label = {"id": headers["x-gyre-feedback-id"] + "#0", "label": 1}
    fresh, other = {"authorization": f"Bearer {token()}"}, {"authorization": f"Bearer {token('shop/other')}"}
    assert (await guarded.infer(label, path="/v1/feedback", headers=other))[0] == 403
    assert guarded.router.port._feedback.counts["accepted"] == 0
    assert (await guarded.infer(label, path="/v1/feedback", headers=fresh))[0] == 200
    assert guarded.router.port._feedback.counts["accepted"] == 1


async def test_grpc_waits_for_the_same_verdict(guarded: Any, token: Token) -> None:
    """A new token is asked about, a known stranger and one without a token are told apart by their codes."""
    async with client(guarded.router.grpc_port) as asked:

        async def code(*metadata: tuple[str, str]) -> str:
            return (await asked.infer(typed([1.0, 1.0, 1.0]), metadata)).code

        assert await code(("authorization", f"Bearer {token()}")) == "OK"
        assert await code(("authorization", f"Bearer {token('shop/other')}")) == "PERMISSION_DENIED"
        assert await code() == "UNAUTHENTICATED"
        guarded.router.tables.offer(
            json.dumps(_changed(guarded.router.tables.current.table.dump(), {"certificates": ["cn:web"]}))
        )
        assert await code(("authorization", f"Bearer {token()}")) == "UNAUTHENTICATED"


def _changed(document: dict[str, Any], auth: dict[str, Any]) -> dict[str, Any]:
    """The table with another rule."""
    return {**document, "generation": "", "services": [{**document["services"][0], "auth": auth}]}


async def test_stranger_sends_no_body(guarded: Any, token: Token) -> None:
    """What can be refused without a question is refused before its body, a remembered verdict too."""
    other = token("shop/other")
    assert (await _ask(guarded, other))[0] == 403
    for given, status in ((_forged(other, exp=1), 401), ("junk", 401), (other, 403)):
        head = f"POST {INFER} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {given}\r\ncontent-length: 1000\r\n\r\n"
        assert (await guarded.raw(head.encode())).startswith(f"HTTP/1.1 {status} ".encode())


async def test_client_that_goes_away_while_it_waits_reaches_no_model(guarded: Any, token: Token) -> None:
    """Its request is forgotten; the verdict is remembered all the same."""
    web = token()
    body = json.dumps(guarded.rows)
    head = f"POST {INFER} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {web}\r\ncontent-length: {len(body)}\r\n\r\n"
    reviews = guarded.router.tables.reviews
    asked = reviews._asks.review
    held = asyncio.Event()

    async def slowly(*given: Any) -> Any:
        await held.wait()
        return await asked(*given)

    reviews._asks.review = slowly
    await guarded.leave((head + body).encode(), 0.2)
    await asyncio.sleep(0.1)
    held.set()
    await _until(lambda: _counted(guarded, "known"))
    await asyncio.sleep(0.05)
    assert guarded.model.heads == []
    assert (await _ask(guarded, web))[0] == 200
    assert reviews.counts == Counter(known=1)


@pytest.mark.parametrize(
    ("service", "rule", "status"),
    [
        pytest.param("m", {"review": RULE | {"users": []}}, 403, id="a shorter list"),
        pytest.param("m", {"certificates": ["cn:web"]}, 401, id="another way"),
        pytest.param("n", {"review": RULE}, 404, id="another service"),
    ],
)
async def test_rule_that_changes_meanwhile_decides(
    guarded: Any, token: Token, service: str, rule: Any, status: int
) -> None:
    """Who waits for Kubernetes' verdict is judged by the rules that hold when it comes."""
    web, reviews = token(), guarded.router.tables.reviews
    asked, held, began = reviews._asks.review, asyncio.Event(), asyncio.Event()

    async def slowly(*given: Any) -> Any:
        began.set()
        await held.wait()
        return await asked(*given)

    reviews._asks.review = slowly
    waiting = asyncio.create_task(_ask(guarded, web))
    await began.wait()
    table = _changed(guarded.router.tables.current.table.dump(), rule)
    table["services"][0]["name"] = service
    assert guarded.router.tables.offer(json.dumps(table))
    held.set()
    assert (await waiting)[0] == status
    assert guarded.model.heads == []


async def test_api_server_away_known_callers_stay_known_for_ten_minutes(
    plane: ControlPlane, guarded: Any, token: Token
) -> None:
    """New tokens get 503 with Retry-After, never a way in; what was said last holds for its grace, no longer.

    A token that was revoked meanwhile is refused afterwards.
    """
    web, new, gone = token(), token("ops/any"), token("shop/gone")
    assert [(await _ask(guarded, one))[0] for one in (web, gone)] == [200, 200]
    plane.api.request("DELETE", f"{_accounts('shop')}/gone")
    await asyncio.to_thread(plane.stop_program, "kube-apiserver", patience=0)
    try:
        _turn_clock(guarded, FRESH_SECONDS + 5)
        assert (await _ask(guarded, web))[0] == 200
        status, answer, headers = await guarded.infer(guarded.rows, headers={"authorization": f"Bearer {new}"})
        assert (status, headers["retry-after"]) == (503, "2")
        assert "nobody can be let in by a token: Kubernetes does not say whose a token is" in answer["error"]
        assert (await _ask(guarded, _forged(web, aud=["m"], sub="x")))[0] == 503
        _turn_clock(guarded, STALE_SECONDS + 5)
        assert (await _ask(guarded, web))[0] == 503
    finally:
        await asyncio.to_thread(plane.start_program, "kube-apiserver")
    _turn_clock(guarded, STALE_SECONDS + 10)
    await _until(lambda: _is(guarded, new, 200))
    assert (await _ask(guarded, gone))[0] == 401


async def test_router_without_a_cluster_says_so(start: Any, models: Any, kit: Any, token: Token) -> None:
    """On a laptop nobody can say whose a token is: nobody is let in."""
    router = await start(kit.table(kit.route(await models()), auth={"review": RULE}))
    router.rows = kit.rows([1, 1, 1])
    status, sentence = await _ask(router, token())
    assert (status, "watches no Kubernetes" in sentence) == (503, True)


async def _is(router: Any, given: str, status: int) -> bool:
    return (await _ask(router, given))[0] == status


async def _counted(router: Any, what: str, times: int = 1) -> bool:
    return bool(router.router.tables.reviews.counts[what] == times)


def _turn_clock(router: Any, seconds: float) -> None:
    """What was remembered is so much older."""
    router.router.tables.reviews._clock = lambda: time.monotonic() + seconds
