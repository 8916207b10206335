"""Champion: better than the champion on identical labelled rows that neither of them trained on.

Rows count only if they are later than both trainings' cut-off, so neither can have seen them or
their neighbours in time.
"""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gyre_crds.base import seconds
from gyre_crds.contracts import golden
from gyre_crds.contracts.task import Candidate, GateOrder, GateReport
from gyre_crds.reasons import Version
from gyre_crds.v1alpha1.common import Contract
from gyre_pipelines import metrics, reference
from gyre_pipelines.clock import now
from gyre_pipelines.failure import Failure
from gyre_pipelines.gates.base import Bench, Loaded, NotAGraphError, refused
from gyre_pipelines.gates.paired import LEAST_ROWS, Gain, gain
from gyre_pipelines.metrics import Answers
from gyre_pipelines.onnx_model import RowsFailError, failing_rows
from gyre_pipelines.payloads import Window, labelled_rows, time_column
from gyre_pipelines.predictions import guessed_classes
from gyre_pipelines.tables import TIME_TYPE, instant, plain, spelled_column, utc

_LOG_BACK = 30 * 86400.0
"""How far back the service's log is read."""


def evaluate(order: GateOrder, bench: Bench) -> GateReport:
    """Compare candidate and champion on later rows."""
    if order.champion is None:
        return GateReport(state="Passed", reason=Version.NO_CHAMPION, message="there is no champion to compare with")
    try:
        candidate, champion = bench.load(order.candidate), bench.load(order.champion)
    except Failure as failure:
        return refused(failure)
    except NotAGraphError as error:
        message = f"{error}, so the two cannot be compared offline; leave model.onnx too, or gate by approval"
        return GateReport(state="Unknown", reason=Version.GATE_UNKNOWN, message=message)
    features = _features(candidate)
    rows = later_rows(order, bench, order.champion, features)
    count = rows.num_rows if rows is not None else 0
    if rows is None or count < LEAST_ROWS:
        message = f"{count} labelled rows are later than both trainings, {LEAST_ROWS} are needed; {_cure(order)}"
        return GateReport(state="Unknown", reason=Version.GATE_UNKNOWN, message=message, rows=count)
    return _compare(order, (order.candidate, candidate), (order.champion, champion), rows)


def later_rows(order: GateOrder, bench: Bench, champion: Candidate, features: Sequence[str]) -> pa.Table | None:
    """Labelled rows later than both cut-offs, each key once with its latest row; None without any."""
    contract = order.contract
    # Labels that a decision revealed favour the version that decided: only rows that a lot chose compare two.
    drawn = _drawn(order)
    parts = [_read(bench, uri) for uri in (order.candidate.holdout, champion.holdout) if uri and not drawn]
    if order.service:
        broken = tuple((instant(span.start), instant(span.end)) for span in order.excluded)
        window = Window(now(), _LOG_BACK, seconds(contract.label.maturity), broken, drawn)
        logged = labelled_rows(bench.store, order.service, contract, window)
        parts += [logged] if logged.num_rows else []
    table = reference.shaped([part for part in parts if part is not None], contract, features)
    if table is None:
        return None
    cut_offs = [instant(text) for text in (order.candidate.cut_off, champion.cut_off) if text]
    if cut_offs:
        times = utc(table.column(time_column(contract)))
        table = table.filter(pc.fill_null(pc.greater(times, pa.scalar(max(cut_offs), TIME_TYPE)), fill_value=False))
    return _once(table, contract)


def _drawn(order: GateOrder) -> bool:
    return order.contract.label.observed == "DependsOnDecision"


def _cure(order: GateOrder) -> str:
    if _drawn(order):
        return "labels depend on decisions, so only rows marked gyre_label_sample count: raise payloads.labelSample"
    return "wait for labels or raise holdout of the data source with `from`"


