"""Streams: ADWIN finds what river's finds, nothing on null streams, in bounded memory, from files as they come."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.channel import Channel
from gyre_monitoring.cli import main
from gyre_monitoring.profile import build, encoded
from gyre_monitoring.stats.adwin import BLOCK, Adwin
from gyre_monitoring.stats.recent import MOST, STEP, Recent, evidence, worth
from gyre_monitoring.stream import Change, Stream
from gyre_monitoring.values import Floats
from tests.monitoring.support.looks import monitor, normal_profile, normals

ROWS = 10_000
RIVER = {"none": [], "abrupt": [5088], "rate": [5728], "gradual": [5088, 6688]}
"""Where river 0.26.1's ADWIN finds a drift in the streams of `drawn`, by default settings (delta 0.002, clock 32)."""
CONTRACT = Contract(key="id", label=LabelContract(column="label"), features=["age", "plan"])


def drawn() -> dict[str, Floats]:
    """The streams that river was run on; RandomState draws the same in every release of numpy."""
    random, at = np.random.RandomState(3), np.arange(ROWS)
    none = random.random_sample(ROWS)
    abrupt = random.random_sample(ROWS)
    abrupt[5000:] = abrupt[5000:] * 0.6 + 0.4
    rate = (random.random_sample(ROWS) < np.where(at < 5000, 0.10, 0.15)).astype(float)
    slope = np.where(at < 4000, 0, np.minimum((at - 4000) / 3000 * 0.2, 0.2))
    gradual = np.clip(random.random_sample(ROWS) * 0.8 + slope, 0, 1)
    return {"none": none, "abrupt": abrupt, "rate": rate, "gradual": gradual}


def found(values: Floats, delta: float = 0.002) -> list[int]:
    """Where ADWIN forgets something."""
    adwin, blocks = Adwin(delta), values[: values.size // BLOCK * BLOCK].reshape(-1, BLOCK)
    return [(k + 1) * BLOCK for k, block in enumerate(blocks) if adwin.add(block)]


@pytest.mark.parametrize("name", ["none", "abrupt", "rate"])
def test_changes_are_found_where_river_finds_them(name: str) -> None:
    """As many as river's ADWIN finds, the first within 64 values of its."""
    ours, theirs = found(drawn()[name]), RIVER[name]
    assert bool(ours) == bool(theirs)
    if theirs:
        assert abs(ours[0] - theirs[0]) <= 64


def test_a_gradual_change_is_found_step_by_step() -> None:
    """A slope from row 4,000 to 7,000 is found before row 5,300, as by river, and nothing is found before it starts."""
    ours = found(drawn()["gradual"])
    assert ours[0] > 4000
    assert ours[0] < RIVER["gradual"][0] + 200


def test_null_streams_raise_no_alarm() -> None:
    """Forty null streams of 10,000 values, of three laws: not one alarm."""
    for seed in range(40):
        generator = np.random.default_rng(seed)
        law = (generator.random(ROWS), (generator.random(ROWS) < 0.1).astype(float), generator.beta(0.5, 0.5, ROWS))
        assert found(law[seed % 3]) == []


LAWS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "uniform": lambda generator, rows: generator.random(rows),
    "yes in one of ten": lambda generator, rows: (generator.random(rows) < 0.1).astype(float),
    "heavy tails": lambda generator, rows: generator.standard_cauchy(rows),
    "ties": lambda generator, rows: np.round(generator.standard_normal(rows)),
    "both ends": lambda generator, rows: generator.beta(0.5, 0.5, rows),
}


