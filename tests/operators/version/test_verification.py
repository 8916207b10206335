"""Verification: one flipped byte is refused, what is lost is tried again; and who uses and made a version."""

import pytest

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.contracts.task import VerifyReport
from gyre_operators.engine.kinds import JOB
from gyre_operators.engine.plan import Key, Ref
from tests.operators.version.cluster import DIGEST, KEY, NAMESPACE, VERIFIED, model, version
from tests.operators.version.conftest import Make


@pytest.mark.parametrize(
    ("report", "reason", "says"),
    [
        (
            VerifyReport(verified=False, message="model.onnx has sha256 0011, the version was made with 2233"),
            "DigestMismatch",
            "The stored bytes are not the version's: model.onnx has sha256 0011",
        ),
        (
            FailureReport(reason="ArtifactGone", message="s3://gyre/team/sha256/ab holds nothing."),
            "ArtifactGone",
            "s3://gyre/team/sha256/ab holds nothing.",
        ),
    ],
    ids=["one flipped byte", "the tree is gone"],
)
async def test_refused(report: VerifyReport | FailureReport, reason: str, says: str, make: Make) -> None:
    """Bytes that are not the version's end it before MLflow or a gate hears of it."""
    cluster = make(model(), version())
    await cluster.settle()
    cluster.answer_all(verify=report)
    await cluster.settle()
    status, why, message = cluster.ready()
    assert (status, why) == ("False", reason)
    assert says in message
    assert cluster.jobs("gate") == []
    assert cluster.registry.writes == 0


async def test_lost_to_the_surroundings(make: Make) -> None:
    """A store that is away says neither yes nor no: the verification is tried again after a minute."""
    cluster = make(model(), version())
    await cluster.settle()
    cluster.answer_all(verify=FailureReport(reason="StoreUnreachable", message="the store does not answer"))
    await cluster.settle()
    assert cluster.ready()[0] == "Unknown"
    await cluster.settle(29)
    assert len(cluster.jobs()) == 1
    await cluster.settle(31)
    assert len(cluster.jobs()) == 2
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    assert cluster.status()["verification"]["verified"] is True


async def test_vanished_job_is_made_again(make: Make) -> None:
    """A task Job that somebody deleted before it ended is made again under its name."""
    cluster = make(model(), version())
    await cluster.settle()
    (name,) = cluster.jobs()
    cluster.world.remove(Ref("batch/v1", "Job", NAMESPACE, name))
    assert cluster.world.get(JOB, Key(NAMESPACE, name)) is None
    await cluster.settle()
    assert cluster.jobs() == [name]


async def test_hindrance_is_told(make: Make) -> None:
    """What keeps a task's pod from running stands in the Ready condition."""
    cluster = make(model(), version())
    await cluster.settle()
    (name,) = cluster.jobs()
    job = cluster.world.get(JOB, Key(NAMESPACE, name))
    assert job is not None
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "x: not found"}}
    cluster.world.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-x",
                "namespace": NAMESPACE,
                "labels": job["metadata"]["labels"],
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
                ],
            },
            "status": {
                "phase": "Pending",
                "containerStatuses": [{"name": "task", "image": "gyre/pipelines:1", "state": waiting}],
            },
        }
    )
    await cluster.settle()
    assert "Image 'gyre/pipelines:1' of container task cannot be pulled" in cluster.ready()[2]


async def test_refuted_version_is_verified_again_when_its_bytes_come_again(make: Make) -> None:
    """A store that lost a version is told to train again, and that helps: the version once stayed refused for ever."""
    cluster = make(model(), version())
    await cluster.settle()
    cluster.answer_all(verify=FailureReport(reason="ArtifactGone", message="s3://gyre/team/sha256/ab holds nothing."))
    await cluster.settle()
    assert cluster.ready()[1] == "ArtifactGone"
    assert len(cluster.jobs("verify")) == 1
    spec = {"model": "census", "image": "x", "command": ["x"]}
    meta = {"name": "census-2", "namespace": NAMESPACE}
    again = {"apiVersion": "gyre.dev/v1alpha1", "kind": "TrainingJob", "metadata": meta, "spec": spec}
    cluster.world.put({**again, "status": {"version": KEY.name}})
    await cluster.settle()
    assert len(cluster.jobs("verify")) == 2
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    assert cluster.ready()[1] == "GatesRunning"
    assert len(cluster.jobs("verify")) == 2


async def test_producers_and_users(make: Make) -> None:
    """A second job with the same bytes grows producedBy; services that serve it stand in usedBy, and leave it."""
    job = {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "census-2", "namespace": NAMESPACE},
        "spec": {"model": "census", "image": "x", "command": ["x"]},
        "status": {"version": KEY.name},
    }
    revision = {"revision": "r1", "version": KEY.name, "digest": DIGEST}
    service = {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "census", "namespace": NAMESPACE},
        "spec": {"model": {"name": "census"}, "runtime": {"kind": "Python"}},
        "status": {"stable": revision},
    }
    cluster = make(model(), version(), job, service)
    status = await cluster.settle()
    assert status["producedBy"] == ["census-1", "census-2"]
    assert status["usedBy"] == ["census"]
    cluster.world.put({**service, "status": {"stable": {**revision, "version": "census-other"}}})
    status = await cluster.settle()
    assert status["usedBy"] == []
    assert status["producedBy"] == ["census-1", "census-2"]
