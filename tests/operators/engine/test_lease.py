"""One replica leads at a time, and it stops by itself when it cannot be sure any more."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.kinds import LEASE
from gyre_operators.engine.lease import Elector, Leadership
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key
from tests.operators.engine.fakes import FakeApi, away

pytestmark = pytest.mark.looptime


class Replica:
    """An elector with its own clock, which may be wrong."""

    def __init__(self, api: FakeApi, name: str, *, skew: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self.leadership = Leadership()
        client: Any = api
        self.elector = Elector(
            client,
            self.leadership,
            Metrics(),
            lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=loop.time() + skew),
            namespace="gyre-system",
            name="gyre",
            identity=name,
        )
        self.task = asyncio.create_task(self.elector.run())

    def kill(self) -> None:
        """End without a word."""
        self.task.cancel()


async def first_to_lead(replicas: list[Replica], seconds: float) -> float | None:
    """The loop time until one leads; None when none does in that time."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < seconds:
        if any(replica.leadership.held() for replica in replicas):
            return loop.time() - began
        await asyncio.sleep(0.1)
    return None


async def test_exactly_one_of_three_leads() -> None:
    """Over five minutes never two, and the one stays the same."""
    api = FakeApi()
    replicas = [Replica(api, name) for name in "abc"]
    await asyncio.sleep(1)
    leaders = set()
    for _ in range(600):
        leading = [r for r in replicas if r.leadership.held()]
        assert len(leading) == 1
        leaders.add(id(leading[0]))
        await asyncio.sleep(0.5)

    assert len(leaders) == 1
    for replica in replicas:
        replica.kill()


async def test_a_released_lease_is_taken_within_three_seconds() -> None:
    """A rolling update hands over at once."""
    api = FakeApi()
    first = Replica(api, "first")
    await asyncio.sleep(1)
    second = Replica(api, "second")
    await asyncio.sleep(5)
    assert first.leadership.held()
    first.kill()
    await first.elector.release()
    waited = await first_to_lead([second], 30)

    assert waited is not None
    assert waited <= 3
    assert not first.leadership.held()
    second.kill()


@pytest.mark.parametrize("skew", [0.0, -3600.0, 3600.0], ids=["same", "behind", "ahead"])
async def test_a_dead_leader_is_replaced_after_its_lease_whatever_the_clocks_say(
    skew: float,
) -> None:
    """Takeover after a kill needs more than the dead one's deadline and at most 20 seconds."""
    api = FakeApi()
    first = Replica(api, "first")
    await asyncio.sleep(1)
    second = Replica(api, "second", skew=skew)
    await asyncio.sleep(5)
    first.kill()
    waited = await first_to_lead([second], 60)

    assert waited is not None
    assert 10 < waited <= 20
    second.kill()


async def test_a_leader_that_cannot_renew_fences_itself_before_another_may_lead() -> None:
    """Cut off from the API server, it stops by its own clock; at no instant do two lead."""
    api = FakeApi()
    cut_off = False
    client_of_first = FakeApiView(api, lambda: cut_off)
    first = Replica(client_of_first, "first")  # type: ignore[arg-type]
    await asyncio.sleep(1)
    second = Replica(api, "second")
    await asyncio.sleep(3)
    cut_off = True
    until = asyncio.get_running_loop().time() + 60
    took_over = False
    while asyncio.get_running_loop().time() < until:
        assert not (first.leadership.held() and second.leadership.held())
        took_over |= second.leadership.held()
        await asyncio.sleep(0.1)

    assert took_over
    cut_off = False
    await asyncio.sleep(30)
    assert not first.leadership.held()
    first.kill()
    second.kill()


class FakeApiView:
    """The same server seen from a node that may be cut off."""

    def __init__(self, api: FakeApi, cut_off: Any) -> None:
        self._api = api
        self._cut_off = cut_off

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._api, name)

        async def forward(*args: Any, **options: Any) -> Any:
            if self._cut_off():
                await asyncio.sleep(3600)
            return await call(*args, **options)

        return forward


async def test_two_that_start_at_once_do_not_both_win() -> None:
    """Both find no Lease, both create it; the API server lets one."""
    api = FakeApi()
    replicas = [Replica(api, "a"), Replica(api, "b")]
    await asyncio.sleep(10)

    assert sum(replica.leadership.held() for replica in replicas) == 1
    assert api.objects["leases", Key("gyre-system", "gyre")]["spec"]["leaseTransitions"] == 0
    for replica in replicas:
        replica.kill()


async def test_waiters_and_takeover_listeners_hear_of_each_takeover() -> None:
    """Leading, losing and leading again is told twice."""
    api = FakeApi()
    replica = Replica(api, "a")
    told: list[float] = []
    replica.leadership.on_takeover(lambda: told.append(1))
    await replica.leadership.wait()
    api.fault = away("get", "replace")
    await asyncio.sleep(30)
    assert not replica.leadership.held()
    api.fault = lambda _verb, _plural, _name: None
    await replica.leadership.wait()

    assert len(told) == 2
    replica.kill()


async def test_a_lease_that_may_not_be_asked_for_is_said() -> None:
    """Without the right to it nobody would ever lead; readiness and log name the refusal."""
    api = FakeApi()
    refused = ApiError(403, "Forbidden", "leases is forbidden")
    api.fault = lambda _verb, plural, _name: refused if plural == LEASE.plural else None
    replica = Replica(api, "a")
    await asyncio.sleep(5)
    assert "leases is forbidden" in replica.elector.trouble
    api.fault = lambda _verb, _plural, _name: None
    await asyncio.sleep(5)

    assert replica.elector.trouble == ""
    assert replica.leadership.held()
    replica.kill()


async def test_times_that_let_two_lead_are_refused() -> None:
    """The deadline must be shorter than the lease."""
    with pytest.raises(ValueError, match="two could lead"):
        Elector(
            FakeApi(),  # type: ignore[arg-type]
            Leadership(),
            Metrics(),
            lambda: datetime(2026, 1, 1, tzinfo=UTC),
            namespace="n",
            name="l",
            identity="i",
            duration=10,
            renew=15,
        )


def test_the_lease_is_a_coordination_lease() -> None:
    """The kind that kubectl and dashboards know."""
    assert LEASE.path("ns", "x") == "/apis/coordination.k8s.io/v1/namespaces/ns/leases/x"
