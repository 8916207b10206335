"""Missing values and requests that do not fit: null becomes NaN, and misfits get a sentence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_serving.router.prepare import mentions


def _with(kit: Any, **change: Any) -> dict[str, Any]:
    document = kit.rows([1, 1, 1])
    document["inputs"][0] |= change
    return dict(document)


@pytest.mark.parametrize("validation", ["Off", "Warn", "Enforce"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("[null, 1, 2]", id="flat-null"),
        pytest.param("[[null, 1, 2]]", id="nested-null"),
        pytest.param("[NaN, 1, 2]", id="nan-literal"),
        pytest.param("[NaN, null, Infinity]", id="nan-and-null-and-infinity"),
    ],
)
async def test_missing_values_reach_the_model(start: Any, models: Any, kit: Any, validation: str, body: str) -> None:
    """A missing value arrives as NaN at a server that fails on null, whatever the validation."""
    router = await start(kit.table(kit.route(await models()), validation=validation))
    text = json.dumps(kit.rows([1, 1, 1])).replace("[[1, 1, 1]]", body)
    async with router.session.post(router.url + "/v2/models/m/infer", data=text) as answer:
        assert answer.status == 200
        assert (await answer.json())["outputs"][0]["data"] == [1]


async def test_null_in_text_stays_text(start: Any, models: Any, kit: Any) -> None:
    """Only missing numbers are rewritten: the word null in names and parameters arrives as it came."""
    model = await models()
    router = await start(kit.table(kit.route(model), validation="Off"))
    document = kit.rows([None, 1, 1], id="null null", parameters={"note": "null", "nothing": None})
    assert (await router.infer(document))[0] == 200
    assert model.requests[0]["id"] == "null null"
    assert model.requests[0]["parameters"] == {"note": "null", "nothing": None}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param({"name": "featurs"}, "input 'featurs' is unknown: the model takes features", id="name"),
        pytest.param({"datatype": "FP64"}, "input 'features': datatype FP32 is wanted, got FP64", id="datatype"),
        pytest.param(
            {"shape": [1, 2]},
            "input 'features': shape [-1, 3] is wanted, got [1, 2]; the columns are age, sex, income",
            id="width",
        ),
        pytest.param({"shape": [3]}, "input 'features': shape [-1, 3] is wanted, got [3]", id="rank"),
        pytest.param({"shape": "3"}, "input 'features': shape [-1, 3] is wanted, got '3'", id="shape-type"),
        pytest.param({"shape": [2, 3]}, "input 'features': shape [2, 3] means 6 values, got 3", id="count"),
        pytest.param({"data": [1, "2", 3]}, "input 'features': FP32 takes numbers or null, got strings", id="string"),
        pytest.param({"data": [[1, 2], 3]}, "input 'features': shape [1, 3] means 3 values, got 2", id="ragged"),
        pytest.param({"data": [1, 2, True]}, "input 'features': FP32 takes numbers or null, got true/false", id="bool"),
    ],
)
async def test_enforce_names_the_input(
    start: Any, models: Any, kit: Any, change: dict[str, Any], sentence: str
) -> None:
    """A request that does not fit is answered 400 with the input, what is wanted and what came; no model sees it."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    status, answer, _ = await router.infer(_with(kit, **change))
    assert status == 400
    assert answer["error"].startswith(sentence)
    assert model.heads == []


