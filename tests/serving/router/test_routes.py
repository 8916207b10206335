"""Routes of the data port, against a real model server."""

import asyncio
import json
from typing import Any

import pytest

from gyre_serving.router import orders


async def test_inference_names_what_answered(start: Any, models: Any, kit: Any) -> None:
    """An inference goes to the explicit version upstream and its answer names version, revision and request."""
    model = await models()
    router = await start(kit.table(kit.route(model, upstream_version="7")))
    status, answer, headers = await router.infer(kit.rows([60, 1, 2.5]), headers={"x-request-id": "abc"})
    assert status == 200
    assert answer["outputs"][0]["data"] == [1]
    assert headers["x-gyre-version"] == "v-r1"
    assert headers["x-gyre-revision"] == "r1"
    assert headers["x-request-id"] == "abc"
    assert model.heads[0]["path"] == "/v2/models/m/versions/7/infer"
    assert model.heads[0]["x-request-id"] == "abc"


async def test_request_id_is_made(start: Any, models: Any, kit: Any) -> None:
    """Without a request id the router makes one and says it, a new one each time."""
    router = await start(kit.table(kit.route(await models())))
    ids = {(await router.infer(kit.rows([1, 1, 1])))[2]["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        pytest.param("/v2", "gyre-router", id="server-metadata"),
        pytest.param("/v2/health/live", "live", id="live"),
        pytest.param("/v2/health/ready", "ready", id="ready"),
        pytest.param("/v2/models/m", "features", id="model-metadata"),
        pytest.param("/v2/models/m/versions/v-r1", "features", id="version-metadata"),
        pytest.param("/v2/models/m/ready", "true", id="model-ready"),
        pytest.param("/v1/models/m", "true", id="v1-ready"),
    ],
)
async def test_read_routes(start: Any, models: Any, kit: Any, path: str, wanted: str) -> None:
    """Every read route of the protocol answers 200 with its document."""
    router = await start(kit.table(kit.route(await models())))
    async with router.session.get(router.url + path) as answer:
        assert answer.status == 200
        assert wanted in await answer.text()


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        pytest.param("POST", "/v2/models/other/infer", 404, "no InferenceService 'other'", id="unknown-service"),
        pytest.param("POST", "/v2/models/m/versions/v9/infer", 404, "no version 'v9'", id="unknown-version"),
        pytest.param("GET", "/nothing", 404, "no such path", id="unknown-path"),
        pytest.param("GET", "/v2/models/m/infer", 405, "GET", id="wrong-method"),
        pytest.param("POST", "/v2/repository/index", 404, "no such path", id="repository-api-is-not-served"),
    ],
)
async def test_wrong_routes(
    start: Any, models: Any, kit: Any, *, method: str, path: str, status: int, words: str
) -> None:
    """What does not exist is answered with a sentence that names it."""
    router = await start(kit.table(kit.route(await models())))
    async with router.session.request(method, router.url + path) as answer:
        assert answer.status == status
        assert words in (await answer.json())["error"]


async def test_explicit_version(start: Any, models: Any, kit: Any) -> None:
    """A version in the path is asked whatever its weight, by ModelVersion or upstream number."""
    stable, candidate = await models(version="s"), await models(version="c")
    router = await start(kit.table(kit.route(stable), kit.route(candidate, "r2", 0, upstream_version="2")))
    for version in ("v-r2", "2", "r2"):
        _, answer, headers = await router.infer(kit.rows([1, 1, 1]), path=f"/v2/models/m/versions/{version}/infer")
        assert answer["model_version"] == "c"
        assert headers["x-gyre-revision"] == "r2"
    assert not stable.requests


async def test_v1_predict(start: Any, models: Any, kit: Any) -> None:
    """V1 rows, as lists or as objects of columns, are answered with one prediction a row."""
    router = await start(kit.table(kit.route(await models())))
    for instances in (
        [[60, 1, 2], [20, 0, 1]],
        [{"age": 60, "sex": 1, "income": None}, {"age": 2, "sex": 0, "income": 1}],
    ):
        status, answer, _ = await router.infer({"instances": instances}, path="/v1/models/m:predict")
        assert (status, answer) == (200, {"predictions": [1, 0]})
    status, answer, _ = await router.infer({"instances": [{"age": 1}]}, path="/v1/models/m:predict")
    assert status == 400
    assert "instances[0]: sex, income is missing" in answer["error"]


_X, _Y = ({"name": name, "datatype": "FP32", "shape": [2], "data": [1, 2]} for name in "xy")


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        pytest.param([_X, _Y | {"shape": [3], "data": [1, 2, 3]}], "differ in their rows", id="of different length"),
        pytest.param([_X, _Y | {"name": ["y"]}], "no V2 document", id="a name that is none"),
        pytest.param([_X | {"shape": ["2", 1]}], "no V2 document", id="a shape of texts"),
        pytest.param([_X | {"data": 5}], "no V2 document", id="data that is no list"),
        pytest.param([5], "no V2 document", id="an output that is none"),
        pytest.param([_X | {"shape": {"a": 1}}], "no V2 document", id="a shape that is no list"),
    ],
)
async def test_v1_answer_of_another_form_is_502(
    start: Any, models: Any, kit: Any, outputs: list[Any], sentence: str
) -> None:
    """Whatever the model said, the client has an answer and the service its slot back."""
    model = await models()
    model._answer = lambda _headers, _body: (200, {"model_name": "m", "outputs": outputs})
    signature = kit.signature | {"prediction": None}
    limits = {"concurrency": 1, "timeoutSeconds": 3}
    router = await start(kit.table(kit.route(model, signature=signature), limits=limits))
    for _ in range(2):
        asked = router.infer({"instances": [[60, 1, 2]]}, path="/v1/models/m:predict")
        status, answer, _ = await asyncio.wait_for(asked, 5)
        assert status == 502
        assert sentence in answer["error"]


