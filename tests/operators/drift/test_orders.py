"""What a look is told, and what keeps a monitor from looking."""

from typing import Any

import pytest

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import POD, gyre
from tests.operators.builders import (
    after,
    digest_of,
    key,
    monitor,
    service,
    version,
)
from tests.operators.drift.conftest import EVIDENCE, LATE, SERVES, Scene


@pytest.mark.parametrize(
    ("objects", "status", "reason", "sentence"),
    [
        pytest.param([service(status={})], "False", "WaitingForTarget", "serves no version yet", id="nothing serves"),
        pytest.param(
            [monitor({"target": {"inferenceService": "other"}})],
            "False",
            "WaitingForTarget",
            "no InferenceService other",
            id="the target does not exist",
        ),
        pytest.param(
            [version("v1")], "False", "NoReference", "set spec.reference", id="a version without reference rows"
        ),
        pytest.param(
            [version("v1", status={"profile": {"job": "p"}})],
            "False",
            "NoReference",
            "is being made",
            id="a profile that is being made",
        ),
    ],
)
async def test_monitor_that_cannot_look_says_why(
    scene: Scene, objects: list[dict[str, Any]], status: str, reason: str, sentence: str
) -> None:
    """One sentence on Ready, and no job."""
    for body in objects:
        scene.town.put(body)
    await scene.rest(after(LATE))
    assert scene.jobs() == []
    assert (scene.condition["status"], scene.condition["reason"]) == (status, reason)
    assert sentence in scene.condition["message"]


@pytest.mark.parametrize(
    ("profile", "spec", "expected"),
    [
        pytest.param(
            {"ready": True},
            {},
            f"s3://gyre/default/versions/{digest_of('v1').removeprefix('sha256:')}/profile.json",
            id="the profile of the version",
        ),
        pytest.param(
            {"ready": False, "message": "no rows"},
            {},
            EVIDENCE["evidence"]["reference"],
            id="its rows where the profile could not be made",
        ),
        pytest.param(
            {"ready": True},
            {"reference": "s3://mine/ref.parquet"},
            "s3://mine/ref.parquet",
            id="the monitor's own reference comes first",
        ),
    ],
)
async def test_reference_of_a_look(scene: Scene, profile: dict[str, Any], spec: dict[str, Any], expected: str) -> None:
    """What the window is compared with."""
    scene.town.put(version("v1", status={"profile": profile}, **EVIDENCE))
    scene.town.put(monitor(spec))
    await scene.rest(after(LATE))
    assert scene.order().profile == expected


async def test_look_is_told_which_columns_the_payload_log_leaves_out(scene: Scene) -> None:
    """A redacted column never arrives: the look would otherwise call it missing, a broken schema."""
    scene.town.put(service({"payloads": {"redact": ["name"]}}, status=SERVES))
    await scene.rest(after(LATE))
    assert scene.order().redacted == ["name"]


async def test_alarms_in_a_row_are_counted_and_told_to_the_next_look(scene: Scene) -> None:
    """Persistence: the same alarming verdict counts up, too few rows count nothing, health starts over."""
    seen = []
    for number, verdict in enumerate(
        ["CovariateShift", "CovariateShift", "InsufficientData", "CovariateShift", "Healthy"]
    ):
        await scene.rest(after(60 * number + LATE))
        scene.finds(verdict)
        await scene.rest(after(60 * number + LATE + 5))
        seen.append(scene.status["consecutive"])
    assert seen == [1, 2, 2, 1, 0]
    assert [event.reason for event in scene.town.events if event.type == "Warning"] == ["CovariateShift"] * 3


async def test_look_pod_is_restricted(scene: Scene) -> None:
    """Pod Security restricted, no API token, store credentials by reference."""
    await scene.rest(after(LATE))
    pod = scene.jobs()[0]["spec"]["template"]["spec"]
    assert (pod["automountServiceAccountToken"], pod["restartPolicy"]) == (False, "Never")
    assert pod["securityContext"]["runAsNonRoot"] is True
    [container] = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    secrets = [e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if "valueFrom" in e]
    assert set(secrets) == {"gyre-store"}
    assert scene.town.all(POD) == []
    assert scene.town.get(gyre(InferenceService), key("census")) is not None
