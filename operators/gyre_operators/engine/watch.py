"""What a controller wants to see: which objects, in which shape, and whose key they wake."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from gyre_crds.base import GROUP, Resource
from gyre_operators.engine.kinds import Kind, gyre
from gyre_operators.engine.plan import Key
from gyre_operators.engine.selectors import matches

if TYPE_CHECKING:
    from gyre_operators.engine.store import Entry, Stores

T = TypeVar("T")
R = TypeVar("R", bound=Resource)


class Source(NamedTuple):
    """What tells two watches apart on the wire; watches with equal sources share one stream."""

    kind: Kind
    type: type[Any]
    labels: str
    fields: str


Parents = Callable[["Entry[Any]", "Stores"], Iterable[Key]]
"""From a changed object to the keys to look at. Called with the old and the new object."""


@dataclass(frozen=True, slots=True)
class Watch(Generic[T]):
    """One stream of objects and the keys that a change wakes.

    `type` is the shape in the store: `dict` (the whole object without managedFields; needed for
    what is applied), a `msgspec.Struct` that projects the few fields a busy kind is read for
    (pods, nodes), or one of Gyre's API types. Selectors are evaluated by the API server.
    """

    kind: Kind
    type: type[T]
    parents: Parents
    labels: str = ""
    """Label selector of the forms `k`, `!k`, `k=v`, `k!=v`, joined by commas."""
    fields: str = ""
    """Field selector, e.g. `status.phase!=Succeeded`."""
    optional: bool = False
    """A kind that a cluster may lack (Kueue, KServe): absent means none, and is asked again."""
    indexes: Mapping[str, Callable[[T], Iterable[str]]] = field(default_factory=dict)
    """Named look-ups for `Reader.by`."""

    def __post_init__(self) -> None:
        """Refuse a selector that could not be evaluated on our own writes."""
        matches(self.labels, {})

    @property
    def source(self) -> Source:
        """The stream behind this watch."""
        return Source(self.kind, self.type, self.labels, self.fields)


def own(
    resource: type[R],
    parents: Parents,
    indexes: Mapping[str, Callable[[R], Iterable[str]]] | None = None,
) -> Watch[R]:
    """A watch on one of Gyre's kinds, e.g. on DriftReports for the Model's controller."""
    return Watch(gyre(resource), resource, parents, indexes=indexes or {})


def by_itself(entry: "Entry[Any]", _stores: "Stores") -> Iterable[Key]:
    """The object's own key."""
    return (entry.key,)


def by_namespace(entry: "Entry[Any]", _stores: "Stores") -> Iterable[Key]:
    """The key of the object's namespace, for controllers that work per namespace."""
    return (Key(entry.key.namespace, ""),)


def by_owner(resource: type[Resource]) -> Parents:
    """The key of the owner of that Gyre kind, from the owner references."""

    def parents(entry: "Entry[Any]", _stores: "Stores") -> Iterable[Key]:
        return [
            Key(entry.key.namespace, owner.name)
            for owner in entry.owners
            if owner.kind == resource.KIND and owner.api_version.startswith(f"{GROUP}/")
        ]

    return parents


def by_label(label: str) -> Parents:
    """The key whose name a label carries, in the object's namespace."""

    def parents(entry: "Entry[Any]", _stores: "Stores") -> Iterable[Key]:
        name = entry.labels.get(label)
        return (Key(entry.key.namespace, name),) if name else ()

    return parents


def by_all(resource: type[Resource]) -> Parents:
    """Every key of that Gyre kind: for rare, far-reaching changes (a Node, a Namespace).

    With a namespaced object, every key of its namespace.
    """

    def parents(entry: "Entry[Any]", stores: "Stores") -> Iterable[Key]:
        return stores.of_kind(resource).keys(entry.key.namespace or None)

    return parents


def by_none(_entry: "Entry[Any]", _stores: "Stores") -> Iterable[Key]:
    """Nobody: the objects are there to be looked up."""
    return ()
