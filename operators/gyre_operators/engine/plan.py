"""What a decision is: pure values that say what the world should look like next.

This module knows no client, no clock and no kopf, and neither does any `plan.py` or `manifests.py`
that builds on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NamedTuple

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON; `apiVersion`, `kind` and `metadata.name` are always there."""


class Key(NamedTuple):
    """What a reconcile is about. `namespace` is "" for cluster-scoped objects.

    A controller that works per namespace uses `Key(namespace, "")`.
    """

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Ref:
    """One object to act on. With `uid`, only that very object, not a later one of its name."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One line for `kubectl describe`: a CamelCase reason and a sentence with the next action."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


class Effect:
    """One call to a system outside of Kubernetes: subclass as a frozen dataclass, slots on.

    An effect is idempotent: the engine repeats it until the observation no longer asks for it.
    Equal effects are the same effect.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps from what was seen towards what is wanted. The empty plan is the rest position.

    Carried out in this order. With `create`: status, apply, create, delete, effects (the intent is
    on record before anything that runs once exists). Without: apply, delete, effects, status.
    Either way status is written at most once, then come finalizers and events. The first failure
    ends the round, except that failed effects do not keep the status from being written; the key
    comes back with exponential backoff.
    """

    apply: tuple[Manifest, ...] = ()
    """Desired-state children, whole; server-side apply, sent only where the live object differs.

    The kind must be watched as `dict`, or every round costs a GET. A manifest with `metadata.uid`
    changes parts of that very object and never makes one (a label on a Node, suspend on a Job);
    what a later manifest of parts no longer holds is taken back.
    """
    create: tuple[Manifest, ...] = ()
    """Run-once children with deterministic names. A child that already stands there is a success
    if its controller owner reference (uid) is the same, and `NameTaken` otherwise. Keep planning it
    until the status records its uid; once it does, never again."""
    delete: tuple[Ref, ...] = ()
    """Gone already is a success. Dependents are removed in the background."""
    effects: tuple[Effect, ...] = ()
    """Calls for the controller's `perform`, in order. The key comes back soon after them."""
    status: Mapping[str, Any] | None = None
    """The whole wanted status, camelCase JSON; None leaves it. Written only if it differs, and
    only over the version of the object that was observed (else the round is repeated)."""
    events: tuple[Event, ...] = ()
    """Told once: posted only in a round that changed something, and the same sentence about the
    same object is not repeated for ten minutes."""
    requeue: timedelta | None = None
    """Look again after this long, whatever happens. Zero means at once."""
    rests: bool = False
    """Nothing is left to do before `requeue`, also where the status changed: no look follows our own write of it."""
    finalizers: tuple[str, ...] | None = None
    """The whole wanted set of `gyre.dev/...` finalizers; None leaves them. Those of others stay.

    Most kinds need none: owner references clean up. An object that is being deleted and carries no
    finalizer of ours is not planned for at all.
    """

    @property
    def changes(self) -> bool:
        """Whether anything outside of the status would be touched."""
        return bool(self.apply or self.create or self.delete or self.effects)


NOTHING = Plan()
"""The rest position."""


def ref(manifest: Manifest, *, uid: str | None = None) -> Ref:
    """The reference to the object that a manifest describes."""
    meta = manifest["metadata"]
    return Ref(
        api_version=manifest["apiVersion"],
        kind=manifest["kind"],
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        uid=uid,
    )
