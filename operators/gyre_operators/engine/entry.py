"""What a store holds of one object, and how a controller reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gyre_operators.engine.plan import Key, Manifest

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Owner(NamedTuple):
    """One owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One object as the store holds it."""

    key: Key
    uid: str
    version: int
    """The resource version; larger is newer."""
    labels: Mapping[str, str]
    owners: tuple[Owner, ...]
    deleting: bool
    finalizers: tuple[str, ...]
    generation: int
    value: T | None
    """The object in the watch's type; None when it does not parse."""
    error: str = ""
    """Why it does not parse: field path and message of the first problem."""
    status: Mapping[str, Any] | None = None
    """The raw status, kept for Gyre's own kinds."""
    raw: Manifest | None = None
    """The whole object without managedFields, kept where the watch's type is `dict` and where it does not parse."""


class Reader(Protocol[T_co]):
    """How a controller reads one stream. Answers come from memory; nothing here waits."""

    def get(self, key: Key) -> T_co | None:
        """The object, or None when there is none (or it does not parse)."""

    def entry(self, key: Key) -> Entry[Any] | None:
        """The object with its metadata, also when it does not parse."""

    def all(self, namespace: str | None = None) -> tuple[T_co, ...]:
        """All objects that parse, of one namespace or of all, ordered by key."""

    def keys(self, namespace: str | None = None) -> tuple[Key, ...]:
        """All keys, ordered."""

    def by_owner(self, uid: str) -> tuple[T_co, ...]:
        """The objects with an owner reference to that uid, ordered by key."""

    def by_label(self, label: str, value: str, namespace: str | None = None) -> tuple[T_co, ...]:
        """The objects that carry a label with that value, ordered by key."""

    def by(self, index: str, value: str, namespace: str | None = None) -> tuple[T_co, ...]:
        """The objects under a value of one of the watch's own `indexes`, ordered by key.

        Raises:
            KeyError: the watch declares no such index.
        """
