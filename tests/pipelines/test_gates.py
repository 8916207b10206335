"""Gates on real versions: what passes, what is refused, and how often chance alone passes."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from skl2onnx import to_onnx  # type: ignore[import-untyped]
from skl2onnx.common.data_types import FloatTensorType  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from gyre_crds.contracts import artifact as contract_artifact
from gyre_crds.contracts.golden import GoldenRows, Predictions, Rows
from gyre_crds.contracts.task import GateOrder, GateReport, VerifyOrder
from gyre_pipelines import gates, trees, verify
from gyre_pipelines.gates.paired import gain
from gyre_pipelines.metrics import Answers, answers, distances
from gyre_pipelines.objects import Store
from gyre_pipelines.onnx_model import OnnxModel
from gyre_pipelines.tables import TIME_TYPE, rfc3339
from tests.pipelines.support.attempts import CONTRACT, table
from tests.pipelines.test_feedback import feedback, payload

FEATURES = ["a", "b", "c"]
LATER = datetime(2026, 1, 1, tzinfo=UTC)


def fitted(noise: float = 0.0, seed: int = 0) -> Any:
    """A logistic regression; noise spoils its labels."""
    rows = table(1500, seed=seed)
    x = np.column_stack([rows[name] for name in FEATURES])
    flip = np.random.default_rng(seed).random(1500) < noise
    return LogisticRegression().fit(x, rows["y"].to_numpy() ^ flip)


def graph_of(model: Any) -> Any:
    """Its ONNX."""
    return to_onnx(model, initial_types=[("input", FloatTensorType([None, 3]))], options={"zipmap": False})


def version(store: Store, folder: Path, name: str, model: Any, graph: Any = None, *, rows: int = 64) -> dict[str, Any]:
    """A stored version of a native model and a graph; the graph is the model's own unless given."""
    place = folder / name
    place.mkdir()
    (place / "model.onnx").write_bytes((graph or graph_of(model)).SerializeToString())
    signature = OnnxModel(place / "model.onnx").signature(FEATURES)
    x = np.column_stack([table(64, seed=5)[column] for column in FEATURES])
    contents: dict[str, Any] = {contract_artifact.SIGNATURE: signature}
    if rows:
        said = Predictions(labels=model.predict(x).tolist(), scores=model.predict_proba(x).tolist(), classes=[0, 1])
        contents[contract_artifact.GOLDEN] = GoldenRows(
            rows=Rows(columns=FEATURES, values=x.T.tolist()), predictions=said
        )
    tree = trees.build(place / "tree", {"model.onnx": place / "model.onnx"}, contents)
    return {"name": name, "uri": trees.copy(store, place / "tree", tree), "digest": tree.tree_digest,
            "cutOff": "2020-01-01T00:00:00Z"}  # fmt: skip


@pytest.fixture
def store(directory_environment: dict[str, str]) -> Store:
    """An empty store."""
    return Store.of(directory_environment)


def ask(environment: dict[str, str], **order: Any) -> GateReport:
    """Run a gate."""
    return gates.run(GateOrder.model_validate({"gate": "g", "contract": CONTRACT, **order}), environment)


def holdout(store: Store, name: str, count: int, start: datetime = LATER, seed: int = 9) -> str:
    """Labelled rows, one a minute from `start`."""
    rows = table(count, seed=seed)
    times = pa.array([start + timedelta(minutes=index) for index in range(count)], TIME_TYPE)
    sink = io.BytesIO()
    pq.write_table(rows.set_column(rows.column_names.index("time"), "time", times), sink)
    return store.write(f"{name}.parquet", sink.getvalue())


@pytest.mark.parametrize(
    ("order", "state", "reason", "sentence"),
    [
        ({"min": 0.8}, "Passed", "Passed", "accuracy is 0.82, at least 0.8 is asked for"),
        ({"min": 0.9}, "Failed", "GateFailed", "accuracy is 0.82, at least 0.9 is asked for"),
        ({"max": 0.5}, "Failed", "GateFailed", "accuracy is 0.82, at most 0.5 is asked for"),
        (
            {"min": 0.1, "metric": "auc"},
            "Failed",
            "MetricMissing",
            "the run has no metric 'auc' (it has accuracy; what is NaN or infinite counts as none); log it",
        ),
    ],
    ids=["reached", "below the least", "above the most", "not logged"],
)
def test_a_metric_is_held_against_its_bounds(
    directory_environment: dict[str, str], order: dict[str, Any], state: str, reason: str, sentence: str
) -> None:
    """Value, bound and cure stand in the sentence."""
    candidate = {"name": "v", "uri": "file:///x", "digest": "sha256:" + "0" * 64}
    report = ask(directory_environment, type="Metric", candidate=candidate,
                 logged={"accuracy": 0.82}, **{"metric": "accuracy", **order})  # fmt: skip
    assert (report.state, report.reason) == (state, reason)
    assert sentence in report.message


