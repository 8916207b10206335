"""The champion's gate: which candidates pass, and which rows judge them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from gyre_pipelines.objects import Store
from gyre_pipelines.tables import rfc3339
from tests.pipelines.support.attempts import CONTRACT
from tests.pipelines.support.gating import LATER, ask, fitted, graph_of, holdout, version
from tests.pipelines.test_feedback import feedback, payload


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
