"""The page: numbers as people read them, names that fit, and true words where nothing is known."""

import itertools
import re

import numpy as np
import pyarrow as pa
import pytest

from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.explain import text
from gyre_monitoring.figures import figure
from gyre_monitoring.page import page
from gyre_monitoring.page.charts import distribution, interval
from gyre_monitoring.profile import build
from tests.monitoring.support.looks import look, monitor, normal_profile, normals, reported


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        pytest.param(97716.3, 4, "97,720", id="thousands have a comma"),
        pytest.param(1965.0, 4, "1965", id="years have none"),
        pytest.param(4236.476, 3, "4240", id="no power of ten below a million"),
        pytest.param(0.02617, 3, "0.0262", id="small shares"),
        pytest.param(2.09e-8, 4, "2.09e-8", id="very small ones keep their power"),
        pytest.param(-12_345_678.0, 3, "-1.23e7", id="very large ones too"),
        pytest.param(9_999_999.0, 3, "1e7", id="rounded into the next power"),
        pytest.param(0.0, 3, "0", id="nothing"),
        pytest.param(float("inf"), 3, "inf", id="no number"),
    ],
)
def test_figures_are_those_of_people(value: float, digits: int, text: str) -> None:
    """So many digits, and no more."""
    assert figure(value, digits) == text


def test_names_below_a_picture_do_not_meet() -> None:
    """Fifteen cities: fewer names, each with letters enough to know it, none running into the next."""
    names = ["Amsterdam", "Rotterdam", "Den Haag", "Utrecht", "Eindhoven", "Groningen", "Tilburg", "Almere", "Breda",
             "other"]  # fmt: skip
    shares = [0.1] * len(names)
    picture = distribution({"labels": names, "reference": shares, "current": shares})
    ticks = re.findall(r'<text x="([\d.]+)" y="\d+" text-anchor="(\w+)" class="tick">([^<]+)</text>', picture)
    ends = [_extent(float(x), anchor, text) for x, anchor, text in ticks]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))
    assert ends[0][0] >= 0
    assert ends[-1][1] <= 264
    assert all(len(text) >= 5 for _, _, text in ticks)
    assert all(f"<title>{name}: training 10.0%, now 10.0%</title>" in picture for name in names)


def _extent(x: float, anchor: str, text: str) -> tuple[float, float]:
    """Left and right end of a name, at half an em a letter."""
    width = len(text) * 5.5
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return left, left + width


def test_a_difference_of_nothing_looks_like_nothing() -> None:
    """An estimate half a point from the reference stands beside it, not at the other end."""
    marks = interval({"reference": 0.7948, "estimated": 0.8})
    stroke = re.search(r'<line x1="([\d.]+)"[^>]*class="mark-ref"', marks)
    circle = re.search(r'<circle cx="([\d.]+)"', marks)
    assert stroke is not None
    assert circle is not None
    assert abs(float(stroke[1]) - float(circle[1])) < 0.1 * 420


def test_a_window_of_few_rows_says_why_nothing_is_known() -> None:
    """Not that the reference had no labels: nobody looked."""
    profile, contract = normal_profile(2)
    made = page(reported(*look(normals(2, 30, 1), profile=profile, contract=contract, spec=monitor(features=[]))), [])
    assert "<h1>InsufficientData" in made
    assert "Too few rows: neither a realized nor an estimated performance is known." in made
    assert ">not tested<" in made


def test_segments_that_moved_are_on_the_page_and_not_in_a_closed_table() -> None:
    """The furthest first, at most eight: the one place that explained a drift was two clicks away."""
    made = page(_with_segments(10), [])
    shown = re.findall(r"<li>(.*?)</li>", made.split("<details>")[0])
    assert len(shown) == 9
    assert shown[0] == "<b>x0</b> where <b>country=9</b>: PSI 0.9 · p &lt; 0.0001 · 100 rows"
    assert shown[-1] == "and 2 more, in the table of all columns"
    assert "Where it moved" not in page(_with_segments(0), [])


def test_the_colours_of_looks_say_what_they_mean() -> None:
    """Only those that are there."""
    made = page(_with_segments(0), [])
    legend = made.split("Looks</h2>")[1].split("</div>")[0]
    assert "healthy</span>" in legend
    assert "loss proven" not in legend


def test_a_terminal_gets_whole_words_and_the_furthest_segment_first() -> None:
    """Lines end at words, and keep their indent; without a width a sentence is one line."""
    body = _with_segments(3).dump()
    narrow = text(body, 40).splitlines()
    assert max(map(len, narrow)) <= 40
    assert " ".join(" ".join(narrow).split()) == " ".join(text(body).split())
    places = [line for line in text(body).splitlines() if line.startswith("segment")]
    assert places[0] == "segment      country=2: x0 moved (PSI 0.200)"


def _with_segments(count: int) -> Report:
    """A quiet report, with so many segments that moved, each further than the one before."""
    profile, contract = normal_profile(2)
    quiet = reported(*look(normals(2, 3000, 1), profile=profile, contract=contract, spec=monitor(features=[])))
    assert quiet.spec.verdict == "Healthy"
    moved = [
        {"name": "x0", "method": "PSI", "score": k / 10, "effect": k / 10, "pAdjusted": 1e-9, "drifted": True,
         "rows": 100, "segment": f"country={k}"} for k in range(count)
    ]  # fmt: skip
    return quiet.model_copy(update={"segments": moved})


def test_hostile_names_stay_text() -> None:
    """A column and a category that are markup are shown, not run; no script, no address."""
    rows = 3000
    values = np.where(np.random.default_rng(0).random(rows) < 0.5, "<script>1</script>", 'a"b')
    table = pa.table({"<img src=x>": values, "x": np.random.default_rng(1).normal(size=rows)})
    contract = Contract(key="id", label=LabelContract(column="label"), features=table.column_names)
    found = look(table, profile=build(lambda: [table], contract), contract=contract, spec=monitor(features=[]))
    made = page(reported(*found), [])
    assert "&lt;img src=x&gt;" in made
    assert "&lt;script&gt;" in made
    assert not re.search(r"<(script|img)|https?://", made)