def test_a_faithful_export_passes(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """The graph repeats the native model's words on all 64 rows."""
    report = ask(directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", fitted()))
    assert (report.state, report.rows) == ("Passed", 64)
    assert report.value is not None
    assert report.value < 1e-5


def test_an_export_of_another_model_is_refused_with_the_numbers(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """A graph that loads and runs and says something else does not pass."""
    model = fitted()
    other = LogisticRegression().fit(-np.asarray(np.column_stack([table()[name] for name in FEATURES])), table()["y"])
    report = ask(
        directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", model, graph_of(other))
    )
    assert (report.state, report.reason) == ("Failed", "GoldenRowsDiffer")
    assert report.numbers["labelsDiffer"] > 50
    assert "the exported graph is not the trained model" in report.message


def test_a_small_difference_of_scores_is_refused_too(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Labels alike and scores a thousandth apart is still another model."""
    model, other = fitted(), fitted()
    other.intercept_ = other.intercept_ + 0.004
    report = ask(
        directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", model, graph_of(other))
    )
    assert (report.state, report.numbers["labelsDiffer"]) == ("Failed", 0)


def test_a_version_without_golden_rows_is_unknown(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """No proof is no pass, and the sentence says how to get one."""
    report = ask(directory_environment, type="GoldenRows", candidate=version(store, tmp_path, "v", fitted(), rows=0))
    assert (report.state, report.reason) == ("Unknown", "GateUnknown")
    assert "leave the native model" in report.message


def test_an_mlflow_model_is_its_own_proof(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Nothing was exported, and no user's code runs in a gate: passed, with the reason."""
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    tree = trees.build(tmp_path / "tree", {"model/MLmodel": tmp_path / "MLmodel"}, {})
    candidate = {"name": "v", "uri": trees.copy(store, tmp_path / "tree", tree), "digest": tree.tree_digest}
    report = ask(directory_environment, type="GoldenRows", candidate=candidate)
    assert report.state == "Passed"
    assert "no ONNX graph but code, which never runs beside a credential of Gyre" in report.message
    assert ask(directory_environment, type="Champion", candidate=candidate, champion=candidate).state == "Unknown"


def test_tampered_bytes_fail_the_gate(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """A gate never judges other bytes than the version's."""
    candidate = version(store, tmp_path, "v", fitted())
    prefix = candidate["uri"].removeprefix(store.uri + "/")
    store.write(f"{prefix}/model.onnx", graph_of(fitted(seed=3)).SerializeToString())
    report = ask(directory_environment, type="GoldenRows", candidate=candidate)
    assert (report.state, report.reason) == ("Failed", "DigestMismatch")
    assert "model.onnx has sha256" in report.message


def test_a_better_candidate_passes(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """On identical later rows the lower bound of the gain is above zero."""
    good, bad = version(store, tmp_path, "good", fitted()), version(store, tmp_path, "bad", -_reversed())
    good["holdout"] = holdout(store, "h", 1000)
    report = ask(directory_environment, type="Champion", candidate=good, champion=bad)
    assert (report.state, report.rows) == ("Passed", 1000)
    assert report.numbers["lower"] > 0.3
    assert report.numbers["lower"] < report.numbers["gain"] < report.numbers["upper"]


class _reversed:  # noqa: N801  reads as what it is: `-_reversed()`
    """A model that says the opposite."""

    def __neg__(self) -> Any:
        model = fitted()
        model.coef_ = -model.coef_
        return model


def test_a_worse_candidate_fails(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """The upper bound of the gain is below what is asked for, so the champion stays."""
    good, bad = version(store, tmp_path, "good", fitted()), version(store, tmp_path, "bad", -_reversed())
    bad["holdout"] = holdout(store, "h", 1000)
    report = ask(directory_environment, type="Champion", candidate=bad, champion=good)
    assert (report.state, report.reason) == ("Failed", "GateFailed")
    assert "the champion stays" in report.message


def test_an_equal_candidate_passes_only_where_no_gain_is_asked_for(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """The champion against itself gains exactly nothing."""
    same = version(store, tmp_path, "same", fitted())
    same["holdout"] = holdout(store, "h", 400)
    assert ask(directory_environment, type="Champion", candidate=same, champion=same).state == "Passed"
    contract = {**CONTRACT, "objective": {"metric": "accuracy", "minGain": 0.01}}
    report = ask(directory_environment, type="Champion", candidate=same, champion=same, contract=contract)
    assert report.state == "Failed"


def test_few_rows_are_unknown(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Below 200 rows nothing is decided."""
    same = version(store, tmp_path, "same", fitted())
    same["holdout"] = holdout(store, "h", 199)
    report = ask(directory_environment, type="Champion", candidate=same, champion=same)
    assert (report.state, report.rows) == ("Unknown", 199)
    assert "199 labelled rows are later than both trainings, 200 are needed" in report.message


def test_rows_that_either_training_could_have_seen_do_not_count(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Only rows strictly later than both cut-offs are compared; a key counts once."""
    one, other = version(store, tmp_path, "one", fitted()), version(store, tmp_path, "other", fitted(0.3))
    one["holdout"] = holdout(store, "h", 500)
    other["holdout"] = holdout(store, "h2", 500)
    other["cutOff"] = rfc3339(LATER + timedelta(minutes=249))
    assert ask(directory_environment, type="Champion", candidate=one, champion=other).rows == 250
    one["cutOff"] = rfc3339(LATER + timedelta(minutes=399))
    assert ask(directory_environment, type="Champion", candidate=one, champion=other).rows == 100


def test_labels_that_decisions_revealed_do_not_judge(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Held-out rows were labelled by what a version decided: of all rows only those marked by lot compare two."""
    same = version(store, tmp_path, "same", fitted())
    same["holdout"] = holdout(store, "h", 1000)
    now = datetime.now(UTC).replace(microsecond=0)
    times = [now - timedelta(seconds=600 - index) for index in range(600)]
    payload(store, times)
    feedback(store, times, [float(index % 2) for index in range(600)])
    contract = {**CONTRACT, "label": {**CONTRACT["label"], "observed": "DependsOnDecision"}}
    order = {"type": "Champion", "candidate": same, "champion": same, "contract": contract}

    assert ask(directory_environment, **order, service="svc").rows == 300
    report = ask(directory_environment, **order)
    assert (report.state, report.rows) == ("Unknown", 0)
    assert report.message.endswith("raise payloads.labelSample")


def test_rows_of_broken_windows_do_not_count(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Of the service's log, rows inside an excluded window are left out of the comparison."""
    same = version(store, tmp_path, "same", fitted())
    now = datetime.now(UTC).replace(microsecond=0)
    times = [now - timedelta(seconds=600 - index) for index in range(600)]
    payload(store, times)
    feedback(store, times, [float(index % 2) for index in range(600)])
    broken = {"start": rfc3339(times[100]), "end": rfc3339(times[300])}
    order = {"type": "Champion", "candidate": same, "champion": same, "service": "svc"}

    assert ask(directory_environment, **order).rows == 600
    assert ask(directory_environment, **order, excluded=[broken]).rows == 400


def test_without_a_champion_there_is_nothing_to_beat(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """The first version passes, with the reason."""
    report = ask(directory_environment, type="Champion", candidate=version(store, tmp_path, "v", fitted()))
    assert (report.state, report.reason) == ("Passed", "NoChampion")


def test_a_candidate_that_fails_on_rows_fails_the_gate(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Rows on which the graph raises are counted and told, not skipped."""
    candidate = version(store, tmp_path, "v", fitted(), _choosy(graph_of(fitted())))
    champion = version(store, tmp_path, "champion", fitted(0.3))
    candidate["holdout"] = holdout(store, "h", 300)
    report = ask(directory_environment, type="Champion", candidate=candidate, champion=champion)
    assert (report.state, report.reason) == ("Failed", "GateFailed")
    assert "v: it fails on " in report.message
    assert "of 300 rows" in report.message


def _choosy(graph: Any) -> Any:
    """The same graph behind a lookup that holds |a| below 1 only."""
    helper, name = onnx.helper, graph.graph.input[0].name
    for node in graph.graph.node:
        node.input[:] = ["checked" if each == name else each for each in node.input]
    for key, value in {"zero": [0], "one": [1]}.items():
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, dtype=np.int64), key))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, dtype=np.float32), "lookup"))
    front = [
        helper.make_node("Slice", [name, "zero", "one", "one"], ["first"]),
        helper.make_node("Abs", ["first"], ["size"]),
        helper.make_node("Cast", ["size"], ["index"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["lookup", "index"], ["nothing"]),
        helper.make_node("Add", [name, "nothing"], ["checked"]),
    ]
    nodes = [*front, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


def test_one_flipped_byte_is_named(store: Store, tmp_path: Path, directory_environment: dict[str, str]) -> None:
    """Verify reads every stored byte and names the first file that differs, or is missing, or was added."""
    made = version(store, tmp_path, "v", fitted())
    prefix = made["uri"].removeprefix(store.uri + "/")
    order = VerifyOrder(uri=made["uri"], digest=made["digest"])
    assert verify.run(order, directory_environment).verified
    good = store.read(f"{prefix}/model.onnx")
    store.write(f"{prefix}/model.onnx", good[:-1] + bytes([good[-1] ^ 1]))
    report = verify.run(order, directory_environment)
    assert (report.verified, "model.onnx has sha256" in report.message) == (False, True)
    store.write(f"{prefix}/model.onnx", good)
    store.write(f"{prefix}/extra.txt", b"x")
    assert "extra.txt was added" in verify.run(order, directory_environment).message
    store.delete(f"{prefix}/extra.txt")
    store.delete(f"{prefix}/gyre/golden.json")
    assert "gyre/golden.json is missing" in verify.run(order, directory_environment).message


def test_a_rewritten_manifest_does_not_help(
    store: Store, tmp_path: Path, directory_environment: dict[str, str]
) -> None:
    """Bytes and manifest changed together still have another digest than the version."""
    made, other = version(store, tmp_path, "v", fitted()), version(store, tmp_path, "w", fitted(seed=4))
    report = verify.run(VerifyOrder(uri=other["uri"], digest=made["digest"]), directory_environment)
    assert not report.verified
    assert f"the version {made['digest']}" in report.message
    store.delete(other["uri"].removeprefix(store.uri + "/") + "/gyre-manifest.json")
    lost = verify.run(VerifyOrder(uri=other["uri"], digest=other["digest"]), directory_environment)
    assert "the store lost the version" in lost.message


def said(generator: np.random.Generator, truth: np.ndarray[Any, Any], right: float) -> Answers:
    """Answers that are right with this chance."""
    labels = np.where(generator.random(len(truth)) < right, truth, 1 - truth)
    score = np.clip(0.5 + (labels - 0.5) * generator.uniform(0.2, 1.0, len(truth)), 0.01, 0.99)
    return answers(truth.tolist(), labels.tolist(), np.column_stack([1 - score, score]).tolist(), [0, 1])


@pytest.mark.parametrize(
    ("classes", "scores", "squares"),
    [
        pytest.param([0, 1], [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0.01, 0.81, 1.0], id="two classes"),
        pytest.param(
            [0, 1, 3], [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.9, 0.1, 0.0]], [0.02, 1.62, 1.82], id="three classes"
        ),
    ],
)
def test_brier_of_a_class_that_the_model_does_not_know(
    classes: list[int], scores: list[list[float]], squares: list[float]
) -> None:
    """Such a row is as wrong as can be: with two classes it counted as one of the first, mostly as right."""
    given = answers([0, 1, 2], [0, 0, 0], scores, classes)
    assert distances(given) == pytest.approx(squares)


@pytest.mark.parametrize(("metric", "runs"), [("accuracy", 1000), ("logLoss", 1000), ("brier", 1000), ("auc", 20)])
def test_chance_alone_rarely_passes(metric: str, runs: int) -> None:
    """Of candidates exactly as good as the champion about one in twenty has a lower bound above zero, not more."""
    generator = np.random.default_rng(7)
    passed = 0
    for _ in range(runs):
        truth = generator.integers(0, 2, 300)
        passed += gain(metric, said(generator, truth, 0.8), said(generator, truth, 0.8)).lower > 0
    assert passed / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_a_real_gain_is_found() -> None:
    """Three points of accuracy on 2,000 paired rows of which the two share most errors: found in most runs."""
    generator = np.random.default_rng(8)
    found = 0
    for _ in range(200):
        truth = generator.integers(0, 2, 2000)
        champion = said(generator, truth, 0.78)
        better = champion.labels.astype(int)
        repaired = (better != truth) & (generator.random(2000) < 0.15)
        candidate = replace(champion, labels=np.where(repaired, truth, better).astype(str))
        found += gain("accuracy", candidate, champion).lower > 0
    assert found / 200 > 0.95
