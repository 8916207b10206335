"""What the engine does when something fails: refusals, lost answers, old copies, bugs and hangs."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.kinds import CONFIG_MAP, JOB
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Stores
from tests.operators.engine.example import OnceController, Seen, training_job
from tests.operators.engine.fakes import FakeApi
from tests.operators.engine.running import KEY, KIND, nothing, refuse, running

pytestmark = pytest.mark.looptime


async def test_the_intent_is_on_record_before_the_job_exists() -> None:
    """Whoever kills the operator between the writes finds the name in the status."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    api.fault = refuse("create", UnavailableError("API server", "killed"), plural="jobs")
    async with running(api) as engine:
        await asyncio.sleep(10)

        assert engine.jobs() == []
        assert engine.subject()["status"]["attempts"][0]["job"] == "first-a1"
        api.fault = nothing
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


@pytest.mark.parametrize(
    ("marks", "taken"),
    [
        pytest.param({}, True, id="a program's own object stays as it is"),
        pytest.param({"annotations": {"gyre.dev/applied": "x"}}, False, id="what a backup brought back is taken over"),
    ],
)
async def test_an_apply_takes_nothing_that_belongs_to_something_else(marks: dict[str, Any], *, taken: bool) -> None:
    """A forced apply once turned a Service of somebody's program into a model's, and deleting the model removed it."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    theirs = {"metadata": {"name": "first-params", "namespace": "default", **marks}, "data": {"theirs": "1"}}
    api.put(CONFIG_MAP, theirs)
    async with running(api) as engine:
        await asyncio.sleep(10)

        live = api.objects["configmaps", Key("default", "first-params")]
        assert ("ownerReferences" not in live["metadata"]) == taken
        assert ("first-params exists and belongs to something else" in engine.ready()["message"]) == taken
        assert (engine.ready()["reason"] == "NameTaken") == taken


async def test_a_refused_child_is_said_once_and_cured_by_itself() -> None:
    """Quota: one sentence, no flapping while it lasts, no trace when it is over."""
    api = FakeApi()
    api.put(KIND, training_job("first"))
    full = ApiError(403, "Forbidden", 'jobs "first-a1" is forbidden: exceeded quota: team')
    api.fault = refuse("create", full, plural="jobs")
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
        api.fault = nothing
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
