"""What a version's plan asks of the registry."""

from dataclasses import dataclass

from gyre_operators.engine.plan import Effect, Key


@dataclass(frozen=True, slots=True)
class Register(Effect):
    """Register a version exactly once."""

    key: Key
    """The ModelVersion."""
    name: str
    """Registered model."""
    source: str
    tags: tuple[tuple[str, str], ...]
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Record(Effect):
    """Make tags and aliases of a registered version what they should be."""

    key: Key
    """The ModelVersion."""
    name: str
    number: str
    tags: tuple[tuple[str, str], ...] = ()
    untag: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """To point at this version."""
    drop: tuple[str, ...] = ()
    """Aliases of this version that nobody carries any more."""
