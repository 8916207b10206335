"""Making the drift profile of reference rows in two streaming passes."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from gyre_crds.contracts.payload import PayloadColumn
from gyre_crds.contracts.profile import (
    CATEGORIES,
    EDGES,
    Calibration,
    CategoryProfile,
    ColumnProfile,
    MetricProfile,
    NumberProfile,
    Profile,
    Uncertainty,
    VectorProfile,
)
from gyre_crds.v1alpha1.common import Contract
from gyre_monitoring.counting import CategoryCounter, ColumnCounter, NumberCounter
from gyre_monitoring.errors import InputError
from gyre_monitoring.losses import LossLedger
from gyre_monitoring.metrics import HIGHER_IS_BETTER, REGRESSION, Outcomes, evaluate, row_losses
from gyre_monitoring.outcomes import outcomes, positive_class
from gyre_monitoring.samples import MOST
from gyre_monitoring.sketch import quantiles
from gyre_monitoring.stats.mmd import bandwidth, cosines
from gyre_monitoring.uncertainty import NAME, UncertaintyCounter
from gyre_monitoring.values import Counts, Floats

Tables = Callable[[], Iterable[pa.Table]]
"""Starts a new pass over the rows."""

OURS = "gyre_"
"""Prefix of columns that Gyre adds itself."""
_SCORE_BINS = 20
_TEXT_SHARE = 0.5
_SAMPLES = 6000  # rows of all columns together: at 64 bytes each, base64, half a megabyte
_LEAST_SAMPLE = 60
_TEXT_ROWS = 50
_OUTCOME = (PayloadColumn.PREDICTION.value, PayloadColumn.SCORE.value)


def feature_names(names: Iterable[str], contract: Contract) -> list[str]:
    """The columns that are the model's input, in order."""
    if contract.features:
        return list(contract.features)
    known = {contract.key, contract.time, contract.label.column, PayloadColumn.PREDICTION, PayloadColumn.SCORE}
    return [name for name in names if name not in known and not name.startswith(OURS)]


def build(tables: Tables, contract: Contract, *, categorical: frozenset[str] = frozenset()) -> Profile:
    """The profile of reference rows; the order of the rows does not matter.

    Args:
        tables: starts a pass over the rows; it is called twice.
        contract: which columns are features, label, key and time.
        categorical: columns of codes that look like numbers.

    Raises:
        InputError: no row, no feature, or a column that holds two types.
    """
    unsure = UncertaintyCounter()
    counters, labelled, rows = _count(tables(), contract, categorical, unsure)
    if not rows:
        raise InputError("the reference holds no row: train with held-out rows or name another reference",
                         reason="NoReference")  # fmt: skip
    sampled = sample_rows(len(counters))
    profiles = {name: column_profile(counter, sampled) for name, counter in counters.items()}
    positive = positive_class(labelled)
    results, keep = outcomes(labelled, contract.label.column, contract.objective.metric, positive)
    if keep.any():
        profiles = _with_losses(tables(), profiles, contract, positive)
    features = feature_names(profiles, contract)
    return Profile(
        rows=rows,
        task="Regression" if contract.objective.metric in REGRESSION else "Classification",
        columns=[profiles[name] for name in features],
        prediction=profiles.get(PayloadColumn.PREDICTION),
        score=profiles.get(PayloadColumn.SCORE),
        label=profiles.get(contract.label.column),
        positive=positive,
        calibration=calibration(results),
        uncertainty=_uncertainty(unsure) if _classifies(contract) else None,
        performance=list(_performance(results)),
    )


def digest(profile: Profile) -> str:
    """Identity of a profile's content."""
    return "sha256:" + hashlib.sha256(encoded(profile)).hexdigest()


def encoded(profile: Profile) -> bytes:
    """The profile as it stands in the store."""
    return json.dumps(profile.dump(), separators=(",", ":"), allow_nan=False).encode()


