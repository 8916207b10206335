"""What an InferenceService says of its callers' tokens."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from tests.operators.builders import after, model, service, version
from tests.operators.inference.conftest import V1, Scene
from tests.operators.router.test_guarding import pod

AUTH = {"auth": {"tokens": {"secret": "callers"}}}


def said(scene: Scene) -> tuple[str, str, str]:
    """Status, reason and sentence of the condition."""
    found = scene.condition("Protected")
    return found["status"], found["reason"], found["message"]


async def served(spec: dict[str, Any], *pods: dict[str, Any], callers: int = 0) -> Scene:
    """A service whose first version answers, with its router pods."""
    scene = Scene()
    scene.put(*pods, model(status=V1), version("v1"), service(spec))
    scene.fleet.callers = {"census": callers}
    for _ in range(6):
        await scene.step()
        scene.make_ready()
    return scene


async def test_service_without_tokens_says_nothing_of_them() -> None:
    """No condition where nobody asked for one."""
    scene = await served({})
    assert [one["type"] for one in scene.status["conditions"]] == ["Ready", "Reconciling", "Stalled"]
    assert scene.fleet.asked_counters > 0
    before = scene.fleet.asked_counters
    await scene.step(after(60))
    assert scene.fleet.asked_counters == before, "routers of a service at rest are left alone"


async def test_service_whose_callers_are_asked_is_protected() -> None:
    """Every router runs the table and knows a token."""
    scene = await served(AUTH, callers=1)
    assert said(scene) == ("True", "Protected", "tokens of Secret callers are asked for")
    assert scene.condition()["status"] == "True"


async def test_missing_secret_is_one_sentence_with_its_cure() -> None:
    """Not Ready, for nobody is let in; Ready again by itself once the routers know a token."""
    scene = await served(AUTH)
    ready = scene.condition()
    assert (ready["status"], ready["reason"]) == ("False", "NoTokens")
    assert ready["message"].startswith(
        "auth.tokens.secret: a router finds no token in Secret callers and answers 503, for it does not"
    )
    assert "kubectl create secret generic callers -n default --from-literal=" in ready["message"]
    scene.fleet.callers = {"census": 2}
    await scene.rest(after(5))
    assert scene.condition()["status"] == "True"
    assert said(scene)[0] == "True"


async def test_labels_alone_do_not_make_a_service_unready() -> None:
    """Where predicting needs no token, a missing Secret stops labels only."""
    scene = await served({"auth": {"tokens": {"secret": "callers"}, "predict": False}})
    assert scene.condition()["status"] == "True"
    assert said(scene)[1] == "NoTokens"
    assert (scene.status["state"], scene.status["reason"]) == ("Serving", "NoTokens"), "kubectl get shows it too"


@pytest.mark.parametrize("predict", [True, False], ids=["nobody is let in", "no label is let in"])
async def test_missing_secret_is_told_by_one_event(*, predict: bool) -> None:
    """Once a loss of the tokens, however often the routers are asked; again when they are lost again."""
    scene = await served({"auth": {"tokens": {"secret": "callers"}, "predict": predict}})
    await scene.rest(after(5))
    await scene.rest(after(10))
    assert tokens_missed(scene) == 1
    scene.fleet.callers = {"census": 2}
    await scene.rest(after(15))
    assert scene.status["reason"] == "Serving"
    scene.fleet.callers = {"census": 0}
    await scene.rest(after(90))
    assert tokens_missed(scene) == 2


def tokens_missed(scene: Scene) -> int:
    """Warnings that say which Secret to create."""
    told = [event for event in scene.town.events if event.reason == "NoTokens"]
    assert all(event.type == "Warning" and "create secret generic callers" in event.message for event in told)
    return len(told)


async def test_service_in_use_says_that_it_is_open_still() -> None:
    """Ready, for it answers; the sentence says whom, and until when."""
    scene = await served({}, pod("a"))
    scene.put({**scene.town.object(InferenceService, "census"), "spec": {"model": {"name": "census"}, **AUTH}})
    await scene.rest(after(5))
    assert scene.condition()["status"] == "True"
    assert "everybody is still answered without a token" in scene.condition()["message"]
    assert said(scene)[:2] == ("False", "RoutersRestarting")
    scene.put(pod("a", "callers"))
    scene.fleet.callers = {"census": 1}
    await scene.rest(after(10))
    assert said(scene)[0] == "True"
    assert scene.condition()["message"] == "v1 serves all traffic"


async def test_new_service_waits_for_its_routers() -> None:
    """Not Ready, and the reason is the routers' and not the model's."""
    scene = await served(AUTH, pod("a"), callers=1)
    ready = scene.condition()
    assert (ready["status"], ready["reason"]) == ("False", "RoutersRestarting")
    assert "nobody is answered until every router pod has Secret callers mounted" in ready["message"]
    scene.put(pod("a", "callers"))
    await scene.rest(after(5))
    assert scene.condition()["status"] == "True"


@pytest.mark.parametrize("silent", [True, False], ids=["a router does not answer", "all answer"])
async def test_protection_once_said_outlasts_a_router_that_does_not_answer(*, silent: bool) -> None:
    """Another service's table change is no reason to doubt it."""
    scene = await served(AUTH, callers=1)
    scene.fleet.silent = {"router-0"} if silent else set()
    await scene.step(after(60))
    assert said(scene)[0] == "True"


