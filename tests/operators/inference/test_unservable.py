"""What cannot be served is refused or waited for, with one sentence."""

import pytest

from tests.operators.builders import after, model, service, version
from tests.operators.inference.conftest import V1, Scene


async def test_version_that_does_not_load_is_refused_with_the_runtimes_sentence(serving: Scene) -> None:
    """A pod that ends with EXIT_USER and a report on its version ends the rollout; nothing is waited for."""
    serving.say_challenger("v2")
    await serving.rest()
    candidate = serving.status["candidate"]["revision"]
    said = '{"schema": "gyre.failure.v1", "reason": "GoldenRowsDiffer", "message": "3 of 64 golden rows differ"}'
    serving.put(_pod("census-x", candidate, said, 64))
    await serving.rest(after(5))
    assert serving.status["rejected"][0]["reason"] == "GoldenRowsDiffer"
    assert "3 of 64" in serving.condition()["message"]
    assert serving.servers() == ["v1"]


async def test_store_that_is_away_refuses_nothing(serving: Scene) -> None:
    """A fault of the surroundings is said and waited for."""
    serving.say_challenger("v2")
    await serving.rest()
    candidate = serving.status["candidate"]["revision"]
    said = '{"schema": "gyre.failure.v1", "reason": "StoreUnreachable", "message": "the store does not answer"}'
    serving.put(_pod("census-x", candidate, said, 75))
    await serving.rest(after(5))
    assert serving.status["candidate"]["revision"] == candidate
    assert serving.condition("Reconciling")["message"] == "the store does not answer"


def _pod(name: str, revision: str, message: str, code: int) -> dict[str, object]:
    ended = {"terminated": {"exitCode": code, "message": message}}
    labels = {"gyre.dev/role": "server", "gyre.dev/inference-service": "census", "gyre.dev/revision": revision}
    statuses = [{"name": "fetch", "ready": False, "restartCount": 1, "state": {}, "lastState": ended}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "status": {"phase": "Pending", "initContainerStatuses": statuses},
    }


async def test_first_version_that_does_not_load_fails_the_service(scene: Scene) -> None:
    """Without a stable revision there is nothing to fall back on: the sentence stands on Ready."""
    await scene.rest()
    said = '{"schema": "gyre.failure.v1", "reason": "CannotLoad", "message": "opset 99 is not known"}'
    scene.put(_pod("census-x", scene.status["candidate"]["revision"], said, 64))
    await scene.rest(after(5))
    assert scene.condition()["status"] == "False"
    assert scene.condition()["reason"] == "ModelDoesNotLoad"
    assert "opset 99" in scene.condition()["message"]
    assert scene.condition("Stalled")["status"] == "True"


@pytest.mark.parametrize(
    ("objects", "reason", "sentence"),
    [
        pytest.param(
            [service()],
            "WaitingForVersion",
            "there is no Model census",
            id="a service without a model waits and names it",
        ),
        pytest.param(
            [model(), service()], "WaitingForVersion", "no champion yet", id="a model without a version is waited for"
        ),
        pytest.param(
            [model(status=V1), service({"model": {"name": "census", "version": "v9"}})],
            "WaitingForVersion",
            "there is no ModelVersion v9",
            id="a version that does not exist is named",
        ),
        pytest.param(
            [
                model(status=V1),
                version("v1", status={"verification": {"verified": False, "message": "a.onnx differs"}}),
                service(),
            ],
            "VersionNotReady",
            "a.onnx differs",
            id="a version with other bytes is never served",
        ),
    ],
)
async def test_what_cannot_be_served_is_said(objects: list[dict[str, object]], reason: str, sentence: str) -> None:
    """Each missing thing is one sentence on Ready."""
    scene = Scene()
    scene.put(*objects)
    await scene.rest()
    assert scene.condition()["status"] == "False"
    assert scene.condition()["reason"] == reason
    assert sentence in scene.condition()["message"]


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        pytest.param(
            ["router-x"], "Add this namespace to the list workloads.namespaces", id="a router without a store"
        ),
        pytest.param([], "Deployment gyre-router and its events say why", id="a quota that forbids routers"),
    ],
)
async def test_why_no_router_runs_is_said(pods: list[str], said: str, scene: Scene) -> None:
    """A service whose routers cannot start once said no more than that none runs."""
    scene.fleet.names.clear()
    missing = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "gyre-store" not found'}}
    for name in pods:
        waiting = {"phase": "Pending", "containerStatuses": [{"name": "router", "state": missing}]}
        metadata = {"name": name, "namespace": "default", "labels": {"gyre.dev/role": "router"}}
        scene.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": waiting})
    await scene.rest()
    scene.make_ready()
    await scene.rest()
    assert scene.condition()["message"].endswith((said, f"{said} of chart gyre and run helm upgrade."))
