"""Pods that do not answer, in words; routers and pods asked over real HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gyre_crds.contracts.routing import Counter, RouterCounters, RouterState
from gyre_operators.inference.faults import fault_of
from gyre_operators.inference.observed import Fault
from gyre_operators.inference.routers import PodClient
from gyre_operators.workload.views import Pod


def pod(*containers: dict[str, Any], ip: str = "", phase: str = "Running", **status: Any) -> Pod:
    """A pod that is not ready."""
    body = {
        "metadata": {"name": "p", "namespace": "default", "uid": f"uid-{ip}"},
        "status": {"phase": phase, "podIP": ip, "containerStatuses": list(containers), **status},
    }
    return msgspec.convert(body, Pod)


def container(state: dict[str, Any], *, last: dict[str, Any] | None = None, name: str = "server") -> dict[str, Any]:
    """A container's status."""
    return {"name": name, "image": "triton:1", "state": state, "lastState": last or {}}


def ended(reason: str, message: str, code: int) -> dict[str, Any]:
    """A container that ended with a report."""
    report = msgspec.json.encode({"schema": "gyre.failure.v1", "reason": reason, "message": message}).decode()
    return {"terminated": {"exitCode": code, "message": report}}


BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
QUOTA = {
    "type": "ReplicaFailure",
    "status": "True",
    "message": "pods is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=2, limited: cpu=2",
}


@pytest.mark.parametrize(
    ("pods", "conditions", "reason", "sentence", "fatal"),
    [
        pytest.param(
            [pod(container(BACK_OFF, last=ended("CannotLoad", "opset 99", 64)))],
            [],
            "ModelDoesNotLoad",
            "opset 99",
            True,
            id="the runtime refuses the model",
        ),
        pytest.param(
            [pod(container(ended("GoldenRowsDiffer", "3 of 64", 64)))],
            [],
            "GoldenRowsDiffer",
            "3 of 64",
            True,
            id="the golden rows come out otherwise",
        ),
        pytest.param(
            [pod(container(ended("DigestMismatch", "a.onnx", 64)))],
            [],
            "ModelDoesNotLoad",
            "a.onnx",
            True,
            id="the bytes are not the version's",
        ),
        pytest.param(
            [pod(container(BACK_OFF, last=ended("ArtifactGone", "the store holds no version", 64)))],
            [],
            "ModelDoesNotLoad",
            "the store holds no version",
            False,
            id="bytes that the store lost may be brought back",
        ),
        pytest.param(
            [pod(container(ended("StoreDenied", "check Secret gyre-store", 64)))],
            [],
            "Starting",
            "gyre-store",
            False,
            id="a wrong credential is not the version's fault",
        ),
        pytest.param(
            [pod(container(ended("ModelDoesNotLoad", "the volume is full", 75)))],
            [],
            "ModelDoesNotLoad",
            "volume is full",
            False,
            id="surroundings that fail are tried again",
        ),
        pytest.param(
            [pod(container({"waiting": {"reason": "ErrImagePull", "message": "not found"}}))],
            [],
            "ImagePullFailed",
            "no such image",
            False,
            id="the image cannot be pulled",
        ),
        pytest.param([], [QUOTA], "QuotaExceeded", "ResourceQuota 'small'", False, id="a quota forbids the pods"),
        pytest.param(
            [
                pod(
                    conditions=[
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/1 nodes are available: 1 Insufficient cpu.",
                        }
                    ]
                )
            ],
            [],
            "Unschedulable",
            "cpu",
            False,
            id="no node has room",
        ),
    ],
)
def test_fault_of_pods(
    pods: list[Pod], conditions: list[dict[str, Any]], reason: str, sentence: str, *, fatal: bool
) -> None:
    """Reason, sentence, and whether the version itself is at fault."""
    fault = fault_of(pods, {"status": {"conditions": conditions}}, {})
    assert fault is not None
    assert (fault.reason, fault.fatal) == (reason, fatal)
    assert sentence in fault.message


def test_pods_that_say_nothing_have_no_fault() -> None:
    """A container that just starts is not a fault."""
    assert fault_of([pod(container({"waiting": {"reason": "ContainerCreating"}}))], None, {}) is None


STATE = RouterState(pod="p", epoch="e", generation="g")
COUNTS = RouterCounters(pod="p", epoch="e", generation="g", services={"s": {"r": Counter(requests=3, errors=1)}})


async def _serve(address: str, port: int, answers: dict[str, dict[str, Any]]) -> web.AppRunner:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers[request.path])

    app = web.Application()
    for path in answers:
        app.router.add_get(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    return runner


@pytest.fixture
async def client() -> AsyncIterator[PodClient]:
    """A client with a session of its own."""
    async with aiohttp.ClientSession() as http:
        yield PodClient(http)


async def test_routers_are_asked_on_their_control_port(client: PodClient) -> None:
    """State and counters of the pod that answers; the one that does not is there without them."""
    runner = await _serve("127.78.0.1", 8081, {"/v1/state": STATE.dump(), "/v1/counters": COUNTS.dump()})
    try:
        up, down = await client.routers([pod(ip="127.78.0.1"), pod(ip="127.78.0.2")], counters=True)
    finally:
        await runner.cleanup()
    assert (up.state, up.counters) == (STATE, COUNTS)
    assert (down.state, down.counters) == (None, None)


async def test_router_that_only_crashes_is_no_live_router(client: PodClient) -> None:
    """It can send nothing, so no rollout has to wait for its word."""
    crashing = pod(container(BACK_OFF, name="router"), ip="127.78.0.3")
    assert await client.routers([crashing, pod(phase="Pending", ip="127.78.0.4")], counters=False) == ()


async def test_pod_says_on_readyz_what_it_waits_for(client: PodClient) -> None:
    """The agent's sentence, before its container ends by itself."""
    said = {"ready": False, "reason": "GoldenRowsDiffer", "message": "3 of 64", "version": "v1"}
    runner = await _serve("127.78.0.5", 8090, {"/readyz": said})
    try:
        found = await client.readiness(pod(container({}, name="agent"), ip="127.78.0.5"))
    finally:
        await runner.cleanup()
    assert found == Fault("GoldenRowsDiffer", "3 of 64")
