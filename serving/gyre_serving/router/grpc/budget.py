"""How many bytes calls may hold: all of a process together, and the messages that one connection sends at once."""

from gyre_serving.router.message import Refusal

PROCESS_BYTES = 256 * 2**20
"""Of messages that came, in part or whole, and answers that did not go yet."""
CONNECTION_BYTES = 64 * 2**20
"""Of large messages whose windows are open on one connection; the others wait for theirs."""
WINDOW = 65535
"""Bytes of a message that may come before its service is known (RFC 9113's default)."""
_MIB = 2**20


class Budget:
    """The bytes that all connections of a process hold."""

    __slots__ = ("held", "most")

    def __init__(self, most: int = PROCESS_BYTES) -> None:
        self.held = 0
        self.most = most

    def take(self, size: int) -> None:
        """Hold more; a single message or answer always fits.

        Raises:
            Refusal: 429 when everything is taken.
        """
        if self.held and self.held + size > self.most:
            raise Refusal(
                429, f"the router holds {self.most / _MIB:g} MiB of gRPC messages and answers; try again", retry_after=1
            )
        self.held += size

    def give(self, size: int) -> None:
        """Hold less."""
        self.held -= size
