"""Who may ask: bearer tokens from a directory that somebody else keeps (a mounted Secret), one file a caller."""

import hmac
import logging
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from gyre_crds.contracts.routing import AuthRule
from gyre_serving.router.message import Refusal

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""How often the directories are read: a token that was taken away is refused this much later at most."""
SHORTEST = 16
LARGEST = 4096
_HASHED = re.compile(rb"sha256:([0-9a-f]{64})")


class Tokens:
    """The tokens of one directory. Only their hashes are kept."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._hashes: tuple[bytes, ...] = ()
        self._warned: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """Read the directory again; without it, or when it cannot be read, nobody is known."""
        found, useless = set(), set()
        for file in self._files():
            digest = _digest(file)
            if digest is None:
                useless.add(file.name)
            else:
                found.add(digest)
        for name in sorted(useless - self._warned):
            logger.warning("%s: key %s is no token: give it %d characters or more", self._directory, name, SHORTEST)
        self._warned = frozenset(useless)
        self._hashes = tuple(sorted(found))

    def __len__(self) -> int:
        """Tokens known."""
        return len(self._hashes)

    def _files(self) -> list[Path]:
        try:
            # A mounted Secret has its own links in hidden entries.
            return [one for one in self._directory.iterdir() if not one.name.startswith(".") and one.is_file()]
        except OSError:
            return []

    def knows(self, token: bytes) -> bool:
        """Whether it is one of them."""
        given = sha256(token).digest()
        # All are compared, whichever fits: the time says nothing of how near a guess came.
        return bool(sum(hmac.compare_digest(given, one) for one in self._hashes))

    def nobody(self, service: str) -> Refusal:
        """The answer while no token is known, for nobody may be let in then."""
        return Refusal(
            503, f"{service} knows no caller: put tokens into {self._directory} or its Secret", retry_after=5
        )


class Keyring:
    """The directories that the running table names."""

    def __init__(self) -> None:
        self._known: dict[str, Tokens] = {}

    def tokens(self, rule: AuthRule | None) -> Tokens | None:
        """The tokens behind a rule, read on first use; None where it asks for none."""
        if rule is None or rule.tokens is None:
            return None
        found = self._known.get(rule.tokens)
        if found is None:
            found = self._known[rule.tokens] = Tokens(rule.tokens)
        return found

    def keep(self, rules: Iterable[AuthRule | None]) -> None:
        """Forget all other directories."""
        live = {rule.tokens for rule in rules if rule is not None and rule.tokens is not None}
        self._known = {directory: tokens for directory, tokens in self._known.items() if directory in live}

    def refresh(self) -> None:
        """Read all directories again."""
        for tokens in list(self._known.values()):
            tokens.refresh()


def _digest(file: Path) -> bytes | None:
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1).strip()
    except OSError:
        return None
    if hashed := _HASHED.fullmatch(content):
        return bytes.fromhex(hashed[1].decode())
    return sha256(content).digest() if SHORTEST <= len(content) <= LARGEST else None