REVIEW = {"tokenReview": {"audiences": ["census"], "allow": [{"serviceAccount": "shop/web"}]}}
MTLS = {"mtls": {"allow": [{"commonName": "web"}]}}
RIGHT = "ServiceAccount ml/gyre-router may not create tokenreviews: add ml to the chart's value tokenReview.namespaces"


@pytest.mark.parametrize(
    ("way", "fault", "reason", "sentence"),
    [
        pytest.param(REVIEW, {"reviews": RIGHT}, "CannotReviewTokens", RIGHT, id="the right is missing"),
        pytest.param(MTLS, {"tls": "no certificate"}, "NoCertificate", "gyre-router-tls", id="no certificate"),
        pytest.param(MTLS, {"tls": None}, "NoCertificate", "has no TLS port", id="no TLS port"),
    ],
)
async def test_way_that_no_caller_can_go_is_said_with_its_cure(
    way: dict[str, Any], fault: dict[str, Any], reason: str, sentence: str
) -> None:
    """Not Ready where it is the only way, Ready by itself once it works."""
    scene = Scene()
    for name, value in fault.items():
        setattr(scene.fleet, name, value)
    scene.put(model(status=V1), version("v1"), service({"auth": way}))
    for _ in range(6):
        await scene.step()
        scene.make_ready()
    assert said(scene)[:2] == ("False", reason)
    assert sentence in said(scene)[2]
    assert (scene.condition()["status"], scene.condition()["reason"]) == ("False", reason)
    scene.fleet.tls = scene.fleet.reviews = ""
    await scene.rest(after(5))
    assert scene.condition()["status"] == "True"
    assert said(scene)[0] == "True"


async def test_one_way_of_several_that_works_keeps_the_service_ready() -> None:
    """Who has a token is answered; the condition says which way is shut."""
    scene = await served({"auth": {**AUTH["auth"], **MTLS}}, callers=1)
    asked = "tokens of Secret callers or client certificates on port 443 are asked for"
    assert said(scene) == ("True", "Protected", asked)
    scene.fleet.tls = "no certificate"
    await scene.rest(after(60))
    assert said(scene)[:2] == ("False", "NoCertificate")
    assert scene.condition()["status"] == "True"
    assert "gyre-router-tls" in scene.condition()["message"]


async def test_routers_that_have_not_tried_yet_are_no_outage() -> None:
    """A service in use stays Ready for the second in which its routers find out."""
    scene = Scene()
    scene.fleet.reviews = None
    scene.put(model(status=V1), version("v1"), service({"auth": REVIEW}))
    for _ in range(6):
        await scene.step()
        scene.make_ready()
    assert said(scene)[:2] == ("False", "CannotReviewTokens")
    assert "has not tried yet" in said(scene)[2]
    assert scene.condition()["status"] == "True"
    assert [event for event in scene.town.events if event.type == "Warning"] == []
    scene.fleet.reviews = RIGHT
    await scene.rest(after(5))
    assert [event.reason for event in scene.town.events if event.type == "Warning"] == ["CannotReviewTokens"]
