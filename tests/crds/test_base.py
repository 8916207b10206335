"""Scalars, rules, names and conditions."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gyre_crds import names
from gyre_crds.base import amount, parse, seconds
from gyre_crds.conditions import merge, summary
from gyre_crds.schema import crd
from gyre_crds.v1alpha1 import KINDS, DriftMonitor, InferenceService, Model, TrainingJob
from tests.crds.manifests import SPECS, manifest


@pytest.mark.parametrize(
    ("text", "wanted"), [("30s", 30), ("1h30m", 5400), ("250ms", 0.25), ("14d", 1209600), ("1m1s", 61)]
)
def test_a_duration_is_the_sum_of_its_parts(text: str, wanted: float) -> None:
    """Every unit counts, alone and combined."""
    assert seconds(text) == wanted


@pytest.mark.parametrize(("text", "wanted"), [("500m", 0.5), ("4Gi", 4 * 2**30), (2, 2), ("1.5Mi", 1.5 * 2**20)])
def test_a_quantity_is_a_plain_number(text: str | int, wanted: float) -> None:
    """Decimal and binary suffixes mean what Kubernetes means."""
    assert amount(text) == wanted


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_dumping_and_parsing_an_object_changes_nothing(kind: type[Model]) -> None:
    """The wire form of a parsed object parses to the same object."""
    once = parse(kind, manifest(kind.KIND, SPECS[kind.KIND]))

    assert parse(kind, once.dump()) == once


def test_kubectl_get_gyre_lists_what_is_wanted_and_no_history() -> None:
    """A hundred DriftReports once buried the five lines that say how things stand."""
    listed = {kind.KIND for kind in KINDS if crd(kind)["spec"]["names"].get("categories") == ["gyre"]}

    assert listed == {"Model", "TrainingJob", "ModelVersion", "InferenceService", "DriftMonitor"}


def test_a_bound_between_whole_numbers_is_said_as_it_is() -> None:
    """Who wrote falseAlarmRate: 5 was once told to stay at or below 0, as the API server cuts such a bound."""
    spec = crd(DriftMonitor)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    rate = spec["properties"]["falseAlarmRate"]

    assert rate["x-kubernetes-validations"] == [
        {"rule": "self <= 0.5", "message": "choose a number of at most 0.5"},
    ]
    assert "maximum" not in rate


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_columns_show_one_value(kind: type[Model]) -> None:
    """Of many values kubectl prints the first: at 10 % the column of all shares once said 90."""
    assert not [column.path for column in kind.COLUMNS if "[*]" in column.path]


def test_a_message_names_field_and_cure() -> None:
    """A broken union is answered with the sentence of its rule, at its place."""
    spec = {"model": "m", "image": "i", "command": ["c"], "data": [{"name": "d"}]}

    with pytest.raises(ValidationError) as caught:
        parse(TrainingJob, manifest("TrainingJob", spec))

    (error,) = caught.value.errors()
    assert error["loc"] == ("spec", "data", 0)
    assert "set exactly one of uri, claim, from" in error["msg"]


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=80), st.text(max_size=40), st.text(max_size=40))
def test_child_names_fit_and_tell_their_parts_apart(prefix: str, one: str, other: str) -> None:
    """Every child's name has at most 63 characters, and other parts make another name."""
    first, second = names.child(prefix, one, suffix="-x"), names.child(prefix, other, suffix="-x")

    assert len(first) <= names.LIMIT
    assert (first == second) == (one == other)


def test_a_training_job_of_the_longest_model_keeps_its_cap() -> None:
    """The name of a Model's TrainingJob leaves room for the attempt's suffix."""
    job = names.training_job("m" * 40, "Drift", "decision")

    assert len(job) <= TrainingJob.NAME_CAP
    assert len(names.attempt(job, 20)) <= names.LIMIT


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    """Only a changed status is a transition."""
    first = merge([], summary("Progressing", "A", "a"), now="2026-01-01T00:00:00Z", generation=1)
    second = merge(first, summary("Failed", "B", "b"), now="2026-01-02T00:00:00Z", generation=2)

    times = {condition.type: condition.last_transition_time for condition in second}
    assert times == {
        "Ready": "2026-01-01T00:00:00Z",
        "Reconciling": "2026-01-02T00:00:00Z",
        "Stalled": "2026-01-02T00:00:00Z",
    }


_SEQUENCE = {"runtime": {"kind": "Triton", "options": {"sequence": {"maxIdle": "5s"}}}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param({"replicas": 2, "traffic": {"sticky": {"header": "x-user"}}}, "replicas: set 1", id="two-pods"),
        pytest.param({}, "traffic.sticky: name a header", id="a-canary-that-tears-sequences-apart"),
        pytest.param({"rollout": {"strategy": "Recreate"}, "cache": {}}, "cache: leave it out", id="cached-answers"),
        pytest.param({"rollout": {"strategy": "Recreate"}}, "", id="one-pod-taken-over-at-once"),
        pytest.param({"traffic": {"sticky": {"header": "x-user"}}}, "", id="one-pod-and-a-sticky-canary"),
    ],
)
def test_a_service_of_sequences_keeps_each_on_one_pod(spec: dict[str, Any], said: str) -> None:
    """What would send requests of one sequence to different pods is refused while it is applied."""
    whole = manifest("InferenceService", {"model": {"name": "m"}, **_SEQUENCE, **spec})
    if not said:
        assert parse(InferenceService, whole).spec.runtime.options is not None
        return
    with pytest.raises(ValidationError, match=said):
        parse(InferenceService, whole)


def test_categories_of_what_is_no_feature_are_refused() -> None:
    """A misspelt feature is found while the Model is applied, not after the training."""
    spec = copy.deepcopy(SPECS["Model"])
    spec["contract"]["categories"] = [{"feature": "SXE", "values": ["1"]}]
    with pytest.raises(ValidationError, match="categories: name features only"):
        parse(Model, manifest("Model", spec))
    spec["contract"]["features"] = []
    assert parse(Model, manifest("Model", spec)).spec.contract.categories[0].values == ["1"]


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        pytest.param({"horizon": "0s"}, "horizon: what is won has to last for more than 0s", id="nothing-lasts"),
        pytest.param({"budget": {"runs": 1, "per": "0h0m"}}, "budget.per: give more than 0s", id="a-budget-of-no-time"),
        pytest.param({"assumedDecay": 0.1}, "set costPerRun above 0 too", id="a-decay-weighed-against-nothing"),
        pytest.param({"assumedDecay": 1e200, "costPerRun": 1}, "less than or equal to 1000", id="more-than-any-loss"),
        pytest.param({"benefitPerPoint": 1e300}, "less than or equal to 1000000000000", id="more-than-all-money"),
        pytest.param({"assumedDecay": 0.1, "costPerRun": 1, "horizon": "1ms"}, "", id="small-and-sane"),
    ],
)
def test_a_decision_that_nothing_could_follow_from_is_refused(decision: dict[str, Any], said: str) -> None:
    """What would silently switch a rule off, or overflow its arithmetic at each look, is refused when applied."""
    spec = copy.deepcopy(SPECS["Model"])
    spec["training"]["decision"] = decision
    if not said:
        assert parse(Model, manifest("Model", spec)).spec.training is not None
        return
    with pytest.raises(ValidationError, match=said):
        parse(Model, manifest("Model", spec))