@pytest.mark.parametrize(
    ("document", "words"),
    [
        pytest.param({"inputs": []}, "input 'features' is missing: the model takes FP32 [-1, 3]", id="no-input"),
        pytest.param({}, 'no list "inputs"', id="no-inputs"),
        pytest.param([1], 'no list "inputs"', id="a-list"),
        pytest.param({"inputs": [1]}, "input None is unknown", id="input-is-a-number"),
    ],
)
async def test_enforce_whole_documents(start: Any, models: Any, kit: Any, document: Any, words: str) -> None:
    """A document of another form is answered 400 with what is missing."""
    router = await start(kit.table(kit.route(await models())))
    status, answer, _ = await router.infer(document)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="cut"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe{}", id="not-utf8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"NaN" + b"[" * 100_000, id="deep-with-nan"),
    ],
)
async def test_no_json_is_400(start: Any, models: Any, kit: Any, body: bytes) -> None:
    """A body that is no JSON is answered 400, and the router goes on."""
    router = await start(kit.table(kit.route(await models())))
    async with router.session.post(router.url + "/v2/models/m/infer", data=body) as answer:
        assert answer.status == 400
        assert "no JSON" in (await answer.json())["error"]
    assert (await router.infer(kit.rows([1, 1, 1])))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            '{"inputs":[{"name":"features","datatype":"FP32","shape":[1,3],"data":%s}]}' % ("[" * 900 + "]" * 900),
            id="deep-data",
        ),
        pytest.param(
            '{"parameters":%s,"inputs":[{"name":"features","datatype":"FP32","shape":[1,3],"data":[null,1,2]}]}'
            % ('{"a":' * 400 + "1" + "}" * 400),
            id="deep-parameters",
        ),
        pytest.param(
            '{"id":%s,"inputs":[{"name":"features","datatype":"FP32","shape":[1,3],"data":[NaN,null,2]}]}' % (10**30),
            id="huge-number",
        ),
        pytest.param(
            '{"inputs":[{"name":"\\ud800","datatype":"FP32","shape":[1,3],"data":[NaN,1,2]}]}', id="lone-surrogate-name"
        ),
        pytest.param(
            '{"inputs":[{"name":"features","datatype":"\\ud800","shape":[1,3],"data":[NaN,1,2]}]}',
            id="lone-surrogate-type",
        ),
        pytest.param(
            '{"inputs":[{"name":"features","datatype":"FP32","shape":[1e400,3],"data":[NaN,1,2]}]}', id="infinite-shape"
        ),
        pytest.param('{"inputs":[{"name":["features"],"datatype":{},"shape":[[]],"data":{}}]}', id="all-types-wrong"),
        pytest.param('{"inputs":{"name":"features"}}', id="inputs-is-an-object"),
        pytest.param('{"parameters":{"keys":[[]]},"inputs":[]}', id="nested-keys"),
        pytest.param("null", id="null"),
    ],
)
async def test_odd_documents_are_400(start: Any, models: Any, kit: Any, body: str, caplog: Any) -> None:
    """Documents that JSON allows and no model takes are answered 400, never by a failure of the router."""
    router = await start(kit.table(kit.route(await models())))
    for path in ("/v2/models/m/infer", "/v1/models/m:predict", "/v1/feedback"):
        async with router.session.post(router.url + path, data=body) as answer:
            assert answer.status == 400, await answer.text()
            assert isinstance(await answer.json(), dict)
    assert "could not be handled" not in caplog.text


async def test_warn_and_off_let_pass(start: Any, models: Any, kit: Any) -> None:
    """Warn passes a misfit on and says so in a header; Off says nothing; both leave the verdict to the model."""
    model = await models()
    router = await start(kit.table(kit.route(model), validation="Warn"))
    status, _, headers = await router.infer(_with(kit, datatype="FP64"))
    assert status == 200
    assert "datatype FP32 is wanted" in headers["x-gyre-warning"]
    assert router.offer(kit.route(model), validation="Off")
    status, _, headers = await router.infer(_with(kit, datatype="FP64"))
    assert status == 200
    assert "x-gyre-warning" not in headers


async def test_null_in_whole_numbers_is_named(start: Any, models: Any, kit: Any) -> None:
    """A type that has no missing value says so, instead of a server error."""
    signature = {
        "inputs": [{"name": "features", "datatype": "INT64", "shape": [-1, 3]}],
        "outputs": kit.signature["outputs"],
    }
    router = await start(kit.table(kit.route(await models()) | {"signature": signature}))
    status, answer, _ = await router.infer(_with(kit, datatype="INT64", data=[1, None, 3]))
    assert status == 400
    assert answer["error"] == "input 'features': INT64 takes whole numbers, got null"


