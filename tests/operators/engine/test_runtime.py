"""The whole engine without kopf, over an API server in memory: what users and operators rely on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.controller import APPLY, Controller, Grant
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import CONFIG_MAP, EVENT, JOB, NODE, SECRET, gyre
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Effect, Event, Key, Plan
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.runtime import Runtime
from gyre_operators.engine.store import Stores
from gyre_operators.engine.watch import Watch, by_all
from gyre_operators.settings import Settings
from tests.operators.engine.example import OnceController, Seen, training_job
from tests.operators.engine.fakes import FakeApi

pytestmark = pytest.mark.looptime

KIND = gyre(TrainingJob)
KEY = Key("default", "first")
NODES: Watch[dict[str, Any]] = Watch(NODE, dict, by_all(TrainingJob))


class Running:
    """A running engine and what a test asks of it."""

    def __init__(self, api: FakeApi, runtime: Runtime, metrics: Metrics) -> None:
        self.api = api
        self.runtime = runtime
        self.metrics = metrics

    def subject(self) -> dict[str, Any]:
        """The TrainingJob on the server."""
        return self.api.objects[KIND.plural, KEY]

    def ready(self) -> dict[str, Any]:
        """Its Ready condition."""
        conditions = self.subject().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == "Ready"), {})

    def events(self) -> list[str]:
        """The reasons of all Events, in order."""
        return [b["reason"] for (plural, _), b in self.api.objects.items() if plural == EVENT.plural]

    def jobs(self) -> list[str]:
        """The names of all Jobs."""
        return [key.name for plural, key in self.api.objects if plural == JOB.plural]

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running(
    api: FakeApi,
    controller: Controller[Any] | None = None,
    *,
    identity: str = "one",
    leader_election: bool = False,
    freeze: bool = False,
) -> AsyncIterator[Running]:
    """Run the engine; Gyre's own kinds are listed twice a minute instead of watched by kopf."""
    loop = asyncio.get_running_loop()
    metrics = Metrics()
    client: Any = api
    runtime = Runtime(
        settings=Settings(leader_election=leader_election, namespace="gyre-system", freeze=freeze),
        client=client,
        metrics=metrics,
        clock=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=loop.time()),
        controllers=[controller or OnceController()],
        kinds=[TrainingJob],
        identity=identity,
        sweep=30.0,
    )
    await runtime.start()
    try:
        yield Running(api, runtime, metrics)
    finally:
        await runtime.stop()


async def test_a_job_s_life_takes_four_writes_and_then_none() -> None:
    """ConfigMap, status with the intent, Job, status with the uid; an hour of rest: nothing."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api) as engine:
        await asyncio.sleep(10)
        first = [write for write in api.writes if write[1] != EVENT.plural]
        api.writes.clear()
        await asyncio.sleep(3600)

        assert sorted(first) == [
            ("apply", "configmaps", "first-params"),
            ("create", "jobs", "first-a1"),
            ("status", "trainingjobs", "first"),
            ("status", "trainingjobs", "first"),
        ]
        assert api.writes == []
        assert engine.ready()["reason"] == "Running"
        assert engine.events() == ["Pending", "Running"]


async def test_changes_of_a_child_that_come_together_cost_one_look() -> None:
    """Ten changes within a hold: one look; ten that the projection does not show: none."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    controller = OnceController()
    async with running(api, controller):
        await asyncio.sleep(10)
        job = api.objects[JOB.plural, Key("default", "first-a1")]
        before = controller.observed
        for number in range(10):
            api.put(JOB, {**job, "status": {"active": number}})
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert controller.observed == before

        for number in range(10):
            api.put(JOB, {**job, "status": {"succeeded": number}})
            await asyncio.sleep(0.001)
        await asyncio.sleep(OnceController.hold)
        assert controller.observed == before + 1


