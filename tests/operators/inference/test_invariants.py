"""What holds in every history of a rollout, whatever happens and wherever the operator is killed."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gyre_crds.v1alpha1 import InferenceService
from gyre_operators.engine.kinds import DEPLOYMENT, gyre
from gyre_operators.engine.plan import Plan
from tests.operators.builders import after, key, model, service, version
from tests.operators.inference.conftest import V1, Scene

HAPPENINGS = st.lists(
    st.one_of(
        st.just(("ready",)),
        st.just(("takeOver",)),
        st.just(("restart",)),
        st.tuples(st.just("challenger"), st.sampled_from(["v2", "v3"])),
        st.tuples(st.just("memory"), st.sampled_from(["1Gi", "2Gi"])),
        st.tuples(st.just("strategy"), st.sampled_from(["Canary", "Recreate", "Shadow"])),
        st.tuples(st.just("copies"), st.integers(0, 2000), st.integers(0, 30)),
        st.tuples(st.just("traffic"), st.integers(0, 5000), st.integers(0, 30)),
        st.tuples(st.just("killed"), st.integers(0, 4)),
    ),
    max_size=25,
)


class Life:
    """A scene in which anything may happen, and a router that only takes over when told."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.scene.put(model(status=V1), service(), *(version(f"v{n}", age=9 - n) for n in (1, 2, 3)))
        self.scene.follows = False
        self.seconds = 0

    async def happens(self, what: tuple[Any, ...]) -> None:
        """One happening, and a reconcile."""
        self.seconds += 5
        await getattr(self, f"_{what[0]}")(*what[1:])
        await self.scene.step(after(self.seconds))

    async def _ready(self) -> None:
        self.scene.make_ready()

    async def _takeOver(self) -> None:  # noqa: N802  named by the happening
        self.scene.follows = True
        self.scene.take_over()
        self.scene.follows = False

    async def _restart(self) -> None:
        self.scene.fleet.restart("router-0")

    async def _challenger(self, name: str) -> None:
        self.scene.say_challenger(name)

    async def _memory(self, size: str) -> None:
        self._patch({"resources": {"limits": {"memory": size}}})

    async def _strategy(self, name: str) -> None:
        self._patch({"rollout": {"strategy": name}})

    async def _traffic(self, requests: int, errors: int) -> None:
        for role, failed in (("stable", 0), ("candidate", errors)):
            ref = self.scene.status.get(role)
            if ref is not None:
                self.scene.fleet.answered(ref["revision"], requests, min(failed, requests))

    async def _copies(self, agreed: int, differed: int) -> None:
        stable, candidate = self.scene.status.get("stable"), self.scene.status.get("candidate")
        if stable is not None and candidate is not None:
            pair = (stable["revision"], candidate["revision"])
            self.scene.fleet.compared(*pair, agreed=agreed, differed=differed)

    async def _killed(self, survive: int) -> None:
        """The operator dies after so many of a round's writes, which the engine orders as here."""
        self.scene.town.controller = self.scene.inference
        plan = await self.scene.town.plan(key("census"), after(self.seconds))
        assert plan is not None
        writes = [
            *(Plan(apply=(made,)) for made in plan.apply),
            *(Plan(delete=(gone,)) for gone in plan.delete),
            Plan(status=plan.status),
        ]
        for write in writes[:survive]:
            await self.scene.town.carry_out(key("census"), write)

    def _patch(self, spec: dict[str, Any]) -> None:
        self.scene.town.patch(gyre(InferenceService), key("census"), spec=spec)

    def routed(self) -> set[str]:
        """Revisions that the routers run with a share of the traffic."""
        table = self.scene.fleet.table
        routes = [route for one in table.services for route in one.revisions] if table else []
        return {route.revision for route in routes if route.weight > 0}

    def deployed(self) -> set[str]:
        """Revisions with a Deployment."""
        found = (d["metadata"]["labels"] for d in self.scene.town.all(DEPLOYMENT))
        return {labels["gyre.dev/revision"] for labels in found if "gyre.dev/revision" in labels}


@settings(max_examples=150, deadline=None)
@given(happenings=HAPPENINGS)
async def test_no_router_ever_sends_to_pods_that_are_gone(happenings: list[tuple[Any, ...]]) -> None:
    """Whatever happens: every revision that a router sends to has its Deployment, and weights sum to 100."""
    life = Life()
    await life.scene.step()
    for what in happenings:
        await life.happens(what)
        assert life.routed() <= life.deployed()
        wanted = [traffic["wanted"] for traffic in life.scene.status.get("traffic", [])]
        assert not wanted or sum(wanted) == 100


@settings(max_examples=60, deadline=None)
@given(happenings=HAPPENINGS)
async def test_every_history_comes_to_rest(happenings: list[tuple[Any, ...]]) -> None:
    """When routers follow and pods answer, a while later nothing is left to write, and nothing is left over."""
    life = Life()
    await life.scene.step()
    for what in happenings:
        await life.happens(what)
    life.scene.follows = True
    life.scene.take_over()
    for hour in range(2):
        for _ in range(4):
            life.scene.make_ready()
            await life.scene.rest(after(life.seconds + 7200 * (hour + 1)))
    before = life.scene.town._version
    await life.scene.rest(after(life.seconds + 20000))
    assert life.scene.town._version == before
    assert "candidate" not in life.scene.status
    assert life.deployed() == {life.scene.status["stable"]["revision"]}
    assert life.scene.condition()["status"] == "True"


@settings(max_examples=60, deadline=None)
@given(happenings=HAPPENINGS)
async def test_only_a_proven_or_first_or_recreated_revision_becomes_stable(happenings: list[tuple[Any, ...]]) -> None:
    """Nothing is promoted without its pass: the history holds the reason of every promotion."""
    life = Life()
    await life.scene.step()
    for what in happenings:
        await life.happens(what)
    for entry in life.scene.status.get("history", []):
        if entry["what"] == "Promoted":
            told = entry["message"]
            assert "is proven" in told or "first revision" in told or "no step below 100" in told