async def test_keys_do_not_reach_the_model(start: Any, models: Any, kit: Any) -> None:
    """`parameters.keys` is for the payload log; other parameters go on."""
    model = await models()
    router = await start(kit.table(kit.route(model)))
    status, _, _ = await router.infer(kit.rows([1, 1, 1], parameters={"keys": ["k1"], "priority": 1}))
    assert status == 200
    assert model.requests[0]["parameters"] == {"priority": 1}


async def test_bad_keys_are_refused(start: Any, models: Any, kit: Any) -> None:
    """Keys that are no list are named."""
    router = await start(kit.table(kit.route(await models())))
    status, answer, _ = await router.infer(kit.rows([1, 1, 1], parameters={"keys": "k1"}))
    assert status == 400
    assert "parameters.keys" in answer["error"]


@pytest.mark.parametrize("text", ["a b", "a#b", "a" * 129, 'a"b'])
async def test_bad_request_id_is_refused(start: Any, models: Any, kit: Any, text: str) -> None:
    """A request id that could not be stored and sent back safely is refused with the characters to use."""
    router = await start(kit.table(kit.route(await models())))
    status, answer, _ = await router.infer(kit.rows([1, 1, 1]), headers={"x-request-id": text})
    assert status == 400
    assert "x-request-id" in answer["error"]


@given(
    before=st.text(alphabet="nul keys0,", max_size=300).map(str.encode),
    word=st.sampled_from([b"null", b"keys", b""]),
    after=st.text(alphabet="nul keys0,", max_size=300).map(str.encode),
)
def test_mentions_is_in(before: bytes, word: bytes, after: bytes) -> None:
    """The quick search says what `in` says, with few and with many letters that look alike."""
    body = before + word + after
    for wanted in (b"null", b"keys"):
        assert mentions(body, wanted) == (wanted in body)
        assert mentions(body * 50, wanted) == (wanted in body * 50)


def _towns(kit: Any, *values: Any, shape: list[int] | None = None) -> dict[str, Any]:
    """A request about numbers and a town each."""
    document = dict(kit.rows(*([1, 1, 1] for _ in values)))
    town = {"name": "town", "datatype": "BYTES", "shape": shape or [len(values), 1], "data": list(values)}
    return document | {"inputs": [*document["inputs"], town]}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param(["Linz", "Graz"], "", id="known"),
        pytest.param([["Linz"], [""]], "", id="nested-and-empty"),
        pytest.param(["Linz", "linz"], "input 'town': 'linz' is none of its categories (Linz, Graz, )", id="unknown"),
        pytest.param([["Wien"]], "input 'town': 'Wien' is none of its categories (Linz, Graz, )", id="nested"),
        pytest.param([3], "input 'town': BYTES takes strings, got whole numbers", id="no-text"),
    ],
)
async def test_a_text_beyond_the_categories_is_named(
    start: Any, models: Any, kit: Any, values: list[Any], sentence: str
) -> None:
    """Where the signature says what a text may hold, another is answered 400 and no model sees it."""
    model = await models()
    town = {"name": "town", "datatype": "BYTES", "shape": [-1, 1], "categories": ["Linz", "Graz", ""]}
    signature = kit.signature | {"inputs": [*kit.signature["inputs"], town]}
    router = await start(kit.table(kit.route(model, signature=signature)))
    status, answer, _ = await router.infer(_towns(kit, *values))
    assert (status, answer.get("error", "")) == (400 if sentence else 200, sentence)
    assert len(model.requests) == (0 if sentence else 1)
    if not sentence:
        async with router.session.get(router.control + "/openapi.json") as told:
            items = (await told.json())["paths"]["/v2/models/m/infer"]["post"]["requestBody"]["content"]
        assert '"enum": ["Linz", "Graz", ""]' in json.dumps(items)
