"""What labels prove when they come late, come first for failures, or come for a slice that a lot chose unevenly."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.profile import Profile
from gyre_crds.v1alpha1.common import Contract, LabelContract
from gyre_monitoring.labels import Labelled, cohort, from_store, from_table
from gyre_monitoring.parts import Parts, local
from gyre_monitoring.profile import build
from tests.monitoring.support.looks import HOUR, START, look, monitor

ALL = Contract(key="id", label=LabelContract(column="truth"), features=["x"])
SOME = ALL.model_copy(update={"label": LabelContract(column="truth", observed="DependsOnDecision")})
STAMP = pa.timestamp("us", "UTC")
HOURS = 48


def loans(rows: int, seed: int, *, turned: float = 0.0) -> pa.Table:
    """Applicants, the model's approval (1), and whether they pay back; some of the truths turned."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=rows)
    score = 1 / (1 + np.exp(-2 * x - 0.5))
    truth = (generator.random(rows) < score) ^ (generator.random(rows) < turned)
    made = {"id": np.arange(rows), "x": x, "score": score, "prediction": (score >= 0.5).astype(int)}
    return pa.table({**made, "truth": truth.astype(int)})


@pytest.fixture(scope="module")
def profile() -> Profile:
    """The profile of 5,000 labelled applicants."""
    return build(lambda: [loans(5000, 0)], ALL)


def part(table: pa.Table, path: Path) -> Parts:
    """A table as one Parquet part."""
    pq.write_table(table, path)
    return local([path])


def arrived(folder: Path, seed: int, turned: float, maturity: str) -> tuple[pa.Table, Labelled]:
    """Two days of loans and the labels that are there at `START`: failures within the hour, repayments within a day."""
    rows = loans(6000, seed, turned=turned)
    generator = np.random.default_rng(seed)
    ages = np.linspace(HOURS, 0, rows.num_rows, endpoint=False)
    failed = np.asarray(rows["truth"]) != np.asarray(rows["prediction"])
    delays = np.where(failed, generator.uniform(0, 1, rows.num_rows), generator.uniform(0, 24, rows.num_rows))
    times = [START - HOUR * float(age) for age in ages]
    told = [at + HOUR * float(delay) for at, delay in zip(times, delays, strict=True)]
    ids = pa.array([f"r{k}" for k in range(rows.num_rows)])
    zeros = np.zeros(rows.num_rows, dtype=int)
    served = rows.drop_columns("truth").append_column("gyre_time", pa.array(times, STAMP))
    served = served.append_column("gyre_request_id", ids).append_column("gyre_row", pa.array(zeros))
    feedback = pa.table({"gyre_request_id": ids, "gyre_row": zeros, "label": rows["truth"],
                         "gyre_label_time": pa.array(told, STAMP)})  # fmt: skip
    contract = ALL.model_copy(update={"label": LabelContract(column="truth", maturity=maturity)})
    span = cohort(monitor(window={"labelsBack": "2d"}), contract, START)
    found = from_store(
        part(served, folder / "rows.parquet"),
        part(feedback, folder / "labels.parquet"),
        span,
        end=START,
        revisions=[],
        features=["x"],
    )
    assert found is not None
    return served, found


def proven(profile: Profile, folder: Path, seed: int, turned: float, maturity: str) -> bool:
    """Whether the labels of two days prove a loss."""
    served, labelled = arrived(folder, seed, turned, maturity)
    evidence, _ = look(served.slice(4500), profile=profile, contract=ALL, spec=monitor(features=[]), labelled=labelled)
    assert evidence.performance is not None
    return evidence.performance.proven


def test_failures_that_are_told_first_prove_nothing_of_mature_rows(profile: Profile, tmp_path: Path) -> None:
    """Thirty healthy worlds in which errors are known within the hour and hits within a day: none proves a loss.

    Without a maturity the same labels prove one every time: rows that are compared had not the same time to be judged.
    """
    assert not any(proven(profile, tmp_path, seed, 0.0, "1d") for seed in range(30))
    assert all(proven(profile, tmp_path, seed, 0.0, "0s") for seed in range(5))


def test_mature_labels_still_prove_a_changed_concept(profile: Profile, tmp_path: Path) -> None:
    """With the same delays and a fifth of the truths turned, ten of ten worlds do."""
    assert all(proven(profile, tmp_path, seed, 0.2, "1d") for seed in range(10))


def sliced(seed: int, turned: float) -> tuple[pa.Table, pa.Table]:
    """Rows that a lot chose for another revision, hard ones nine times as often, and their truths."""
    whole = loans(20_000, seed, turned=turned)
    hard = np.abs(np.asarray(whole["x"])) < 0.7
    chance = np.where(hard, 0.9, 0.1)
    drawn = np.random.default_rng(seed).random(whole.num_rows) < chance
    rows = whole.append_column("gyre_propensity", pa.array(chance))
    rows = rows.append_column("gyre_label_sample", pa.array(np.zeros(whole.num_rows, dtype=bool))).filter(
        pa.array(drawn)
    )
    return rows.drop_columns("truth"), rows.select(["id", "truth"])


@pytest.mark.parametrize(
    ("turned", "weighed", "plain"),
    [
        pytest.param(0.0, 0, 10, id="nothing changed: only rows that weigh alike prove a loss that is none"),
        pytest.param(0.15, 10, 10, id="the concept changed: propensities prove it too"),
    ],
)
def test_propensities_decide_what_a_slice_proves(profile: Profile, turned: float, weighed: int, plain: int) -> None:
    """Ten worlds each in which the slice holds mostly hard rows."""
    counts = {SOME.label.observed: 0, ALL.label.observed: 0}
    for seed in range(10):
        rows, truth = sliced(seed, turned)
        for contract in (SOME, ALL):
            labelled = from_table([rows], truth, contract)
            spec = monitor(features=[])
            evidence, _ = look(rows, profile=profile, contract=contract, spec=spec, labelled=labelled)
            assert evidence.performance is not None
            counts[contract.label.observed] += evidence.performance.proven
    assert counts == {SOME.label.observed: weighed, ALL.label.observed: plain}


def test_loans_that_were_refused_hide_nothing_that_could_be_proven(profile: Profile) -> None:
    """Labels for approved loans alone, thresholds that drift: thirty worlds without a proof, each with the cure."""
    for seed in range(30):
        rows = loans(3000, seed + 500, turned=0.25 * (seed % 2))
        known = np.asarray(rows["prediction"]) == 1
        labelled = from_table([rows.drop_columns("truth")], rows.select(["id", "truth"]).filter(pa.array(known)), SOME)
        spec = monitor(features=[])
        evidence, finding = look(
            rows.drop_columns("truth"), profile=profile, contract=SOME, spec=spec, labelled=labelled
        )
        assert finding.verdict == "Healthy"
        assert evidence.performance is None
        assert any("send labels for the rows marked gyre_label_sample" in note for note in evidence.notes)
