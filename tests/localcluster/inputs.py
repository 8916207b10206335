"""What an image depends on: its Dockerfile, the files that it copies, and its base."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The same as .dockerignore says to the builders.
IGNORED: Final = ("__pycache__", "*.pyc", "*.egg-info", ".git", ".gyre", ".venvs", ".*_cache")
_INSTRUCTIONS: Final = ("COPY", "ADD")


def digest(dockerfile: Path, context: Path, base: str) -> str:
    """Return a digest that changes with everything that the image is built from."""
    text = dockerfile.read_text(encoding="utf-8")
    found = hashlib.sha256(f"{base}\n{text}\n".encode())
    for source in sources(text):
        for path in _files(context, source):
            mode = "x" if path.stat().st_mode & 0o100 else "-"
            found.update(f"{path.relative_to(context)} {mode}\n".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def sources(dockerfile: str) -> list[str]:
    """Return the paths that a Dockerfile copies from its build context."""
    found: list[str] = []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() not in _INSTRUCTIONS:
            continue
        found += _sources_of(rest.strip())
    return found


def _sources_of(rest: str) -> list[str]:
    words = shlex.split(rest)
    flags = [word for word in words if word.startswith("--")]
    if any(flag.startswith("--from=") for flag in flags):
        return []
    places = words[len(flags) :]
    if places and places[0].startswith("["):
        places = json.loads(rest[rest.index("[") :])
    return [place for place in places[:-1] if "://" not in place]


def _files(context: Path, source: str) -> Iterator[Path]:
    pattern = source.strip("/") or "."
    for start in [context] if pattern == "." else sorted(context.glob(pattern)):
        candidates = sorted(start.rglob("*")) if start.is_dir() else [start]
        for path in candidates:
            if path.is_file() and not _ignored(path.relative_to(context).parts):
                yield path


def _ignored(parts: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in IGNORED)