@pytest.mark.parametrize("beyond", [0.0, 1e6], ids=["as the reference", "beyond the reference's range"])
@pytest.mark.parametrize("law", LAWS)
def test_null_channels_are_silent(law: str, beyond: float) -> None:
    """Both memories together, at one column's usual error: four streams of 10,000 values of each law, no change."""
    contract = Contract(key="id", label=LabelContract(column="label"), features=["x"])
    for seed in range(4):
        generator = np.random.default_rng(seed)
        known = build(lambda: [pa.table({"x": LAWS[law](generator, 2000)})], contract)  # noqa: B023  called at once
        channel = Channel(known.columns[0], 0.002)
        assert list(channel.add(pa.array(LAWS[law](generator, ROWS) + beyond), 1)) == []


def test_evidence_of_the_newest_values_is_an_error_rate() -> None:
    """Windows in which nothing changes reach a level as seldom as its exponential says, ties or none, 8 cuts' worth."""
    generator, windows = np.random.default_rng(0), 4000
    for draw in (LAWS["uniform"], LAWS["ties"], LAWS["yes in one of ten"]):
        most = np.array([evidence(draw(generator, MOST)).max() for _ in range(windows)])
        for level in (4.0, 6.0):
            bound = 8 * np.exp(-level)
            assert np.mean(most >= level) <= bound + 3 * np.sqrt(bound / windows)


def test_evidence_of_sides_that_do_not_overlap_is_the_number_of_ways_to_choose_them() -> None:
    """The rank sum of 20 values before 12 others has one chance in as many."""
    values = np.arange(32.0)
    assert evidence(values)[20 - 8] == pytest.approx(np.log(comb(32, 12)))


def test_values_that_follow_each_other_are_worth_less() -> None:
    """AR(1) of 0.5: a third of the rows count; independent, tied and equal ones count whole."""
    generator = np.random.default_rng(0)
    worths = [worth(correlated(generator, 200)) for _ in range(50)]
    assert 0.3 < np.mean(worths) < 0.6
    assert np.mean([worth(generator.random(200)) for _ in range(50)]) > 0.98
    assert worth(np.ones(200)) == 1


def test_dependent_rows_are_seldom_told_to_move() -> None:
    """Each of 10,000 values follows the one before (AR(1) of 0.5) and nothing changes: four lines a stream at most."""
    contract = Contract(key="id", label=LabelContract(column="label"), features=["x"])
    told = 0
    for seed in range(6):
        values = correlated(np.random.default_rng(seed), ROWS)
        known = build(lambda: [pa.table({"x": values[:1000]})], contract)  # noqa: B023  called at once
        told += len(list(Channel(known.columns[0], 0.002).add(pa.array(values), 1)))
    assert told <= 4 * 6


def correlated(generator: np.random.Generator, rows: int) -> Floats:
    """AR(1) of 0.5, with a variance of 1."""
    drawn, before = generator.normal(0, np.sqrt(0.75), rows), 0.0
    for row in range(rows):
        drawn[row] = before = drawn[row] + 0.5 * before
    return drawn


