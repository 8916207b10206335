"""Embeddings and free text: tested by samples of rows, bounded in size, each fault in one sentence."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_crds.v1alpha1.drift import Feature
from gyre_monitoring.errors import InputError
from gyre_monitoring.evidence import Evidence, Finding
from gyre_monitoring.explain import text
from gyre_monitoring.page import page
from gyre_monitoring.profile import build, encoded
from gyre_monitoring.samples import MOST, Reservoir, VectorSample
from gyre_monitoring.stats.mmd import FLOOR, bandwidth, cosines, mmd
from gyre_monitoring.values import Floats
from tests.monitoring.support.looks import look, monitor, reported

DIMENSION = 32
WORDS = [
    "battery", "screen", "charger", "arrived", "late", "broken", "refund", "thanks", "please", "order", "the", "my",
    "is", "was", "not", "with",
]  # fmt: skip
OTHERS = ["invoice", "login", "password", "account", "reset", "email", "locked", "browser", "portal", "website"]
CONTRACT = Contract(key="id", label=LabelContract(column="label"), features=["vector", "note"])


def embeddings(rows: int, seed: int, shift: float = 0.0) -> Floats:
    """Correlated vectors; a shift moves every number by so many deviations."""
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(DIMENSION, DIMENSION)) / math.sqrt(DIMENSION)
    return np.asarray(generator.normal(size=(rows, DIMENSION)) @ mixing + shift)


def notes(rows: int, seed: int, strange: float = 0.0) -> list[str]:
    """Short messages; a share of them about something else."""
    generator = np.random.default_rng(seed)
    about = [OTHERS if generator.random() < strange else WORDS for _ in range(rows)]
    return [" ".join(generator.choice(words, 8)) + f" {k}" for k, words in enumerate(about)]


def table(rows: int, seed: int, *, shift: float = 0.0, strange: float = 0.0) -> pa.Table:
    """One embedding column and one text column."""
    values = pa.array(embeddings(rows, seed, shift).ravel().astype(np.float32))
    vectors = pa.FixedSizeListArray.from_arrays(values, DIMENSION)
    return pa.table({"vector": vectors, "note": notes(rows, seed, strange)})


@pytest.fixture(scope="module")
def profile() -> Profile:
    """The profile of 3,000 rows in two parts."""
    whole = table(3000, 0)
    return build(lambda: [whole.slice(0, 1000), whole.slice(1000)], CONTRACT)


def judged(profile: Profile, current: pa.Table, **fields: Any) -> tuple[Evidence, Finding]:
    """A look at a window."""
    return look(current, profile=profile, contract=CONTRACT, spec=monitor(**{"features": [], **fields}))


def test_p_values_are_calibrated_under_the_null() -> None:
    """At nominal 5 %, samples of one population alarm no oftener than 5 % plus three standard errors, nor never."""
    repetitions, alarms = 200, 0
    for seed in range(repetitions):
        before, now = embeddings(400, 2 * seed + 1), embeddings(200, 2 * seed + 2)
        width = bandwidth(before)
        alarms += mmd(cosines(before, width), cosines(now, width), 0.0).p_value <= 0.05
    assert 0.01 <= alarms / repetitions <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)


def test_a_column_of_mostly_equal_vectors_is_compared_by_the_others() -> None:
    """Three quarters of the rows are one vector: noise of a thousandth is no drift, nor is the same population."""

    def rows(seed: int, shift: float = 0.0) -> Floats:
        values = embeddings(1000, seed, shift)
        values[np.random.default_rng(seed).random(1000) < 0.75] = 0.0
        return values

    before = rows(1)
    width = bandwidth(before)
    assert width == pytest.approx(bandwidth(embeddings(1000, 1)), rel=0.5)
    assert mmd(cosines(before, width), cosines(rows(2), width), FLOOR).effect < FLOOR
    near = before + np.random.default_rng(3).normal(size=before.shape) * 1e-3
    assert mmd(cosines(before, width), cosines(near, width), FLOOR).effect < FLOOR


def test_the_distance_is_that_of_the_gaussian_kernel() -> None:
    """64 cosines give the kernel's own distance (all pairs, biased) within its noise of an eighth."""
    before, now = embeddings(400, 1), embeddings(400, 2, 0.8)
    width = bandwidth(before)

    def kernel(left: Floats, right: Floats) -> float:
        squared = ((left[:, None] - right[None]) ** 2).sum(axis=2)
        return float(np.exp(-squared / (2 * width**2)).mean())

    exact = math.sqrt(kernel(before, before) + kernel(now, now) - 2 * kernel(before, now))
    assert mmd(cosines(before, width), cosines(now, width), FLOOR).score == pytest.approx(exact, rel=0.125)


