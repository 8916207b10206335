"""Debian packages: installed one after another, whoever asks."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.localcluster import packages

APT = """#!/bin/sh
mkdir "{folder}/busy" || exit 100
sleep 0.3
echo "$@" >> "{folder}/done"
rmdir "{folder}/busy"
"""
"""As apt-get's lists: who comes while another is at it fails at once."""


def test_installations_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that run side by side on a fresh machine each want packages: each gets its own, at the first try."""
    (tmp_path / "apt-get").write_text(APT.format(folder=tmp_path))
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("GYRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(packages.install, (["one"], ["two"], ["three"])))
    calls = (tmp_path / "done").read_text().splitlines()
    assert sorted(call.split()[-1] for call in calls) == ["one", "three", "two"]