def _read(bench: Bench, uri: str) -> pa.Table | None:
    path = bench.store.path_of(uri)
    data = bench.store.find(path) if path else None
    return pq.read_table(io.BytesIO(data)) if data is not None else None


def _once(table: pa.Table, contract: Contract) -> pa.Table:
    ordered = table.sort_by([(time_column(contract), "ascending")])
    latest = {key: row for row, key in enumerate(spelled_column(ordered, contract.key))}
    return ordered.take(pa.array(sorted(latest.values()), pa.int64()))


def _features(loaded: Loaded) -> list[str]:
    tensors = loaded.signature.inputs
    return tensors[0].columns if len(tensors) == 1 and tensors[0].columns else [tensor.name for tensor in tensors]


def _compare(
    order: GateOrder, one: tuple[Candidate, Loaded], other: tuple[Candidate, Loaded], rows: pa.Table
) -> GateReport:
    objective = order.contract.objective
    given = []
    for version, loaded in (one, other):
        answer = _ask(loaded, rows, order.contract)
        if isinstance(answer, str):
            return _broken(version, answer, rows.num_rows, failed=version is order.candidate)
        given.append(answer)
    missing = objective.metric in metrics.NEED_SCORES and not all(metrics.has_scores(answer) for answer in given)
    if missing:
        message = f"{objective.metric} needs class scores, which one of the two versions does not give"
        return GateReport(state="Unknown", reason=Version.GATE_UNKNOWN, message=message, rows=rows.num_rows)
    return _verdict(order, gain(objective.metric, given[0], given[1]), rows.num_rows)


def _ask(loaded: Loaded, rows: pa.Table, contract: Contract) -> Answers | str:
    columns = _features(loaded)
    lacking = [name for name in columns if name not in rows.column_names]
    if lacking:
        return f"the labelled rows lack its column {', '.join(lacking)}"
    values = [[plain(value) for value in rows.column(name).to_pylist()] for name in columns]
    asked = golden.Rows(columns=columns, values=values)
    try:
        said = loaded.model.predict(asked, loaded.signature)
    except RowsFailError as error:
        failing = failing_rows(loaded.model, asked, loaded.signature)
        return f"it fails on {len(failing)} of {rows.num_rows} rows: {error}"
    classes = loaded.golden.predictions.classes if loaded.golden else []
    truth = rows.column(contract.label.column).to_pylist()
    return metrics.answers(truth, said.labels, said.scores, classes or guessed_classes(said))


def _broken(version: Candidate, why: str, rows: int, *, failed: bool) -> GateReport:
    return GateReport(
        state="Failed" if failed else "Unknown",
        reason=Version.GATE_FAILED if failed else Version.GATE_UNKNOWN,
        message=f"{version.name}: {why}",
        rows=rows,
    )


def _verdict(order: GateOrder, found: Gain, rows: int) -> GateReport:
    metric, least = order.contract.objective.metric, order.contract.objective.min_gain
    told = (
        f"{metric} {found.candidate:.4g} against {found.champion:.4g} of the champion on {rows} identical later rows: "
        f"gain {found.value:+.4g}, with 95 % confidence at least {found.lower:+.4g} and at most {found.upper:+.4g}, "
        f"asked for: at least {least:g}"
    )
    numbers = {
        "candidate": found.candidate,
        "champion": found.champion,
        "gain": found.value,
        "lower": found.lower,
        "upper": found.upper,
    }
    if found.lower >= least:
        state, reason, why = "Passed", Version.PASSED, ""
    elif found.upper < least:
        state, reason, why = "Failed", Version.GATE_FAILED, "; the champion stays"
    else:
        state, reason, why = "Unknown", Version.GATE_UNKNOWN, "; too few rows to tell, which is never a pass"
    return GateReport.model_validate({
        "state": state, "reason": reason, "message": told + why, "value": found.lower, "bound": least, "rows": rows,
        "numbers": {name: value for name, value in numbers.items() if abs(value) != float("inf")},
    })  # fmt: skip