def test_rows_like_those_of_training_do_not_alarm(profile: Profile) -> None:
    """Twenty windows of 500 to 1,100 rows: at most one alarm of embedding and text together."""
    found = [judged(profile, table(500 + 300 * (seed % 3), seed + 1))[1].verdict for seed in range(20)]
    assert found.count("Healthy") >= 19


@pytest.mark.parametrize(
    ("change", "column"),
    [
        pytest.param({"shift": 0.3}, "vector", id="an embedding that moved by 0.3 deviations"),
        pytest.param({"strange": 0.2}, "note", id="a fifth of the texts about something else"),
    ],
)
def test_a_change_is_found(profile: Profile, change: dict[str, float], column: str) -> None:
    """Ten windows of 1,000 rows: each is a CovariateShift that names the column, and only that one."""
    for seed in range(10):
        evidence, finding = judged(profile, table(1000, seed + 40, **change))
        assert finding.verdict == "CovariateShift"
        assert [one.name for one in evidence.drifted] == [column]
        assert finding.reason.startswith(f"{column} (MMD ")
    report = reported(evidence, finding)
    assert f'title="{column}"' in page(report, ())
    assert f"> {column}" in text(report.dump())


def test_the_threshold_of_the_user_decides(profile: Profile) -> None:
    """With a floor above the distance the moved embedding does not count."""
    evidence, _ = judged(profile, table(1000, 41, shift=0.3), features=[Feature(name="vector", threshold=0.9)])
    assert not evidence.drifted


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [
        pytest.param([DIMENSION // 2] * 600, "vector arrives as a vector of 16 numbers, training had a vector of 32",
                     id="another embedding model"),
        pytest.param([DIMENSION] * 500 + [3] * 100, "vector arrives as a vector of 3 numbers, training had a vector "
                     "of 32 in 17% of the rows", id="ragged rows"),
    ],
)  # fmt: skip
def test_vectors_of_another_length_are_a_schema_break(profile: Profile, lengths: list[int], sentence: str) -> None:
    """Length and share are named; nothing crashes."""
    vectors = pa.array([[0.5] * length for length in lengths], pa.list_(pa.float64()))
    _, finding = judged(profile, pa.table({"vector": vectors, "note": notes(600, 5)}))
    assert finding.verdict == "SchemaBreak"
    assert sentence in finding.reason


def test_vectors_with_holes_are_missing_values(profile: Profile) -> None:
    """A null row and a vector with NaN count as missing, and too many of them are an incident."""
    rows = [list(one) for one in embeddings(600, 6)]
    spoiled = [None if k % 10 == 0 else [*row[:-1], math.nan] if k % 10 == 1 else row for k, row in enumerate(rows)]
    vectors = pa.array(spoiled, pa.list_(pa.float64()))
    _, finding = judged(profile, pa.table({"vector": vectors, "note": notes(600, 6)}))
    assert finding.verdict == "QualityIncident"
    assert finding.reason.startswith("vector is missing in 20% of the rows")


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param(pa.array([[1e200] * 3, [0.5] * 3] * 50), id="numbers whose squares are none"),
        pytest.param(pa.array([[True, None, False], [True, False, True]] * 50), id="truths with nulls"),
    ],
)
def test_vectors_without_a_distance_are_missing(spoiled: pa.Array) -> None:
    """Every second vector cannot be measured: it is missing, the sample holds the others."""
    sample = VectorSample()
    sample.add(spoiled)
    assert (sample.rows, sample.missing, sample.matrix().shape) == (100, 50, (50, 3))