async def test_a_controller_that_settles_is_not_looked_at_again_after_its_own_status() -> None:
    """With the promise the look that would find nothing is spared, time to converge is told, and others still wake."""

    class Telling(OnceController):
        """Writes a status from the size of the spec, and no more."""

        def plan(self, observed: Seen, now: datetime) -> Plan:
            return replace(super().plan(observed, now), apply=(), create=(), requeue=None)

    class Settling(Telling):
        """The same with the promise."""

        settles = True

    looks = {}
    for kind in (Telling, Settling):
        api = FakeApi()
        async with running(api, controller := kind()) as engine:
            await asyncio.sleep(1)
            own = engine.runtime.own_stores[0]
            own.upsert(entry_of(own.source, api.put(KIND, training_job("first"))))
            await asyncio.sleep(10)
            looks[kind] = controller.observed
            assert engine.ready()["reason"] == "Pending"
            assert engine.count("gyre_time_to_converge_seconds_count", kind="TrainingJob") == 1

            labelled = engine.subject()
            labelled = {**labelled, "metadata": {**labelled["metadata"], "labels": {"a": "b"}}}
            own.upsert(entry_of(own.source, api.put(KIND, labelled)))
            await asyncio.sleep(1)
            assert controller.observed == looks[kind] + 1
    assert looks == {Telling: 2, Settling: 1}


async def test_a_fresh_object_is_not_held() -> None:
    """The first reaction to what somebody applied or edited comes at once."""
    api = FakeApi()
    async with running(api) as engine:
        await asyncio.sleep(1)
        own = engine.runtime.own_stores[0]
        own.upsert(entry_of(own.source, api.put(KIND, training_job("first"))))
        await asyncio.sleep(OnceController.hold / 10)
        assert engine.jobs() == ["first-a1"]
        await asyncio.sleep(1)

        edited = {**engine.subject(), "spec": {**engine.subject()["spec"], "params": {"rate": 0.2}}}
        own.upsert(entry_of(own.source, api.put(KIND, edited)))
        await asyncio.sleep(OnceController.hold / 10)
        assert api.objects[CONFIG_MAP.plural, Key("default", "first-params")]["data"] == {"rate": "0.2"}


async def test_a_restart_writes_nothing() -> None:
    """A new process finds everything as it wants it."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api):
        await asyncio.sleep(10)
    api.writes.clear()
    async with running(api):
        await asyncio.sleep(3600)

    assert api.writes == []


async def test_the_intent_is_on_record_before_the_job_exists() -> None:
    """Whoever kills the operator between the writes finds the name in the status."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    api.fault = _refuse("create", UnavailableError("API server", "killed"), plural="jobs")
    async with running(api) as engine:
        await asyncio.sleep(10)

        assert engine.jobs() == []
        assert engine.subject()["status"]["attempts"][0]["job"] == "first-a1"
        api.fault = _nothing
        await asyncio.sleep(300)
        assert engine.jobs() == ["first-a1"]


async def test_a_job_whose_creation_was_never_answered_is_not_made_twice() -> None:
    """The server made it, the answer was lost: the next life finds it and records its uid."""
    api = FakeApi()
    subject = api.put(KIND, training_job("first"))
    controller = OnceController()
    seen = Seen(TrainingJob.model_validate(subject, by_alias=True, by_name=False), None)
    (lost,) = controller.plan(seen, datetime(2026, 1, 1, tzinfo=UTC)).create
    made = api.put(JOB, lost)
    async with running(api, controller) as engine:
        await asyncio.sleep(10)

        assert engine.jobs() == ["first-a1"]
        assert engine.subject()["status"]["attempts"][0]["uid"] == made["metadata"]["uid"]