def test_the_newest_values_are_bounded() -> None:
    """Ten thousand values leave a window of 256 and one step."""
    recent, generator = Recent(50.0), np.random.default_rng(0)
    for _ in range(10_000 // STEP):
        recent.add(generator.random(STEP))
        assert recent.values.size <= MOST + STEP


def test_memory_and_mean_of_a_long_stream() -> None:
    """A million values leave a hundred buckets at most, and the mean of all of them."""
    adwin, generator, total = Adwin(0.002), np.random.default_rng(0), 0.0
    for _ in range(1_000_000 // BLOCK // 10):
        block = generator.random(BLOCK)
        total += float(block.sum())
        adwin.add(block)
    assert adwin.rows == 1_000_000 // BLOCK // 10 * BLOCK
    assert adwin.mean == pytest.approx(total / adwin.rows, rel=1e-9)
    assert sum(map(len, adwin._sizes)) <= 100


def test_a_range_that_is_nearly_nothing_is_followed() -> None:
    """Scores that underflow lie within 1e-320: whatever comes then is far beyond, and no number overflows."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=4000) * 1e-320
    values[3000:] = 0.5
    contract = Contract(key="id", label=LabelContract(column="label"), features=["x"])
    known = build(lambda: [pa.table({"x": values[:2000]})], contract)
    assert len(list(Channel(known.columns[0], 0.002).add(pa.array(values[2000:]), 1))) == 1


def people(rows: int, seed: int, *, older: float = 0.0, premium: float = 0.2) -> pa.Table:
    """Ages with holes and an outlier, and a plan."""
    generator = np.random.default_rng(seed)
    age = generator.normal(40 + older, 10, rows)
    age[::50], age[7] = np.nan, 1e9
    plan = np.where(generator.random(rows) < premium, "premium", "basic")
    return pa.table({"age": age, "plan": plan, "gyre_time": pa.array(range(rows), pa.timestamp("s", "UTC"))})


@pytest.fixture(scope="module")
def profile() -> Profile:
    """The profile of 5,000 people."""
    return build(lambda: [people(5000, 0)], CONTRACT)


def streamed(profile: Profile, *tables: pa.Table) -> list[Change | str]:
    """Everything that is told of tables, each in pieces of 777 rows."""
    stream = Stream(profile, monitor(features=[]))
    return [told for k, table in enumerate(tables) for at in range(0, table.num_rows, 777)
            for told in stream.add(table.slice(at, 777), f"{k}.parquet")]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "column"),
    [
        pytest.param({"older": 5.0}, "age", id="ages that rise by half a deviation"),
        pytest.param({"premium": 0.5}, "plan", id="another mix of categories"),
    ],
)
def test_a_change_is_told_once_with_column_and_place(profile: Profile, change: dict[str, float], column: str) -> None:
    """Row, time and part of the change stand in it; the other column stays silent, and the new state is no news."""
    told = streamed(profile, people(5000, 1), people(8000, 2, **change))
    assert len(told) == 1
    one = told[0]
    assert isinstance(one, Change)
    assert (one.column, one.part) == (column, "1.parquet")
    assert 5000 < one.row < 6000
    assert one.time is not None
    assert one.time.startswith("1970-01-01T00:")
    assert abs(one.after - one.before) > 0.1


@pytest.mark.parametrize("then", [pytest.param(0.0, id="back"), pytest.param(16.0, id="and on")])
def test_a_change_soon_after_another_is_told(profile: Profile, then: float) -> None:
    """Five hundred rows after a first change comes a second: each is told once, and the last state is right."""
    told = streamed(profile, people(5000, 1), people(500, 2, older=8), people(6000, 3, older=then))
    ages = [one for one in told if isinstance(one, Change) and one.column == "age"]
    assert len(ages) == 2
    assert ages[1].before == pytest.approx(ages[0].after, abs=0.04)
    assert abs(ages[1].after - (0.95 if then else 0.5)) < 0.1


def test_null_windows_of_many_columns_are_silent() -> None:
    """Ten columns, 30,000 rows of the reference's own population: nothing is told."""
    known, _ = normal_profile(10)
    assert streamed(known, normals(10, 30_000, 5)) == []


def test_a_column_that_breaks_is_told_once(profile: Profile) -> None:
    """Texts in place of numbers, and a column that goes away: a sentence each, not one a table."""
    text = people(3000, 3).set_column(0, "age", pa.array(["old"] * 3000))
    told = streamed(profile, text.drop_columns("plan"))
    assert told == [
        "age arrives as string, training had number, in 0.parquet: the column is not followed there",
        "plan is missing in 0.parquet: the column is not followed there",
    ]


@pytest.fixture
def folder(tmp_path: Path, profile: Profile) -> Path:
    """A profile, a configuration and two parts, in the second of which people are older."""
    (tmp_path / "profile.json").write_bytes(encoded(profile))
    (tmp_path / "parts").mkdir()
    pq.write_table(people(3000, 1), tmp_path / "parts" / "1.parquet")
    pq.write_table(people(3000, 2, older=8), tmp_path / "parts" / "2.parquet")
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    """The command on a folder."""
    options = ["--profile", str(folder / "profile.json"), "--out", str(folder / "changes.jsonl")]
    return ["stream", *options, "--current", str(folder / "parts"), *more]


@pytest.mark.parametrize("kind", ["a folder", "a store prefix"])
def test_the_command_reads_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """One sentence for the change, a summary, one JSON line each, exit code 0; an unreadable part is said."""
    (folder / "parts" / "3.parquet").write_bytes(b"no parquet")
    given = arguments(folder)
    if kind == "a store prefix":
        given[-1] = (folder / "parts").absolute().as_uri()
    assert main(given) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("age moved: mean rank in training 0.5")
    assert "not read: " in printed[1]
    assert printed[-1] == "6000 rows, 3 parts, 2 columns; changes found: 1"
    lines = [json.loads(line) for line in (folder / "changes.jsonl").read_text().splitlines()]
    assert lines[0]["column"] == "age"
    assert 3000 < lines[0]["row"] < 4000


def test_a_part_that_goes_away_is_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name without a file, as when somebody tidies up meanwhile: the others are read."""
    (folder / "parts" / "0.parquet").symlink_to(folder / "gone.parquet")
    assert main(arguments(folder)) == 0
    assert "6000 rows, 2 parts, 2 columns; changes found: 1" in capsys.readouterr().out


def test_the_command_follows_parts_as_they_come(folder: Path) -> None:
    """A part that is added while it runs is read, and SIGTERM ends it with the summary and exit code 0."""
    late = folder / "parts" / "2.parquet"
    content = late.read_bytes()
    late.unlink()
    command = [sys.executable, "-m", "gyre_monitoring", *arguments(folder, "--follow", "--every", "0.2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(1)
        late.write_bytes(content)
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert first.startswith("age moved: ")
    assert rest.splitlines()[-1].endswith(" columns; changes found: 1")
    assert process.returncode == 0


def test_a_part_that_is_written_again_is_not_read_again(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part counted as gone while it was fresh, so that a touch at the wrong moment counted all its rows twice."""
    part = folder / "parts" / "2.parquet"
    waits = iter((lambda: os.utime(part), lambda: os.utime(part, (0, 0))))

    def wait(_: float) -> None:
        then = next(waits, None)
        if then is None:
            raise KeyboardInterrupt
        then()

    for one in (folder / "parts").iterdir():
        os.utime(one, (0, 0))
    monkeypatch.setattr(time, "sleep", wait)
    assert main(arguments(folder, "--follow")) == 0
    assert "6000 rows, 2 parts, 2 columns; changes found: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        pytest.param("nowhere", "nowhere does not exist", id="no such folder"),
        pytest.param("empty", "there is no .parquet part to follow", id="an empty folder"),
    ],
)
def test_wrong_places_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], place: str, sentence: str
) -> None:
    """Exit code 2 and one line."""
    (folder / "empty").mkdir()
    given = arguments(folder)
    given[-1] = str(folder / place)
    assert main(given) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_a_column_that_left_the_range_is_still_followed(profile: Profile) -> None:
    """Ages go where the reference has none, and two thousand rows later further: both are told, and nothing between."""
    told = streamed(profile, people(3000, 1), people(2000, 2, older=300), people(4000, 3, older=310))
    ages = [one for one in told if isinstance(one, Change) and one.column == "age"]
    assert [one.among for one in ages] == ["reference", "recent"]
    assert 3000 < ages[0].row < 3300
    assert 5000 < ages[1].row < 5300
    assert ages[1].before == pytest.approx(0.5, abs=0.01)
    assert "beyond training's range" in ages[1].words()


