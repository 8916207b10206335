"""What every write has to pass: leadership, declared rights, and the copy for the next read."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from gyre_operators.engine.client import Client
from gyre_operators.engine.controller import Controller
from gyre_operators.engine.errors import ApiError
from gyre_operators.engine.kinds import Kind, gyre
from gyre_operators.engine.metrics import Metrics
from gyre_operators.engine.plan import Key, Manifest, ref
from gyre_operators.engine.project import entry_of
from gyre_operators.engine.report import Refusal, refusal
from gyre_operators.engine.selectors import matches
from gyre_operators.engine.store import Stores


class FencedError(Exception):
    """This process does not lead any more; nothing may be written."""


class RefusedError(Exception):
    """The API server refused a child; the same write fails again until somebody changes something."""

    def __init__(self, said: Refusal) -> None:
        super().__init__(said.message)
        self.said = said


class UndeclaredError(Exception):
    """A plan touches what its controller declared no grant for: a mistake in the controller."""


class Writer:
    """The way to the API server for one controller's writes."""

    def __init__(
        self,
        client: Client,
        stores: Stores,
        controller: Controller[Any],
        metrics: Metrics,
        fence: Callable[[], bool],
    ) -> None:
        """`fence` says, before each write, whether this process may still write."""
        self.client = client
        self.stores = stores
        self.controller = controller
        self.manager = f"gyre-{controller.name}"
        self._metrics = metrics
        self._fence = fence
        known = [*(g.kind for g in controller.grants), *(w.kind for w in controller.children)]
        self._kinds = {(kind.api_version, kind.kind): kind for kind in known}

    async def send(self, kind: Kind, verb: Literal["apply", "create"], manifest: Manifest) -> dict[str, Any]:
        """Apply or create; the object as it stands then.

        Raises:
            RefusedError: for a reason that a person has to cure.
            ApiError: any other answer, AlreadyExists among them.
        """
        self.check_fence()
        about = ref(manifest)
        send = self.client.apply if verb == "apply" else self.client.create
        # Parts go under a name of their own, or they would take back the rest of the object.
        manager = f"{self.manager}-part" if "uid" in manifest["metadata"] else self.manager
        try:
            body = await send(kind, manifest, manager)
        except ApiError as error:
            if error.refused:
                said = refusal(error, verb, f"{about.kind} {about.name}")
                raise RefusedError(said) from error
            raise
        self.remember(kind, body)
        return body

    def remember(self, kind: Kind, body: Manifest) -> None:
        """Read your own writes: what the server answered is what the next round sees."""
        key = Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])
        for store in self.stores.of_resource(kind):
            if not store.source.fields and matches(store.source.labels, body["metadata"]):
                store.upsert(entry_of(store.source, body, store.entry(key)))

    def count(self, kind: Kind, verb: str, *, changed: bool = True) -> None:
        """Count a write."""
        self._metrics.writes.labels(kind.kind, verb, str(changed).lower()).inc()

    def check_fence(self) -> None:
        """Raise `FencedError` unless this process certainly leads."""
        if not self._fence():
            raise FencedError("another replica may lead by now")

    def own_kind(self) -> Kind:
        """The kind whose status the controller writes."""
        if self.controller.kind is None:
            raise UndeclaredError(f"{self.controller.name} has no kind, so it has no status")
        return gyre(self.controller.kind)

    def granted(self, manifest: Mapping[str, Any], verb: str) -> Kind:
        """The kind of a manifest, if the controller declared that right on it.

        Raises:
            UndeclaredError: it did not.
        """
        kind = self._kinds.get((manifest["apiVersion"], manifest["kind"]))
        grants = self.controller.grants
        if kind is None or not any(
            grant.kind == kind and verb in grant.verbs and not grant.subresource for grant in grants
        ):
            what = f"{manifest['apiVersion']} {manifest['kind']}"
            raise UndeclaredError(f"{self.controller.name} has no grant to {verb} {what}")
        return kind