async def test_a_name_that_belongs_to_something_else_is_said_on_the_object() -> None:
    """A foreign Job of the wanted name is neither taken nor replaced."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    api.put(JOB, {"metadata": {"name": "first-a1", "namespace": "default"}, "spec": {"theirs": 1}})
    async with running(api) as engine:
        await asyncio.sleep(10)

        assert engine.ready()["reason"] == "NameTaken"
        assert "first-a1 exists and belongs to something else" in engine.ready()["message"]
        assert api.objects["jobs", Key("default", "first-a1")]["spec"] == {"theirs": 1}


async def test_a_refused_child_is_said_once_and_cured_by_itself() -> None:
    """Quota: one sentence, no flapping while it lasts, no trace when it is over."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    full = ApiError(403, "Forbidden", 'jobs "first-a1" is forbidden: exceeded quota: team')
    api.fault = _refuse("create", full, plural="jobs")
    async with running(api) as engine:
        await asyncio.sleep(5)
        statuses = api.writes.count(("status", "trainingjobs", "first"))
        await asyncio.sleep(600)

        assert engine.ready()["status"] == "False"
        assert engine.ready()["reason"] == "QuotaExceeded"
        assert "exceeded quota: team" in engine.ready()["message"]
        assert engine.subject()["status"]["state"] == "Failed"
        assert api.writes.count(("status", "trainingjobs", "first")) == statuses
        assert engine.events().count("QuotaExceeded") == 1
        api.fault = _nothing
        await asyncio.sleep(300)
        assert engine.jobs() == ["first-a1"]
        assert engine.ready()["reason"] == "Running"


async def test_an_object_that_does_not_parse_gets_one_sentence() -> None:
    """A field from a future version, or one that slipped past the CRD: InvalidSpec and its path."""
    api = FakeApi()
    api.put(KIND, training_job("first", image=7))
    async with running(api) as engine:
        await asyncio.sleep(600)

        assert engine.ready()["reason"] == "InvalidSpec"
        assert engine.ready()["message"].startswith("Correct spec.image: ")
        assert engine.events() == ["InvalidSpec"]
        assert len([w for w in api.writes if w[0] == "status"]) == 1
        api.put(KIND, {**engine.subject(), **training_job("first")})
        await asyncio.sleep(60)
        assert engine.ready()["reason"] == "Running"


async def test_a_status_from_another_version_does_not_make_the_object_invalid() -> None:
    """The user cannot correct a status, so it is begun anew."""
    api = FakeApi()
    api.put(KIND, {**training_job("first"), "status": {"fromTheFuture": True}})
    async with running(api) as engine:
        await asyncio.sleep(10)

        assert engine.ready()["reason"] == "Running"
        assert "fromTheFuture" not in engine.subject()["status"]


async def test_a_hand_edited_child_is_put_right() -> None:
    """Somebody changes the ConfigMap; it is applied again, once."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api) as engine:
        await asyncio.sleep(10)
        live = api.objects["configmaps", Key("default", "first-params")]
        api.writes.clear()
        api.put(CONFIG_MAP, {**live, "data": {"rate": "9"}})
        await asyncio.sleep(10)

        assert api.objects["configmaps", Key("default", "first-params")]["data"] == {"rate": "0.1"}
        assert api.writes == [("apply", "configmaps", "first-params")]
        assert engine.ready()["reason"] == "Running"


async def test_a_deleted_object_s_children_are_not_made_anew() -> None:
    """While foreground deletion waits for the children, the engine keeps its hands off."""
    api = FakeApi()
    going = training_job("first")
    meta = {**going["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    api.put(KIND, {**going, "metadata": {**meta, "finalizers": ["foregroundDeletion"]}})
    async with running(api):
        await asyncio.sleep(60)

    assert api.writes == []


async def test_controller_hears_of_an_object_that_is_gone() -> None:
    """Observed once more, so that its metrics go with it: they stayed until the operator's restart."""
    gone = []

    class Keeper(OnceController):
        async def observe(self, key: Key, stores: Stores) -> Seen | None:
            seen = await super().observe(key, stores)
            gone.extend([key] if seen is None else [])
            return seen

    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Keeper()):
        await asyncio.sleep(10)
        api.drop(KIND, KEY)
        await asyncio.sleep(120)

    assert gone == [KEY]