def test_rows_from_beyond_the_range_are_no_news_while_they_stay(profile: Profile) -> None:
    """Thirty thousand ages beyond the reference, from the first row on: nothing moves, nothing is told."""
    told = streamed(profile, people(30_000, 1, older=300))
    assert [one for one in told if isinstance(one, Change) and one.column == "age"] == []


@pytest.mark.parametrize("then", [400.0, 250.0])
def test_a_column_that_stood_still_beyond_the_range_is_still_followed(profile: Profile, then: float) -> None:
    """Ages become one number that the reference has not, and later others: both are told.

    Among values that are all the same every later one had the same rank, and nothing was told of it any more.
    """
    still, moved = people(3000, 2), people(3000, 3)
    column = still.schema.get_field_index("age")
    still = still.set_column(column, "age", pa.array(np.full(3000, 300.0)))
    moved = moved.set_column(column, "age", pa.array(np.random.default_rng(3).normal(then, 10, 3000)))
    told = streamed(profile, people(3000, 1), still, moved)
    ages = [one for one in told if isinstance(one, Change) and one.column == "age"]
    assert [one.among for one in ages] == ["reference", "recent"]
    assert 6000 < ages[1].row < 6300
    assert (ages[1].after > 0.9) == (then > 300)


def climbing(rows: int, slope: float, level: float = 0.0) -> pa.Table:
    """Ages that rise by so much a row."""
    table = people(rows, 7)
    ages = pa.array(np.random.default_rng(7).normal(40, 10, rows) + level + slope * np.arange(rows))
    return table.set_column(table.schema.get_field_index("age"), "age", ages)