def sample_rows(columns: int) -> int:
    """Rows that are kept of each text or vector, so that a profile of 100 such columns stays below a megabyte."""
    return max(min(MOST, _SAMPLES // max(columns, 1)), _LEAST_SAMPLE)


def column_profile(counter: ColumnCounter, sampled: int = MOST) -> ColumnProfile:
    """What was counted, as the kind it turned out to be; of texts and vectors so many rows are kept.

    Raises:
        InputError: the column holds two types, or one that cannot be compared.
    """
    if counter.conflict or counter.type == "other":
        raise InputError(
            f"reference column {counter.name} holds objects, lists of texts or a mix of types: give each column one "
            "numeric, text, time or vector (list of numbers) type, or leave it out of contract.features",
            reason="NoReference",
        )
    if counter.type == "vector":
        return _vector_column(counter, sampled)
    number, category = counter.number, counter.category
    base = {"name": counter.name, "rows": number.rows, "missing": number.missing, "infinite": number.infinite}
    if counter.type == "string" and _is_text(category):
        vector = vector_profile(counter.texts.matrix()[:sampled])
        return ColumnProfile(**base, kind="Text", type="string", number=number_profile(number), vector=vector)
    if counter.type == "string" or (counter.categorical and not category.overflow):
        kind = "string" if counter.type == "string" else "number"
        return ColumnProfile(**base, kind="Category", type=kind, category=_category_profile(category))
    kind = "time" if counter.type == "time" else "number"
    return ColumnProfile(**base, kind="Number", type=kind, number=number_profile(number))


def _vector_column(counter: ColumnCounter, sampled: int) -> ColumnProfile:
    found = counter.vectors
    if not found.wrong and found.dimension != 0 and found.missing == found.rows:
        raise InputError(
            f"reference column {counter.name} holds no vector at all: leave it out of contract.features",
            reason="NoReference",
        )
    if found.wrong or not found.dimension:
        lengths = ", ".join(map(str, sorted({*found.wrong, found.dimension or 0})[:5]))
        raise InputError(
            f"reference column {counter.name} holds lists of different lengths ({lengths}): an embedding needs as many "
            "numbers in every row, at least one; pad it, or leave the column out of contract.features",
            reason="NoReference",
        )
    vector = vector_profile(found.matrix()[:sampled])
    base = {"name": counter.name, "rows": found.rows, "missing": found.missing}
    return ColumnProfile(**base, kind="Vector", type="vector", vector=vector)


def vector_profile(vectors: Floats) -> VectorProfile:
    """A sample of vectors, (rows, dimension), as their random features."""
    width = bandwidth(vectors)
    sample = base64.b64encode(cosines(vectors, width).tobytes()).decode()
    return VectorProfile(dimension=vectors.shape[1], bandwidth=width, rows=vectors.shape[0], sample=sample)


def number_profile(counter: NumberCounter) -> NumberProfile:
    """Quantile edges with their counts; every value its own bin where there are few."""
    values, counts = counter.sketch.cells()
    if not values.size:
        return NumberProfile()
    exact = counter.sketch.exact and values.size <= EDGES
    edges = values if exact else _edges(values, counts)
    total = np.concatenate(([0], np.cumsum(counts)))
    upto = total[np.searchsorted(values, edges, side="right")]
    mean, std = moments(values, counts)
    return NumberProfile(
        edges=edges.tolist(),
        counts=np.diff(upto, prepend=0).tolist(),
        min=float(values[0]),
        max=float(values[-1]),
        mean=mean,
        std=std,
        exact=exact,
        integral=bool(counter.sketch.exact and (values == np.round(values)).all()),
    )


def moments(values: Floats, counts: Counts) -> tuple[float, float]:
    """Mean and standard deviation; scaled first, because squares of large floats are no floats."""
    scale = float(np.abs(values).max()) or 1.0
    small = values / scale
    mean = float(np.average(small, weights=counts))
    return mean * scale, float(np.sqrt(np.average((small - mean) ** 2, weights=counts))) * scale


def calibration(results: Outcomes) -> Calibration | None:
    """Observed share of the positive class in score bins of equal size; None without scores and labels."""
    if results.score is None or results.positive is None or not results.score.size:
        return None
    edges = np.unique(np.quantile(results.score, np.linspace(0, 1, _SCORE_BINS + 1)[1:], method="higher"))
    index = score_bins(results.score, edges)
    rows = np.bincount(index, minlength=edges.size)
    positives = np.bincount(index, weights=results.positive, minlength=edges.size)
    return Calibration(edges=edges.tolist(), rows=rows.tolist(), positives=positives.astype(int).tolist())


def score_bins(score: Floats, edges: Floats) -> Counts:
    """Index of each score's calibration bin."""
    return np.minimum(np.searchsorted(edges, score, side="left"), edges.size - 1)


def _count(
    tables: Iterable[pa.Table], contract: Contract, categorical: frozenset[str], unsure: UncertaintyCounter,
) -> tuple[dict[str, ColumnCounter], pa.Table, int]:  # fmt: skip
    counters: dict[str, ColumnCounter] = {}
    kept: list[pa.Table] = []
    rows = 0
    codes = {PayloadColumn.PREDICTION, contract.label.column} if _classifies(contract) else set()
    for table in tables:
        wanted = _wanted(table.column_names, contract)
        for name in wanted:
            if name not in counters:
                counters[name] = ColumnCounter(name, categorical=name in categorical or name in codes)
                counters[name].add(pa.nulls(rows))
            counters[name].add(table[name].combine_chunks())
        for name in counters.keys() - set(wanted):
            counters[name].add(pa.nulls(table.num_rows))
        rows += table.num_rows
        unsure.add(table)
        if contract.label.column in table.column_names:
            kept.append(table.select([name for name in _OUTCOME if name in wanted] + [contract.label.column]))
    missing = [name for name in contract.features if name not in counters]
    if rows and (missing or not feature_names(counters, contract)):
        named = ", ".join(missing) or "any feature column"
        raise InputError(f"the reference lacks {named}: contract.features must name its columns", reason="NoReference")
    return counters, pa.concat_tables(kept, promote_options="permissive") if kept else pa.table({}), rows


def _with_losses(
    tables: Iterable[pa.Table], profiles: dict[str, ColumnProfile], contract: Contract, positive: str | None,
) -> dict[str, ColumnProfile]:  # fmt: skip
    ledger = LossLedger(profiles)
    for table in tables:
        results, keep = outcomes(table, contract.label.column, contract.objective.metric, positive)
        losses = row_losses(results)
        if losses is not None:
            ledger.add(table, losses, keep)
    return ledger.profiles()


def _wanted(names: list[str], contract: Contract) -> list[str]:
    extra = [*_OUTCOME, contract.label.column]
    features = [name for name in feature_names(names, contract) if name in names]
    return features + [name for name in extra if name in names and name not in features]


def _uncertainty(counter: UncertaintyCounter) -> Uncertainty | None:
    number = counter.number
    if not counter.probabilities or not number.sketch.rows:
        return None
    counted = {"rows": number.rows, "missing": number.missing}
    entropy = ColumnProfile(name=NAME, kind="Number", type="number", number=number_profile(number), **counted)
    return Uncertainty(entropy=entropy, unsure=counter.unsure)


def _classifies(contract: Contract) -> bool:
    return contract.objective.metric not in REGRESSION


def _performance(results: Outcomes) -> Iterator[MetricProfile]:
    for metric in HIGHER_IS_BETTER:
        estimate = evaluate(metric, results)
        if estimate is not None:
            yield MetricProfile(metric=metric, **estimate._asdict())


def _is_text(category: CategoryCounter) -> bool:
    distinct = len(category.counts)
    valid = category.rows - category.missing
    return category.overflow or (valid >= _TEXT_ROWS and distinct > _TEXT_SHARE * valid)


def _category_profile(category: CategoryCounter) -> CategoryProfile:
    ranked = category.ranked()
    named = ranked[:CATEGORIES]
    return CategoryProfile(
        values=[name for name, _ in named],
        counts=[count for _, count in named],
        other=sum(count for _, count in ranked[CATEGORIES:]),
    )


def _edges(values: Floats, counts: Counts) -> Floats:
    shares = np.arange(1, EDGES + 1) / EDGES
    return np.unique(quantiles(values, counts, shares))
