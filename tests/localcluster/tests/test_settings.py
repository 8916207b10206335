"""Build settings of the machine reach the build in a usable form, and nothing else of them does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.localcluster import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

CERT = "cert = /etc/ssl/certs/ca-certificates.crt\n"


@pytest.mark.parametrize(
    ("listed", "environment", "expected"),
    [
        ("", {}, f"[global]\n{CERT}"),
        (
            "global.index-url='https://mirror.example/simple'\n",
            {},
            f"[global]\n{CERT}index-url = https://mirror.example/simple\n",
        ),
        (
            "global.index-url='https://old.example/simple'\n",
            {"PIP_INDEX_URL": "https://new.example/simple"},
            f"[global]\n{CERT}index-url = https://new.example/simple\n",
        ),
        (":env:.timeout='180'\nglobal.find-links='/opt/wheels'\n", {"PIP_CERT": "/x"}, f"[global]\n{CERT}"),
        ("", {"PIP_DEFAULT_TIMEOUT": "180", "PIP_EXTRA": ""}, f"[global]\n{CERT}default-timeout = 180\n"),
    ],
    ids=[
        "nothing set: only the certificates as the image has them",
        "a mirror in pip's file",
        "the environment wins over the file",
        "paths of this machine are not lent",
        "variables become keys, empty ones do not",
    ],
)
def test_pip(listed: str, environment: Mapping[str, str], expected: str) -> None:
    """A pip.conf for the build says where packages come from."""
    assert settings.pip_settings(listed, environment) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "native-tls = true\n"),
        (
            {"UV_DEFAULT_INDEX": "https://a.example/simple"},
            'native-tls = true\n[[index]]\nurl = "https://a.example/simple"\ndefault = true\n',
        ),
        (
            {"UV_INDEX": "https://b.example/simple"},
            'native-tls = true\n[[index]]\nurl = "https://b.example/simple"\n',
        ),
    ],
    ids=["nothing set", "another default index", "an additional index"],
)
def test_uv(environment: Mapping[str, str], expected: str) -> None:
    """A uv.toml for the build says where packages come from."""
    assert settings.uv_settings(environment) == expected
