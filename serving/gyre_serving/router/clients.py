"""How often one client may ask: a token bucket for each, in memory that does not grow with their number."""

from collections import OrderedDict
from hashlib import blake2b

from gyre_crds.contracts.routing import ClientRule
from gyre_serving.router.message import Request

_LONGEST_KEY = 64
"""Bytes; a longer name is kept as its hash, so that a client cannot choose how much is remembered of it."""


class Clients:
    """The buckets of one service in one process.

    A bucket is one number (the generic cell rate algorithm): the time at which it would be full again.
    """

    __slots__ = ("_full_at", "_header", "rule")

    def __init__(self, rule: ClientRule) -> None:
        self._full_at: OrderedDict[bytes, float] = OrderedDict()
        self._header: bytes | None = None
        self.follow(rule)

    def follow(self, rule: ClientRule) -> None:
        """Take over a new rule; what clients used up stays, unless they are told apart by something else now."""
        header = rule.header.lower().encode() if rule.header else None
        if header != self._header:
            self._full_at.clear()
        self.rule, self._header = rule, header

    def name(self, request: Request, peer: str) -> bytes:
        """Who asks: the header's value, else the address."""
        given = request.headers.get(self._header) if self._header else None
        # The first byte keeps a header that holds another client's address apart from that address.
        found = b"h" + given if given else b"a" + peer.encode()
        return found if len(found) <= _LONGEST_KEY else blake2b(found, digest_size=32).digest()

    def wait(self, client: bytes, now: float) -> float:
        """Take a token at `now` (loop seconds): 0, or the seconds until there is one."""
        rule, known = self.rule, self._full_at
        full_at = max(known.get(client, now), now)
        short = full_at - now - (rule.burst - 1) / rule.rate
        known[client] = full_at if short > 0 else full_at + 1 / rule.rate
        known.move_to_end(client)
        if len(known) > rule.most:
            known.popitem(last=False)
        return max(short, 0.0)

    def __len__(self) -> int:
        """Clients remembered."""
        return len(self._full_at)
