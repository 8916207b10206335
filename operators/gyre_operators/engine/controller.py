"""The four steps of every controller, and what the engine gives it to work with.

    class TrainingController(Controller[Observed]):
        name = "training"
        kind = TrainingJob
        children = (Watch(JOB, Job, by_owner(TrainingJob), labels="gyre.dev/job"),)
        grants = (Grant(JOB, CREATE + DELETE),)

        def __init__(self, services: Services) -> None: ...
        async def observe(self, key: Key, stores: Stores) -> Observed | None: ...
        def plan(self, observed: Observed, now: datetime) -> Plan: ...

and one line in `gyre_operators.registry`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from gyre_crds.base import Resource
from gyre_operators.engine.clock import Clock
from gyre_operators.engine.kinds import Kind
from gyre_operators.engine.plan import Effect, Key, Manifest, Plan
from gyre_operators.engine.store import Stores
from gyre_operators.engine.watch import Watch

if TYPE_CHECKING:
    import aiohttp
    from prometheus_client import CollectorRegistry

    from gyre_operators.engine.objects import Objects
    from gyre_operators.settings import Settings

Seen = TypeVar("Seen")

GET = ("get",)
CREATE = ("create",)
DELETE = ("delete",)
APPLY = ("create", "patch")
"""What a server-side apply needs."""


class Grant(NamedTuple):
    """One right that a controller needs beyond watching its own kind and its children.

    The chart's roles are generated from these, and the executor refuses what is not declared.
    """

    kind: Kind
    verbs: tuple[str, ...]
    subresource: str = ""
    names: tuple[str, ...] = ()
    """Only objects of these names; empty means any."""


class Api(Protocol):
    """Reads that no watch serves. Declare each as a `Grant`."""

    async def get(self, kind: Kind, key: Key) -> Manifest | None:
        """One object, or None when there is none.

        Raises:
            UnavailableError: the API server is away or refuses.
        """

    async def heads(self, kind: Kind, namespace: str) -> tuple[Manifest, ...]:
        """All objects of a kind in a namespace as the server holds them now, `metadata` only.

        For what must not be done on an old view; everything else reads the stores.

        Raises:
            UnavailableError: the API server is away or refuses.
        """

    async def logs(self, pod: Key, container: str, *, lines: int = 20, limit: int = 16_384) -> str | None:
        """The last lines of a container's log, at most `limit` bytes; None when there is none.

        Raises:
            UnavailableError: the API server or the node is away.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """What a controller is built from."""

    settings: "Settings"
    clock: Clock
    api: Api
    http: "aiohttp.ClientSession"
    """For adapters (MLflow, routers, wrappers); wrap calls in `engine.guard.Guard`."""
    objects: "Objects"
    """The object store, by URI."""
    metrics: "CollectorRegistry"
    """Register a controller's own metrics here."""


class Controller(ABC, Generic[Seen]):
    """One kind's observe → plan → execute → report; execute and report are the engine's.

    The engine runs one reconcile per key at a time, repeats failed ones with backoff, looks at
    every key again about every ten minutes, and never ends the process over an exception. It keeps
    these rules itself, so that no controller has to:

    - An object that does not parse is not observed; it gets Ready=False, reason InvalidSpec.
    - An object that is being deleted and carries no `gyre.dev/` finalizer is not observed.
    - While `spec.paused` is set, or the settings say `freeze`, only status and events are written.
      The plan says the reason; the engine withholds the writes.
    """

    name: ClassVar[str]
    """One lower-case word: the metrics' label; writes carry the field manager `gyre-<name>`."""
    kind: ClassVar[type[Resource] | None]
    """The kind whose keys are reconciled and whose status is written; None for a controller whose
    keys come from `children` alone (the router, per namespace): it plans no status."""
    children: ClassVar[tuple[Watch[Any], ...]] = ()
    """All it looks at besides `kind`; get, list and watch rights follow from it."""
    grants: ClassVar[tuple[Grant, ...]] = ()
    """What it writes, and reads without a watch."""
    workers: ClassVar[int] = 16
    """How many keys are reconciled at the same time."""
    hold: ClassVar[float] = 0.05
    """Seconds that a change of children, or of a status, waits for others, at most: a Job, its pod and our own write
    of the status move within moments of each other, and one look serves them all. What somebody made, edited or
    deleted is looked at at once."""
    settles: ClassVar[bool] = False
    """Whether a plan that only writes the status is followed by nothing but time and changes of others: the look
    that finds nothing left to do is then spared. `engine.testing` holds a controller that says so to it."""

    @abstractmethod
    def __init__(self, services: Services) -> None: ...

    @abstractmethod
    async def observe(self, key: Key, stores: Stores) -> Seen | None:
        """Gather all that the decision needs into one frozen value.

        None when there is nothing to decide (the object is gone). External systems are asked
        here; their being away is part of the observation, not an exception.
        """

    @abstractmethod
    def plan(self, observed: Seen, now: datetime) -> Plan:
        """Decide: a pure function of its arguments. `now` is aware, in UTC.

        Carrying the plan out and planning again gives an empty plan.
        """

    async def perform(self, effect: Effect) -> None:
        """Carry out one effect; idempotent.

        Raises:
            UnavailableError: the system is away; the effect is planned again after a backoff.
        """
        raise NotImplementedError(f"{type(self).__name__} plans {effect!r} but performs no effects")
