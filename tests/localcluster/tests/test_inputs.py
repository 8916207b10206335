"""An image is built again when, and only when, something that it is made of has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.localcluster import inputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DOCKERFILE = """\
FROM base AS build
COPY requirements.lock /tmp/
FROM base
COPY --from=build /opt/venv /opt/venv
COPY --chown=1:1 package \\
     data/*.txt /opt/
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("COPY a /b", ["a"]),
        ("copy a b c/ /d/", ["a", "b", "c/"]),
        ("COPY --chown=1:1 --chmod=755 a /b", ["a"]),
        ("COPY --from=build /x /y", []),
        ('COPY ["a b", "/c"]', ["a b"]),
        ("ADD https://example.org/x /x", []),
        ("ADD a.tar /", ["a.tar"]),
        ("RUN cp COPY /x", []),
        ("COPY a \\\n  b /c", ["a", "b"]),
    ],
    ids=[
        "one source",
        "several sources in lower case",
        "flags are no sources",
        "another stage is no source",
        "the JSON form",
        "an address is no file",
        "an archive",
        "the word inside another instruction",
        "a continued line",
    ],
)
def test_sources(line: str, expected: list[str]) -> None:
    """The sources of a Dockerfile's COPY and ADD are what it takes from its context."""
    assert inputs.sources(line) == expected


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Lay out a small build context."""
    for name, text in {
        "Dockerfile": DOCKERFILE,
        "requirements.lock": "x==1",
        "package/code.py": "a = 1",
        "data/one.txt": "1",
        "README.md": "hello",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def _write(name: str, text: str) -> Callable[[Path], object]:
    def change(context: Path) -> None:
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (_write("package/code.py", "a = 2"), True),
        (_write("package/new.py", ""), True),
        (_write("requirements.lock", "x==2"), True),
        (_write("data/two.txt", "2"), True),
        (_write("Dockerfile", DOCKERFILE + "USER 1\n"), True),
        (lambda context: (context / "package/code.py").chmod(0o755), True),
        (lambda context: (context / "package/code.py").rename(context / "package/moved.py"), True),
        (_write("README.md", "changed"), False),
        (_write("data/notes.md", "x"), False),
        (_write("package/__pycache__/code.pyc", "x"), False),
        (lambda context: (context / "package/code.py").touch(), False),
    ],
    ids=[
        "a changed line",
        "a new file",
        "a lock",
        "a file that a pattern finds",
        "the Dockerfile",
        "an executable bit",
        "a renamed file",
        "a file that is not copied",
        "a file beside the pattern",
        "byte code",
        "a time stamp",
    ],
)
def test_digest(context: Path, change: Callable[[Path], object], *, again: bool) -> None:
    """The digest follows content, names and modes of what is copied, and nothing else."""
    before = inputs.digest(context / "Dockerfile", context, "base")
    change(context)
    assert (inputs.digest(context / "Dockerfile", context, "base") != before) is again


def test_base_counts(context: Path) -> None:
    """Another base image makes another image."""
    dockerfile = context / "Dockerfile"
    assert inputs.digest(dockerfile, context, "one") != inputs.digest(dockerfile, context, "two")
