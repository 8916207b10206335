"""This machine's way to the package registries, lent to image builds and never left in an image."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
# Settings of pip that name places on this machine, or say what to do with them.
_NOT_LENT: Final = ("find-links", "cert", "cache-dir", "target", "prefix", "user", "require-virtualenv")
_UV_INDEXES: Final = (("UV_DEFAULT_INDEX", True), ("UV_INDEX_URL", True), ("UV_INDEX", False))


def mounts(folder: Path) -> dict[Path, str]:
    """Write the settings below ``folder``; return what to mount where, read-only, while building."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pip, uv = folder / "pip.conf", folder / "uv.toml"
    pip.write_text(pip_settings(_pip_of_this_machine(), os.environ), encoding="utf-8")
    uv.write_text(uv_settings(os.environ), encoding="utf-8")
    wanted = {pip: "/etc/pip.conf", uv: "/etc/uv/uv.toml"}
    bundle = ssl.get_default_verify_paths().cafile or os.environ.get("SSL_CERT_FILE") or _BUNDLE
    if Path(bundle).is_file():
        wanted[Path(bundle).resolve()] = _BUNDLE
    return wanted


def _pip_of_this_machine() -> str:
    pip = shutil.which("pip") or shutil.which("pip3")
    argv = [pip] if pip else [sys.executable, "-m", "pip"]
    done = subprocess.run([*argv, "config", "list"], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def pip_settings(listed: str, environment: Mapping[str, str]) -> str:
    """Return a pip.conf from the output of ``pip config list`` and PIP_ variables (which win)."""
    values: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install"):
            values[key] = value.strip().strip("'")
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            values[name[len("PIP_") :].lower().replace("_", "-")] = value
    kept = {key: value for key, value in values.items() if key not in _NOT_LENT}
    kept["cert"] = _BUNDLE
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in sorted(kept.items()))


def uv_settings(environment: Mapping[str, str]) -> str:
    """Return a uv.toml from the UV_ variables that say where packages come from."""
    lines = ["native-tls = true"]
    for name, default in _UV_INDEXES:
        if environment.get(name):
            lines += ["[[index]]", f"url = {json.dumps(environment[name])}"]
            lines += ["default = true"] if default else []
            break
    return "\n".join(lines) + "\n"
