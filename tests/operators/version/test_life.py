"""The life of a ModelVersion: verified, registered, gated, promoted, archived."""

from gyre_crds.contracts.task import GateReport, VerifyReport
from gyre_crds.v1alpha1.model import Model
from gyre_operators.engine.kinds import gyre
from gyre_operators.engine.plan import Key, ref
from gyre_operators.registry_client.types import ID, Registration
from gyre_operators.version.controller import SERVICES
from tests.operators.builders import body
from tests.operators.version.cluster import (
    ADOPTED,
    CHAMPION,
    DIGEST,
    KEY,
    OTHER,
    PASSED,
    PROFILED,
    REGISTERED,
    VERIFIED,
    Cluster,
    model,
    version,
)
from tests.operators.version.conftest import Make


async def ready(cluster: Cluster) -> None:
    """Bring the version to Ready."""
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    cluster.answer_all(gate=PASSED, profile=PROFILED)
    await cluster.settle()
    assert cluster.ready()[:2] == ("True", "Ready")


async def test_nothing_happens_before_verification(make: Make) -> None:
    """Only the verify Job exists until the stored bytes are known to be the version's."""
    cluster = make(model(), version())
    status = await cluster.settle()
    assert [name.rpartition("-")[0].rpartition("-")[2] for name in cluster.jobs()] == ["verify"]
    assert (status["state"], status["reason"]) == ("Verifying", "Verifying")
    assert cluster.order(cluster.jobs()[0])["digest"] == DIGEST
    assert cluster.registry.writes == 0


async def test_first_version_becomes_ready(make: Make) -> None:
    """Verified, registered once with its tags, gates passed, profiled: Ready."""
    cluster = make(model(), version())
    await ready(cluster)
    status = cluster.status()
    assert status["registry"] == {
        "name": REGISTERED,
        "version": "1",
        "url": "memory://team.census/1",
    }
    assert [(gate["name"], gate["state"], gate["reason"]) for gate in status["gates"]] == [
        ("golden-rows", "Passed", "Passed"),
        ("schema", "Passed", "NoChampion"),
    ]
    assert "ready" not in status["profile"]
    cluster.answer_all(profile=PROFILED)
    assert (await cluster.settle())["profile"]["ready"] is True
    assert status["producedBy"] == ["census-1"]
    tags = cluster.registry.models[REGISTERED]["1"].tags
    assert tags["gyre.dev/digest"] == DIGEST
    assert tags["gyre.dev/gate.golden-rows"] == "Passed: 0.79 is at least 0.75."
    assert tags["gyre.dev/state"] == "Ready"


async def test_profile_comes_after_the_gates(make: Make) -> None:
    """The drift profile waits until no gate runs, and is not made of a version that is refused."""
    cluster = make(model(), version())
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    assert (len(cluster.jobs("gate")), cluster.jobs("profile")) == (1, [])
    cluster.answer_all(gate=GateReport(state="Failed", reason="GoldenRowsDiffer", message="3 of 64 differ"))
    status = await cluster.settle()
    assert (cluster.jobs("profile"), status["reason"]) == ([], "GoldenRowsDiffer")


async def test_at_rest_nothing_is_asked(make: Make) -> None:
    """A Ready version without an alias plans nothing and asks MLflow nothing."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.answer_all(profile=PROFILED)
    await cluster.settle()
    cluster.registry.away = True
    before = cluster.status()
    await cluster.settle(600)
    assert cluster.status() == before


async def test_promotion_and_archive(make: Make) -> None:
    """Challenger, champion, archived: aliases, moves and MLflow follow the Model's status."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.model_says(challenger={"name": KEY.name})
    status = await cluster.settle()
    assert status["aliases"] == ["challenger"]
    assert await cluster.registry.aliases(REGISTERED) == {"challenger": "1"}
    cluster.promote()
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    status = await cluster.settle()
    assert status["aliases"] == ["champion"]
    assert await cluster.registry.aliases(REGISTERED) == {"champion": "1"}
    assert cluster.registry.models[REGISTERED]["1"].tags["gyre.dev/state"] == "Champion"
    cluster.world.put(version(CHAMPION.name, OTHER))
    cluster.promote(CHAMPION.name)
    status = await cluster.settle()
    assert (status["state"], status["reason"]) == ("Archived", "Archived")
    assert [(move["alias"], move["what"]) for move in status["moves"]] == [
        ("champion", "Lost"),
        ("champion", "Gained"),
        ("challenger", "Lost"),
        ("challenger", "Gained"),
    ]


