"""The life of a TrainingJob from apply to ModelVersion, attempt by attempt."""

from gyre_crds.contracts.attempt import FailureReport
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Key, ref
from tests.operators.training.cluster import DIGEST, IMAGE, KEY, ended
from tests.operators.training.conftest import Make

VERSION = Key(KEY.namespace, "census-abababababab")


async def test_success_ends_with_a_model_version(make: Make) -> None:
    """A published result becomes exactly one ModelVersion with its lineage, named in a Complete job."""
    cluster = make()
    status = await cluster.settle()
    assert (status["state"], cluster.jobs()) == ("Pending", ["census-a1"])
    cluster.runs()
    status = await cluster.settle(5)
    assert (status["state"], status["attempts"][0]["node"]) == ("Running", "node-1")
    cluster.succeeds()
    status = await cluster.settle(60)
    assert (status["state"], status["reason"], status["version"]) == ("Succeeded", "Succeeded", VERSION.name)
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "Complete": "True",
    }
    version = cluster.world.get(gyre(ModelVersion), VERSION)
    assert version is not None
    lineage = version["spec"]["lineage"]
    assert (lineage["job"], lineage["attempt"], lineage["inputDigest"]) == ("census", 1, DIGEST)
    assert lineage["image"] == f"{IMAGE}@{DIGEST}"
    assert "ownerReferences" not in version["metadata"]


async def test_life_costs_five_writes(make: Make) -> None:
    """Without progress a life costs: intent, Job, running, ModelVersion, end."""
    cluster = make()
    before = cluster.world._version
    await cluster.settle()
    writes = cluster.world._version - before
    cluster.runs()
    before = cluster.world._version
    await cluster.settle(5)
    writes += cluster.world._version - before
    cluster.succeeds()
    before = cluster.world._version
    await cluster.settle(60)
    writes += cluster.world._version - before
    assert writes == 5


async def test_finished_rests(make: Make) -> None:
    """A finished job plans nothing, whatever becomes of its Job, pod and version."""
    cluster = make()
    await cluster.settle()
    cluster.succeeds()
    await cluster.settle()
    for body in [*cluster.world.all(gyre(ModelVersion)), cluster.job()]:
        cluster.world.remove(ref(body))
    plan = await cluster.plan()
    assert (plan.changes, plan.status) == (False, None)


async def test_user_error_is_retried_with_backoff(make: Make) -> None:
    """A failing command is tried retry.limit more times, the waits doubling, and its last lines are told."""
    cluster = make(retry={"limit": 2, "backoff": "10s"})
    await cluster.settle()
    cluster.fails(text="Traceback\nValueError: boom")
    cluster.job_failed()
    status = await cluster.settle()
    assert status["state"] == "Retrying"
    assert cluster.jobs() == ["census-a1"]
    await cluster.settle(9)
    assert cluster.jobs() == ["census-a1"]
    await cluster.settle(1)
    assert cluster.jobs() == ["census-a1", "census-a2"]


async def test_prepare_reports_no_new_data(make: Make) -> None:
    """Equal input ends as a success without a version."""
    cluster = make()
    await cluster.settle()
    report = FailureReport(reason="NoNewData", message="the input is that of the champion census-1")
    cluster.containers(prepare=ended(64, report=report))
    cluster.pod(phase="Failed")
    cluster.job_failed()
    status = await cluster.settle()
    assert (status["state"], status["reason"], "version" in status) == ("Succeeded", "NoNewData", False)
