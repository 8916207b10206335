"""What a run is asked for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Length and breadth of a run."""

    seconds: int
    """Length of one round; whole seconds, as wrk wants."""
    rounds: int
    connections: tuple[int, ...]
    requests: int
    """Requests of the split row."""
    swaps: int
    """Version swaps under load."""