async def test_freeze_writes_statuses_only() -> None:
    """In a frozen installation nothing is made, but the intent and its reason are said."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, freeze=True) as engine:
        await asyncio.sleep(600)

        assert engine.jobs() == []
        assert {write[1] for write in api.writes} <= {"trainingjobs", "events"}
        assert engine.ready()["reason"] == "Pending"
    async with running(api) as engine:
        await asyncio.sleep(10)
        assert engine.jobs() == ["first-a1"]


async def test_an_outdated_copy_never_overwrites_a_newer_status() -> None:
    """The write over an old version is refused by the server; the round is repeated on the new."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    conflicts = 0

    def meddle(verb: str, _plural: str, _name: str) -> Exception | None:
        nonlocal conflicts
        if verb == "status" and conflicts == 0:
            conflicts += 1
            body = api.objects[KIND.plural, KEY]
            api.put(KIND, {**body, "metadata": {**body["metadata"], "labels": {"by": "user"}}})
        return None

    api.fault = meddle
    async with running(api) as engine:
        await asyncio.sleep(5)

        assert conflicts == 1
        assert engine.subject()["metadata"]["labels"] == {"by": "user"}
        assert engine.ready()["reason"] == "Running"
        assert engine.jobs() == ["first-a1"]


async def test_a_bug_in_one_controller_neither_ends_the_process_nor_blocks_other_keys() -> None:
    """One key raises for ever; the others converge, and the metric tells."""

    class Buggy(OnceController):
        async def observe(self, key: Key, stores: Stores) -> Seen | None:
            if key.name == "cursed":
                raise ZeroDivisionError("a bug")
            return await super().observe(key, stores)

    api = FakeApi()
    api.put(KIND, training_job("cursed"))
    api.put(KIND, training_job("first"))
    async with running(api, Buggy()) as engine:
        await asyncio.sleep(60)

        assert engine.ready()["reason"] == "Running"
        assert engine.count("controller_runtime_reconcile_panics_total", controller="once") >= 5
        assert engine.runtime.health.live["tasks"]() == ""


async def test_a_reconcile_that_hangs_is_given_up_and_repeated() -> None:
    """An adapter that forgot its time limit holds its key for two minutes, not for ever."""

    class Hanging(OnceController):
        async def observe(self, key: Key, stores: Stores) -> Seen | None:
            if self.observed == 0:
                self.observed += 1
                await asyncio.sleep(10**6)
            return await super().observe(key, stores)

    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Hanging()) as engine:
        await asyncio.sleep(130)

        assert engine.ready()["reason"] == "Running"


async def test_what_is_not_declared_is_not_written() -> None:
    """A plan cannot reach beyond the rights that RBAC is generated from."""

    class Greedy(OnceController):
        def plan(self, observed: Seen, now: datetime) -> Plan:
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
            return replace(super().plan(observed, now), apply=(secret,))

    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Greedy()):
        await asyncio.sleep(10)

    assert not [write for write in api.writes if write[1] == SECRET.plural]


@dataclass(frozen=True, slots=True)
class Register(Effect):
    """Register something outside."""

    name: str


class Outside(OnceController):
    """Registers each TrainingJob in an outside system that may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.registered: list[str] = []
        self.away = False

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """What the example wants, and a registration where it is missing."""
        plan = super().plan(observed, now)
        name = observed.subject.metadata.name
        wanted = () if name in self.registered else (Register(name),)
        return replace(plan, effects=wanted, events=(*plan.events, Event("Seen", "It is seen")))

    async def perform(self, effect: Effect) -> None:
        """Register."""
        if self.away:
            raise UnavailableError("MLflow", "connection refused")
        assert isinstance(effect, Register)
        self.registered.append(effect.name)


async def test_an_effect_that_fails_is_repeated_and_does_not_hold_the_status_back() -> None:
    """An outside system is away for ten minutes: the status moves on, the effect comes after."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    controller = Outside()
    controller.away = True
    async with running(api, controller) as engine:
        await asyncio.sleep(600)

        assert engine.ready()["reason"] == "Running"
        assert controller.registered == []
        controller.away = False
        await asyncio.sleep(300)
        assert controller.registered == ["first"]