async def test_promotion_verifies_again(make: Make) -> None:
    """A verification older than the promotion is repeated once, and the version stays Ready meanwhile."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.promote()
    status = await cluster.settle()
    assert len(cluster.jobs("verify")) == 2
    assert "verified" not in status["verification"]
    assert cluster.ready()[:2] == ("True", "Ready")
    cluster.answer_all(verify=VerifyReport(verified=False, message="model.onnx has sha256 00, the version has ab"))
    await cluster.settle()
    status_, reason, message = cluster.ready()
    assert (status_, reason) == ("False", "DigestMismatch")
    assert "model.onnx" in message


async def test_alias_that_somebody_moved_is_put_back(make: Make) -> None:
    """The Model decides about aliases: one moved in MLflow comes back, with an event."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.promote()
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    await cluster.registry.delete_alias(REGISTERED, "champion")
    await cluster.settle()
    assert await cluster.registry.aliases(REGISTERED) == {"champion": "1"}
    assert "AliasDrift" in {event.reason for event in cluster.world.events}


async def test_registry_away_lets_gates_go_on(make: Make) -> None:
    """Without MLflow gates are evaluated all the same, and registration follows when it is back."""
    cluster = make(model(), version())
    cluster.registry.away = True
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    cluster.answer_all(gate=PASSED, profile=PROFILED)
    status = await cluster.settle()
    assert {gate["state"] for gate in status["gates"]} == {"Passed"}
    status_, reason, message = cluster.ready()
    assert (status_, reason) == ("Unknown", "RegistryUnreachable")
    assert message.startswith("MLflow is away: it is switched off.")
    assert (await cluster.plan()).requeue is not None
    cluster.registry.away = False
    await cluster.settle()
    assert cluster.ready()[:2] == ("True", "Ready")


async def test_adoption(make: Make) -> None:
    """A version registered by hand is digested and copied first, keeps its number, and is never registered again."""
    by_hand = version()
    by_hand["spec"] = {"model": "census", "source": {"mlflow": {"name": REGISTERED, "version": "1"}}}
    cluster = make(model(), by_hand)
    registry = cluster.registry
    await registry.register(Registration(REGISTERED, "s3://mlflow/1", {ID: "x"}))
    await registry.delete_tag(REGISTERED, "1", ID)
    await cluster.settle()
    assert len(cluster.jobs("adopt")) == 1
    cluster.answer_all(adopt=ADOPTED)
    await cluster.settle()
    cluster.answer_all(gate=PASSED)
    status = await cluster.settle()
    assert (status["digest"], status["uri"], status["format"]) == (DIGEST, ADOPTED.uri, "ONNX")
    assert status["registry"]["version"] == "1"
    assert list(registry.models[REGISTERED]) == ["1"]
    assert registry.models[REGISTERED]["1"].tags["gyre.dev/model-version"] == KEY.name
    assert cluster.ready()[:2] == ("True", "Ready")


async def test_champion_of_a_model_that_is_gone_says_that_it_may_go(make: Make) -> None:
    """Aliases stay for a Model of that name, and the policy lets the version go: it once could never be deleted."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.promote()
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    gone = cluster.world.get(gyre(Model), KEY._replace(name="census"))
    assert gone is not None
    cluster.world.remove(ref(gone))
    status = await cluster.settle()
    assert (status["aliases"], status["reason"]) == (["champion"], "Ready")
    assert cluster.condition("Orphaned")["status"] == "True"
    cluster.world.put(gone)
    status = await cluster.settle()
    assert status["aliases"] == ["champion"]
    assert "Orphaned" not in {each["type"] for each in status["conditions"]}


async def test_restored_cluster_keeps_the_alias_in_mlflow(make: Make) -> None:
    """A Model that lost its status takes no champion's alias away: MLflow alone still knows it."""
    cluster = make(model(), version())
    await ready(cluster)
    cluster.promote()
    await cluster.settle()
    cluster.answer_all(verify=VERIFIED)
    await cluster.settle()
    cluster.model_says(champion=None)
    status = await cluster.settle()
    assert status["aliases"] == []
    assert await cluster.registry.aliases(REGISTERED) == {"champion": "1"}


async def test_service_that_does_not_parse_uses_its_version_still(make: Make) -> None:
    """`usedBy`, by which a policy keeps what serves, stays as it was; with the service it goes."""
    serves = {"stable": {"revision": "r1", "version": KEY.name, "digest": DIGEST}}
    service = body("InferenceService", "census", {"model": {"name": "census"}}, serves)
    service["metadata"]["namespace"] = KEY.namespace
    cluster = make(model(), version(), service)
    assert (await cluster.settle())["usedBy"] == ["census"]
    cluster.world.put({**service, "spec": {"model": {"name": ["census"]}}})
    assert (await cluster.settle())["usedBy"] == ["census"]
    gone = cluster.world.stores.of(SERVICES).entry(Key(KEY.namespace, "census"))
    assert gone is not None
    assert list(SERVICES.parents(gone, cluster.world.stores)) == [KEY], "its deletion woke nobody"
    cluster.world.remove(ref(service))
    assert not (await cluster.settle()).get("usedBy")