@pytest.mark.parametrize("value", [pytest.param(None, id="null"), pytest.param([math.nan] * 3, id="not a number")])
def test_a_reference_column_without_a_vector_is_one_sentence(value: Any) -> None:
    """What to do stands in it."""
    rows = pa.table({"vector": pa.array([value] * 100, pa.list_(pa.float64())), "note": notes(100, 1)})
    with pytest.raises(InputError, match=r"column vector holds no vector at all: leave it out of contract\.features"):
        build(lambda: [rows], CONTRACT)


def test_too_few_rows_are_said(profile: Profile) -> None:
    """With 30 vectors among 600 rows nothing is tested, and the report says why."""
    rows = [list(one) if k < 30 else None for k, one in enumerate(embeddings(600, 7))]
    current = pa.table({"vector": pa.array(rows, pa.list_(pa.float64())), "note": notes(600, 7)})
    assert "vector was not tested: 30 usable rows in the window, 50 are needed" in judged(profile, current)[0].notes


@pytest.mark.parametrize(
    ("feature", "sentence"),
    [
        pytest.param(Feature(name="vector", method="PSI"), "only MMD compares vectors", id="PSI of a vector"),
        pytest.param(Feature(name="x0", method="MMD"), "MMD compares texts and vectors", id="MMD of a number"),
    ],
)
def test_a_method_that_does_not_fit_is_one_sentence(profile: Profile, feature: Feature, sentence: str) -> None:
    """The field and the cure stand in it."""
    contract = CONTRACT.model_copy(update={"features": ["x0"]})
    numeric = pa.table({"x0": np.random.default_rng(0).normal(size=600)})
    known = profile if feature.name == "vector" else build(lambda: [numeric], contract)
    current = table(600, 8) if feature.name == "vector" else numeric
    with pytest.raises(InputError, match=rf"features\.{feature.name}\.method: {sentence}"):
        look(current, profile=known, contract=contract, spec=monitor(features=[feature]))


def test_text_can_still_be_compared_by_length(profile: Profile) -> None:
    """A method of numbers on a text speaks of its length."""
    evidence, _ = judged(profile, table(600, 9), features=[Feature(name="note", method="KS")])
    assert [one.method for one in evidence.inputs if one.name == "note"] == ["KS"]


def test_a_profile_of_many_vectors_stays_below_a_megabyte() -> None:
    """100 embeddings of 384 numbers: each keeps a sample of 60 rows."""
    generator = np.random.default_rng(0)
    values = pa.array(generator.normal(size=2000 * 384).astype(np.float32))
    column = pa.FixedSizeListArray.from_arrays(values, 384)
    contract = CONTRACT.model_copy(update={"features": []})
    made = build(lambda: [pa.table({f"v{k}": column for k in range(100)}).slice(0, 300)], contract)
    assert {one.vector.rows for one in made.columns if one.vector} == {60}
    assert len(encoded(made)) < 1_000_000


def test_the_sample_is_bounded_and_fair() -> None:
    """Of 50,000 rows in parts, 1,000 stay, from the whole stream alike, and so does any first part of them."""
    reservoir = Reservoir()
    for part in range(50):
        reservoir.add(1000, lambda at, part=part: [part * 1000 + int(one) for one in at])  # type: ignore[misc]
    kept = np.array(reservoir.items())
    assert kept.size == MOST == np.unique(kept).size
    for sample in (kept, kept[:200]):
        assert abs(sample.mean() / 50_000 - 0.5) < 4 * math.sqrt(1 / 12 / sample.size)


def test_features_are_the_same_in_every_release() -> None:
    """A profile made today is read by images of tomorrow: the features of known vectors are pinned, to one rounding."""
    made = cosines(np.arange(64.0).reshape(2, 32) / 64, 2.0)
    pinned = [[-102, -124, -114, 120, -127, 9, 47, 124], [73, -11, 8, 127, -39, 91, -104, 22]]
    assert np.abs(made[:, :8].astype(int) - np.array(pinned)).max() <= 1
