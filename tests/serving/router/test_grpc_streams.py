"""`ModelStreamInfer`: each request of a stream has its answer or its error, in order, by the steps of ModelInfer."""

import asyncio
import queue
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton  # type: ignore[import-untyped]
from grpc import aio  # type: ignore[import-untyped]
from tritonclient.grpc import service_pb2

from gyre_serving.router.grpc import connection
from gyre_serving.router.grpc.stream import AT_ONCE, StreamCall
from tests.serving.support.frames import HEAD, Frames
from tests.serving.support.grpc import client, raw

MIB = 2**20


async def _each(requests: Sequence[Any]) -> AsyncIterator[Any]:
    for one in requests:
        yield one


async def _told(asked: Any, requests: Sequence[Any], metadata: Any = ()) -> tuple[list[Any], str, str]:
    """The answers of a stream, its status and its sentence."""
    running = asked.stub.ModelStreamInfer(_each(requests), metadata=metadata, timeout=20)
    answers = []
    try:
        async for one in running:
            answers.append(one)  # noqa: PERF401  those before an error count
    except aio.AioRpcError as error:
        return answers, error.code().name, error.details() or ""
    return answers, "OK", ""


def _labels(answers: Sequence[Any]) -> list[Any]:
    """The first label of each answer, or the error's sentence."""
    return [
        one.error_message or int(np.frombuffer(one.infer_response.raw_output_contents[0], np.int64)[0])
        for one in answers
    ]


async def test_answers_come_in_the_order_of_the_requests(start: Any, models: Any, kit: Any) -> None:
    """Many requests sent at once are answered one for one, in order; ids, revision and the last mark come with each."""
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    ages = [60 if index % 3 else 20 for index in range(300)]
    async with client(router.router.grpc_port) as asked:
        requests = [raw([age, 1, 1], id=str(index)) for index, age in enumerate(ages)]
        answers, code, sentence = await _told(asked, requests, [("x-request-id", "s")])
    assert (code, sentence) == ("OK", "")
    assert _labels(answers) == [int(age > 50) for age in ages]
    assert [one.infer_response.id for one in answers] == [str(index) for index in range(300)]
    told = answers[7].infer_response.parameters
    assert (told["x-request-id"].string_param, told["x-gyre-revision"].string_param) == ("s.7", "r1")
    assert told["triton_final_response"].bool_param
    assert model.heads[7]["x-request-id"] == "s.7"
    assert router.router.grpc_budget.held == 0


async def test_errors_are_answers_of_their_requests(start: Any, models: Any, kit: Any) -> None:
    """A request that is refused, or that the model fails, says so in its answer; the stream goes on."""
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    wrong = raw([1, 1, 1], id="w")
    wrong.inputs[0].name = "x"
    requests = [raw([60, 1, 1]), wrong, raw([1, 1, 1], name="x"), raw([1, 1, 1], model_version="9"), raw([60, 1, 1])]
    async with client(router.router.grpc_port) as asked:
        answers, code, _ = await _told(asked, requests)
        assert code == "OK"
        said = _labels(answers)
        assert [said[0], said[4]] == [1, 1]
        assert said[1] == "input 'x' is unknown: the model takes features"
        assert answers[1].infer_response.id == "w"
        assert "no InferenceService 'x'" in said[2]
        assert "has no version '9'" in said[3]
        model.status = 500
        answers, code, _ = await _told(asked, [raw([60, 1, 1])] * 2)
        assert (_labels(answers), code) == (["asked to fail"] * 2, "OK")