async def test_translation_that_fails_is_an_answer(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the router's own ends one request with a sentence, and no client hangs."""
    router = await start(kit.table(kit.route(await models()), limits={"concurrency": 1, "timeoutSeconds": 3}))
    with monkeypatch.context() as broken:
        broken.setattr(orders, "to_v1", lambda *_, **__: 1 / 0)
        asked = router.infer({"instances": [[60, 1, 2]]}, path="/v1/models/m:predict")
        status, answer, _ = await asyncio.wait_for(asked, 5)
        assert (status, answer["error"]) == (502, "the model's answer cannot be translated; ask over /v2")
    assert (await router.infer({"instances": [[60, 1, 2]]}, path="/v1/models/m:predict"))[0] == 200


async def test_binary_tensors_pass_unparsed(start: Any, models: Any, kit: Any) -> None:
    """A binary-tensor request arrives and returns byte for byte, its header length with it."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    body = json.dumps(kit.rows([1, 1, 1])).encode() + bytes(range(256)) * 40
    headers = {"Inference-Header-Content-Length": "77", "Content-Type": "application/octet-stream"}
    async with router.session.post(router.url + "/v2/models/m/infer", data=body, headers=headers) as answer:
        assert await answer.read() == body
    assert model.heads[0]["inference-header-content-length"] == "77"


async def test_chunked_answers_pass(start: Any, models: Any, kit: Any) -> None:
    """An answer without a length reaches the client whole."""
    router = await start(kit.table(kit.route(await models(chunked=True))))
    _, answer, headers = await router.infer(kit.rows([60, 1, 1]))
    assert answer["outputs"][0]["data"] == [1]
    assert headers["transfer-encoding"] == "chunked"


async def test_pipelined_requests_answer_in_order(start: Any, models: Any, kit: Any) -> None:
    """Requests sent without waiting are answered in their order on one connection."""
    router = await start(kit.table(kit.route(await models())))
    one = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nx-request-id: %d\r\nContent-Length: %d\r\n%b\r\n%b"
    body = json.dumps(kit.rows([1, 1, 1])).encode()
    data = b"".join(one % (i, len(body), b"Connection: close\r\n" if i == 39 else b"", body) for i in range(40))
    answers = await router.raw(data)
    ids = [int(line[14:]) for line in answers.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == list(range(40))


async def test_half_closed_client_gets_its_answer(start: Any, models: Any, kit: Any) -> None:
    """A client that closes its sending half still gets the answer it asked for."""
    router = await start(kit.table(kit.route(await models(delay=0.1))))
    body = json.dumps(kit.rows([60, 1, 1])).encode()
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = await router.raw(head + body, eof=True)
    assert answer.startswith(b"HTTP/1.1 200")


async def test_openapi_has_the_signature(start: Any, models: Any, kit: Any) -> None:
    """The control port's OpenAPI shows each service with its inputs and a request that works."""
    router = await start(kit.table(kit.route(await models())))
    document = await router.get_control("/openapi.json")
    body = document["paths"]["/v2/models/m/infer"]["post"]["requestBody"]["content"]["application/json"]
    status, _, _ = await router.infer(body["example"])
    assert status == 200
    assert "income" in json.dumps(body["schema"])


async def test_docs_are_for_people(start: Any, models: Any, kit: Any) -> None:
    """/docs shows the inputs and a request to copy, loads nothing from elsewhere, and quotes nothing unescaped."""
    signature = json.loads(json.dumps(kit.signature))
    signature["inputs"][0]["columns"][0] = "<script>"
    router = await start(kit.table(kit.route(await models()) | {"signature": signature}))
    async with router.session.get(f"{router.control}/docs") as answer:
        text = await answer.text()
    assert "POST /v2/models/m/infer" in text
    assert "&lt;script&gt;, sex, income" in text
    assert "<script" not in text
    assert "http" not in text


async def test_client_that_leaves_is_nobodys_error(start: Any, models: Any, kit: Any) -> None:
    """A client that goes away mid-request frees its slot and counts as no failure of the revision."""
    router = await start(kit.table(kit.route(await models(delay=5))))
    body = json.dumps(kit.rows([60, 1, 1])).encode()
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    await router.leave(head + body, seconds=0.2)
    await asyncio.sleep(0.1)
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["r1"]["errors"] == 0
    state = await router.get_control("/v1/state")
    assert state["services"]["m"][0]["inFlight"] == 0
