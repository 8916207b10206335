"""Peers of the drift engine, each in a throw-away environment, called with windows on disk."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = Path(__file__).with_name("drift_peer.py")
_WANTED: Mapping[str, Sequence[str]] = {
    "nannyml": ("nannyml==0.13.1", "pandas==2.3.3", "statsmodels", "pyarrow"),
    "whylogs": ("whylogs[viz]==1.6.4", "pandas==2.3.3", "numpy<2", "pyarrow==21.0.0"),
    "river": ("river==0.26.1",),
    "light": ("--require-hashes", "-r", str(ROOT / "monitoring" / "requirements.lock")),
}
"""What uv installs; `light` is what the image of the looks holds. Evidently is in the plane's own environment."""
_QUIET = {"NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
PEERS: Mapping[str, str] = {
    "Evidently default": "evidently",
    "Evidently psi": "evidently",
    "NannyML": "nannyml",
    "whylogs": "whylogs",
}
"""Peers and the environment each lives in."""


Pair = tuple[pa.Table | None, pa.Table]
"""Reference and window; None is the reference of the pair before."""


class Run(NamedTuple):
    """What a peer said of some windows, and what that cost."""

    drifted: list[int]
    """Columns it calls drifted, window by window."""
    cpu: float
    """CPU seconds of all windows, imports and reading not counted."""
    peak: float
    """Largest resident memory of its process, MB."""


@cache
def python(name: str) -> str:
    """The interpreter of an environment; it is made at the first call."""
    if name == "evidently":
        return sys.executable
    folder = Path(os.environ.get("GYRE_CACHE") or Path.home() / ".cache" / "gyre") / "bench" / f"drift-{name}"
    made, found = folder / ".made", folder / "bin" / "python"
    if not made.exists():
        uv = str(ROOT / ".venvs" / "uv" / "bin" / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(found), *_WANTED[name]]
        subprocess.run(install, check=True)
        made.touch()
    return str(found)


def judged(peer: str, pairs: Iterable[Pair]) -> Run:
    """What a peer says of windows."""
    with tempfile.TemporaryDirectory() as name:
        folder, count = Path(name), 0
        for count, (reference, window) in enumerate(pairs, 1):
            pq.write_table(window, folder / f"{count - 1}-window.parquet")
            if reference is not None:
                pq.write_table(reference, folder / f"{count - 1}-reference.parquet")
        return on_disk(peer, folder, count)


def on_disk(peer: str, folder: Path, pairs: int) -> Run:
    """The same for `N-window.parquet` in a folder; where there is no `N-reference.parquet`, the last one holds."""
    command = [python(PEERS[peer]), str(_SCRIPT), peer, str(folder), str(pairs)]
    done = subprocess.run(command, env=os.environ | _QUIET, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{peer} failed: {done.stderr.strip()[-500:]}")
    return Run(**json.loads(done.stdout.strip().splitlines()[-1]))