@pytest.mark.parametrize("slope", [0.1, 1.0, 10.0])
def test_a_trend_is_told_once_until_it_ends(profile: Profile, slope: float) -> None:
    """Twenty thousand rows rise to far beyond the range: one change. Where they stay is told, then what comes next."""
    end = 20_000 * slope
    told = streamed(profile, people(3000, 1), climbing(20_000, slope), people(9000, 3, older=end),
                    people(2000, 4, older=end + 30))  # fmt: skip
    ages = [one for one in told if isinstance(one, Change) and one.column == "age"]
    assert len(ages) == 3
    assert (ages[0].among, ages[2].among) == ("reference", "recent")
    assert 3000 < ages[0].row < 3300
    assert 23_000 < ages[1].row < 32_000
    assert ages[1].after - ages[1].before > 0.2
    assert 32_000 < ages[2].row < 32_200


@pytest.mark.parametrize("rows", [48, 96, 192])
def test_a_short_change_and_the_return_are_told(profile: Profile, rows: int) -> None:
    """Ages are three deviations older for a while: both ends are told, and the last level is the first again."""
    told = streamed(profile, people(3000, 1), people(rows, 2, older=30), people(3000, 3))
    ages = [one for one in told if isinstance(one, Change) and one.column == "age"]
    assert len(ages) == 2
    assert ages[0].after > 0.9
    assert ages[1].after == pytest.approx(ages[0].before, abs=0.1)


@pytest.mark.parametrize("gap", [200, 400])
def test_steps_in_a_row_are_each_told_once(gap: int) -> None:
    """Sixteen made series of nine steps of two deviations, up or down: 95 % are told before the next, 3 % twice."""
    contract = Contract(key="id", label=LabelContract(column="label"), features=["x"])
    found = twice = 0
    for seed in range(16):
        generator = np.random.default_rng(seed)
        levels = np.repeat(np.cumsum([0, *generator.choice([-2, 2], 9)]), gap)
        values = levels + generator.normal(size=levels.size)
        known = build(lambda: [pa.table({"x": values[:gap]})], contract)  # noqa: B023  called at once
        rows = [one.row for one in Channel(known.columns[0], 0.002).add(pa.array(values), 1)]
        told = np.bincount([row // gap for row in rows], minlength=10)
        found, twice = found + int(np.count_nonzero(told[1:])), twice + int(np.maximum(told - 1, 0).sum() + told[0])
    assert found >= 0.95 * 16 * 9
    assert twice <= 0.03 * 16 * 9