async def test_events_at_rest_are_not_told() -> None:
    """A plan that names an event in every round tells it only when something changed."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Outside()) as engine:
        await asyncio.sleep(10)
        api.writes.clear()
        await asyncio.sleep(3600)

        assert api.writes == []
        assert engine.events().count("Seen") == 1


class Finalizing(OnceController):
    """Cleans up outside before an object goes."""

    def __init__(self) -> None:
        super().__init__()
        self.cleaned = False

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """Hold the object until the outside is clean."""
        if observed.subject.metadata.deletion_timestamp:
            self.cleaned = True
            return Plan(finalizers=())
        return replace(super().plan(observed, now), finalizers=("gyre.dev/outside",))


async def test_finalizers_of_ours_come_and_go_and_those_of_others_stay() -> None:
    """Set while alive, taken off once cleaned up; a foreign one is never touched."""
    api = FakeApi()
    first = training_job("first")
    api.put(KIND, {**first, "metadata": {**first["metadata"], "finalizers": ["their.org/x"]}})
    controller = Finalizing()
    async with running(api, controller) as engine:
        await asyncio.sleep(5)
        held = engine.subject()["metadata"]["finalizers"]
        body = engine.subject()
        meta = {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
        api.put(KIND, {**body, "metadata": meta})
        await asyncio.sleep(60)

        assert held == ["their.org/x", "gyre.dev/outside"]
        assert controller.cleaned
        assert engine.subject()["metadata"]["finalizers"] == ["their.org/x"]


class Labelling(OnceController):
    """Puts a label on a Node that somebody else made."""

    grants = (*OnceController.grants, Grant(NODE, APPLY))
    children = (*OnceController.children, NODES)

    async def observe(self, key: Key, stores: Stores) -> Seen | None:
        """Keep the Node's uid beside what the example sees."""
        nodes = stores.of(NODES).all()
        self.uid = nodes[0]["metadata"]["uid"] if nodes else "uid-of-a-dead-node"
        return await super().observe(key, stores)

    def plan(self, observed: Seen, now: datetime) -> Plan:
        """What the example wants, and the label."""
        meta = {"name": "n1", "uid": self.uid, "labels": {"gyre.dev/ours": "yes"}}
        part = {"apiVersion": "v1", "kind": "Node", "metadata": meta}
        plan = super().plan(observed, now)
        return replace(plan, apply=(*plan.apply, part))


async def test_a_part_of_somebody_else_s_object_is_applied_under_a_name_of_its_own() -> None:
    """The label comes once, nothing else of the Node is touched, and no stamp is left on it."""
    api = FakeApi()
    api.put(NODE, {"metadata": {"name": "n1", "labels": {"theirs": "1"}}, "spec": {"x": 1}})
    api.put(KIND, training_job("first"))
    async with running(api, Labelling()):
        await asyncio.sleep(600)

    node = api.objects["nodes", Key("", "n1")]
    assert node["metadata"]["labels"] == {"theirs": "1", "gyre.dev/ours": "yes"}
    assert "annotations" not in node["metadata"]
    assert api.writes.count(("apply", "nodes", "n1")) == 1
    assert api.managers.count("gyre-once-part") == 1


async def test_a_part_of_an_object_that_is_gone_makes_nothing() -> None:
    """Labelling a Node that was deleted a moment ago must not create a Node."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    async with running(api, Labelling()) as engine:
        await asyncio.sleep(60)

        assert ("nodes", Key("", "n1")) not in api.objects
        assert engine.ready()["reason"] == "Running"


async def test_a_standby_ends_at_once() -> None:
    """It holds no key, so there is nothing to drain."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    loop = asyncio.get_running_loop()
    async with running(api, leader_election=True) as leader:
        await asyncio.sleep(10)
        assert leader.ready()["reason"] == "Running"
        async with running(api, leader_election=True, identity="two") as standby:
            await asyncio.sleep(30)
            assert not standby.runtime.leadership.held()
            began = loop.time()
        assert loop.time() - began <= 1
        assert leader.runtime.leadership.held()


def _refuse(verb: str, error: Exception, *, plural: str) -> Callable[[str, str, str], Exception | None]:
    return lambda asked, kind, _name: error if (asked, kind) == (verb, plural) else None


def _nothing(_verb: str, _plural: str, _name: str) -> None:
    return None