async def test_each_request_of_a_stream_is_logged_and_counted(
    start: Any, models: Any, kit: Any, tmp_path: Path
) -> None:
    """Requests of a stream count one by one, and each has a feedback id of its own."""
    rule = {"prefix": f"file://{tmp_path}/p", "feedbackPrefix": f"file://{tmp_path}/f"}
    router = await start(kit.table(kit.route(await models()), payloads=rule), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        answers, _, _ = await _told(asked, [raw([60, 1, 1])] * 3)
    ids = {one.infer_response.parameters["x-gyre-feedback-id"].string_param for one in answers}
    assert len(ids) == 3
    counters = await router.get_control("/v1/counters")
    assert counters["services"]["m"]["r1"]["requests"] == 3


async def test_tokens_are_asked_of_streams(start: Any, models: Any, kit: Any, tmp_path: Path) -> None:
    """A stream without the service's token gets no answer of the model, and the reason."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "web").write_text("secret-token-of-the-web")
    model = await models()
    router = await start(kit.table(kit.route(model), auth={"tokens": str(tmp_path / "tokens")}), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        answers, code, _ = await _told(asked, [raw([60, 1, 1])])
        assert code == "OK"
        assert "token" in answers[0].error_message
        assert model.heads == []
        assert router.router.tables.current.services["m"].stats.refused == {"401": 1}
        rows = [[60, 1, 1]] * 10_000
        answers, code, _ = await _told(asked, [raw(*rows)])
        assert (answers, code) == ([], "UNAUTHENTICATED")
        token = [("authorization", "Bearer secret-token-of-the-web")]
        answers, _, _ = await _told(asked, [raw([60, 1, 1])], token)
        assert _labels(answers) == [1]


async def test_large_messages_follow_one_another(start: Any, models: Any, kit: Any) -> None:
    """Messages far above a stream's window come whole, many behind one another, and nothing stays held."""
    router = await start(kit.table(kit.route(await models(binary=True))), grpc_port=0)
    requests = [raw(*[[age, 1, 1]] * 20_000) for age in (60, 20, 60, 20)] + [raw([60, 1, 1])]
    async with client(router.router.grpc_port) as asked:
        answers, code, sentence = await _told(asked, requests)
    assert (code, sentence) == ("OK", "")
    assert _labels(answers) == [1, 0, 1, 0, 1]
    assert router.router.grpc_budget.held == 0


async def test_who_does_not_read_is_not_read(start: Any, models: Any, kit: Any) -> None:
    """A client that sends and takes no answer is held up: few of its requests reach the model, and little is held."""
    model = await models(binary=True)
    router = await start(kit.table(kit.route(model)), grpc_port=0)
    budget = router.router.grpc_budget
    request = raw(*[[60, 1, 1]] * 5000)
    async with client(router.router.grpc_port) as asked:
        running = asked.stub.ModelStreamInfer(timeout=60)

        async def write() -> None:
            for _ in range(80):
                await running.write(request)

        writing = asyncio.create_task(write())
        stuck, before = 0, -1
        async with asyncio.timeout(15):
            while stuck != before:
                await asyncio.sleep(0.5)
                stuck, before = len(model.heads), stuck
        assert not writing.done()
        assert stuck < 70
        assert budget.held < MIB
        for _ in range(80):
            assert not (await running.read()).error_message
        await writing
        await running.done_writing()
        assert await running.read() is aio.EOF


@pytest.mark.parametrize(
    "case",
    [
        pytest.param((b"\0\0\0\1\0" + b"\x0a", "3", "ended within a message"), id="half"),
        pytest.param((b"\0\xff\0\0\0\x0a\1m" + bytes(5000), "8", "is larger than"), id="too large"),
        pytest.param((b"\0\0\0\0\2\x12\0", "0", "model_name is missing"), id="no name"),
        pytest.param((b"\0\0\0\0\5\x0a\1m\xff\xff", "0", "is no ModelInferRequest"), id="garbage"),
    ],
)
async def test_what_is_no_message_is_said(start: Any, models: Any, kit: Any, case: tuple[bytes, str, str]) -> None:
    """Bytes that are no request end the stream with a sentence, or are answered with one where they are whole."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    data, status, sentence = case
    found, ended, said = await _raw(router.router.grpc_port, data)
    assert ended == status
    assert sentence in said + (found[0].error_message if found else "")


async def _raw(port: int, data: bytes) -> tuple[list[Any], str, str]:
    """The answers to a stream of these bytes, its status and sentence."""
    asked = Frames(*await asyncio.open_connection("127.0.0.1", port))
    head = [(name, value.replace("ModelInfer", "ModelStreamInfer")) for name, value in HEAD]
    asked.h2.send_headers(1, head)
    asked.h2.send_data(1, data, end_stream=True)
    await asked.listen()
    asked.writer.close()
    text, answers = bytes(asked.data), []
    while text:
        size = int.from_bytes(text[1:5], "big")
        answers.append(service_pb2.ModelStreamInferResponse.FromString(text[5 : 5 + size]))
        text = text[5 + size :]
    return answers, *asked.statuses[1]


async def test_many_small_messages_let_others_have_their_turn(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of messages that came in one breath are answered some at a time, the other connections between."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    turn, steps, step = 0, Counter[int](), StreamCall._step

    def counted(call: StreamCall) -> bool:
        steps[turn] += 1
        return step(call)

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(StreamCall, "_step", counted)
    counting = asyncio.create_task(count())
    answers, status, _ = await _raw(router.router.grpc_port, bytes(5) * 400)
    counting.cancel()
    assert (len(answers), status) == (400, "0")
    assert sum(steps.values()) > 400
    assert max(steps.values()) <= 2 * AT_ONCE


async def test_answer_that_finds_no_room_is_no_end(
    start: Any, models: Any, kit: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A request whose answer has no room says so, the next one is answered, and neither meddles with the other."""
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    requests = [raw(*[[60, 1, 1]] * 3000), raw([60, 1, 1])]
    router.router.grpc_budget.most = requests[0].ByteSize() + 2000
    async with client(router.router.grpc_port) as asked:
        answers, code, _ = await _told(asked, requests)
    assert (code, len(answers)) == ("OK", 2)
    assert "the router holds" in answers[0].error_message
    assert _labels(answers[1:]) == [1]
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


async def test_streams_may_be_cancelled_for_ever(
    start: Any, models: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks by streams and cancels each behind its answers wastes nothing, and keeps the connection."""
    monkeypatch.setattr(connection, "MOST_WASTED", 3)
    router = await start(kit.table(kit.route(await models())), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        for _ in range(10):
            running = asked.stub.ModelStreamInfer(timeout=20)
            await running.write(raw([60, 1, 1]))
            assert _labels([await running.read()]) == [1]
            running.cancel()
        (_,) = (one for one in router.router.port.connections if isinstance(one, connection.GrpcConnection))


async def test_streams_end_when_the_router_goes_away(start: Any, models: Any, kit: Any) -> None:
    """While the router drains, a stream gets the answer that is under way, then UNAVAILABLE; no router waits for it."""
    router = await start(kit.table(kit.route(await models(delay=0.5))), grpc_port=0)
    async with client(router.router.grpc_port) as asked:
        running = asked.stub.ModelStreamInfer(timeout=20)
        await running.write(raw([60, 1, 1]))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(router.stop())
        assert _labels([await running.read()]) == [1]
        assert (await running.code()).name == "UNAVAILABLE"
        assert "start a new stream" in await running.details()
        async with asyncio.timeout(4):
            await stopping


async def test_sequences_stay_on_one_revision(start: Any, models: Any, kit: Any) -> None:
    """Of a model of sequences all requests of a stream go to one revision; the streams are split."""
    first, second = await models(), await models()
    routes = [kit.route(first, "r1", 50), kit.route(second, "r2", 50)]
    router = await start(kit.table(*routes, sequences=True), grpc_port=0)
    found = []
    async with client(router.router.grpc_port) as asked:
        for _ in range(20):
            answers, _, _ = await _told(asked, [raw([60, 1, 1])] * 4)
            found.append({one.infer_response.parameters["x-gyre-revision"].string_param for one in answers})
    assert all(len(one) == 1 for one in found)
    assert set.union(*found) == {"r1", "r2"}


async def test_tritons_client_streams(start: Any, models: Any, kit: Any) -> None:
    """Triton's own client opens a stream, sends without waiting, and gets results and errors in order."""
    model = await models()
    router = await start(kit.table(kit.route(model)), grpc_port=0)

    def ask() -> list[Any]:
        heard: queue.Queue[tuple[Any, Any]] = queue.Queue()
        with triton.InferenceServerClient(f"127.0.0.1:{router.router.grpc_port}") as asked:
            asked.start_stream(callback=lambda result, error: heard.put((result, error)))
            for age in (60, 20, 70):
                given = triton.InferInput("features", [1, 3], "FP32")
                given.set_data_from_numpy(np.array([[age, 1, 1]], dtype=np.float32))
                asked.async_stream_infer(
                    "m", [given], request_id=str(age), sequence_id=5, enable_empty_final_response=True
                )
            asked.async_stream_infer("x", [given])
            asked.stop_stream()
        return [heard.get_nowait() for _ in range(4)]

    *good, (nothing, error) = await asyncio.to_thread(ask)
    assert [(one.get_response().id, one.as_numpy("label").tolist()) for one, _ in good] == [
        ("60", [1]), ("20", [0]), ("70", [1]),
    ]  # fmt: skip
    assert nothing is None
    assert "no InferenceService 'x'" in str(error)
    assert [one["parameters"]["sequence_id"] for one in model.requests] == [5, 5, 5]
    assert not any("triton_enable_empty_final_response" in one["parameters"] for one in model.requests)
