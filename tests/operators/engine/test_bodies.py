"""Objects as the API server sends them: projections, next versions, selectors, patches, paths, errors."""

from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyre_crds.v1alpha1 import TrainingJob
from gyre_operators.engine.errors import error_from
from gyre_operators.engine.kinds import JOB, NODE, gyre
from gyre_operators.engine.project import decode, entry_of
from gyre_operators.engine.report import merge_patch, without_nulls
from gyre_operators.engine.selectors import matches
from gyre_operators.engine.watch import Source
from tests.operators.engine.example import JobView, training_job
from tests.operators.engine.fakes import merged


def test_a_projection_reads_its_few_fields_and_the_metadata() -> None:
    """Owners, labels and version come along whatever the type is."""
    owner = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": True}
    body = {
        "metadata": {
            "name": "a", "namespace": "ns", "uid": "1", "resourceVersion": "7",
            "labels": {"k": "v"}, "ownerReferences": [owner], "managedFields": [{"big": 1}],
        },
        "spec": {"ignored": True},
        "status": {"succeeded": 2},
    }  # fmt: skip
    typed = decode(Source(JOB, JobView, "", ""), msgspec.Raw(orjson.dumps(body)))
    whole = entry_of(Source(JOB, dict, "", ""), body)

    assert typed.value is not None
    assert typed.value.status.succeeded == 2
    assert typed.raw is None
    assert (typed.version, typed.labels, typed.owners[0].uid) == (7, {"k": "v"}, "u")
    assert whole.raw is not None
    assert "managedFields" not in whole.raw["metadata"]
    assert whole.raw["kind"] == "Job"


GOOD = {"observedGeneration": 1, "state": "Running", "reason": "Running", "conditions": [], "suspendedSeconds": 0}
NEXT_VERSIONS = {
    "a status where there was none": ({"status": GOOD}, None),
    "another status": ({"status": {**GOOD, "state": "Failed", "startedAt": "2026-11-20T10:00:00Z"}}, GOOD),
    "no status any more": ({}, GOOD),
    "a status that this version cannot read": ({"status": {"state": 7, "unknown": True}}, GOOD),
    "the first status that can be read": ({"status": GOOD}, {"state": 7}),
    "a label": ({"metadata": {"labels": {"a": "b"}}, "status": GOOD}, GOOD),
    "a deletion": ({"metadata": {"deletionTimestamp": "2026-11-20T10:00:00Z"}, "status": GOOD}, GOOD),
    "another spec": ({"metadata": {"generation": 2}, "spec": {"model": "other", "image": "i", "command": ["c"]}}, GOOD),
    "another object of that name": ({"metadata": {"uid": "2"}, "spec": {"model": "o", "image": "i"}}, GOOD),
    "a spec that does not parse": ({"metadata": {"generation": 2}, "spec": {"image": 7}}, GOOD),
}


@pytest.mark.parametrize(("change", "status"), NEXT_VERSIONS.values(), ids=NEXT_VERSIONS.keys())
def test_a_next_version_parsed_over_the_known_one_is_what_it_is_parsed_alone(
    change: dict[str, Any], status: dict[str, Any] | None
) -> None:
    """The spec that is kept from the version before makes no difference that anybody could see."""
    source = Source(gyre(TrainingJob), TrainingJob, "", "")
    meta = {"name": "first", "namespace": "ns", "uid": "1", "generation": 1, "resourceVersion": "1"}
    body = {**training_job("first"), "metadata": meta}
    known = entry_of(source, {**body, "status": status} if status else body)
    news = {**body, **change, "metadata": {**meta, "resourceVersion": "2", **change.get("metadata", {})}}

    assert entry_of(source, news, known) == entry_of(source, news)


def test_an_object_that_does_not_parse_names_its_first_field() -> None:
    """The path is the user's own spelling."""
    body = training_job("first", retry={"limit": "many"}, onOutOfMemory="Explode")
    source = Source(gyre(TrainingJob), TrainingJob, "", "")
    found = entry_of(source, {**body, "metadata": {**body["metadata"], "resourceVersion": "1"}})

    assert found.value is None
    assert found.error.startswith("spec.")
    assert found.error.endswith("(and 1 more)")


SELECTORS = {
    "an empty selector takes all": ("", {}, True),
    "a label must be there": ("a", {"a": ""}, True),
    "a label that is not there": ("a", {"b": "1"}, False),
    "a label must not be there": ("!a", {"a": "1"}, False),
    "a value must match": ("a=1", {"a": "1"}, True),
    "another value": ("a=1", {"a": "2"}, False),
    "a value must differ": ("a!=1", {"a": "2"}, True),
    "an absent label differs from any value": ("a!=1", {}, True),
    "all terms must hold": ("a=1,!b", {"a": "1", "b": "1"}, False),
}


@pytest.mark.parametrize(("selector", "labels", "fits"), SELECTORS.values(), ids=SELECTORS.keys())
def test_selectors(selector: str, labels: dict[str, str], fits: bool) -> None:  # noqa: FBT001 -- a table column
    """The forms that watches may use, with Kubernetes' meaning."""
    assert matches(selector, {"labels": labels}) is fits


_value = st.recursive(
    st.integers() | st.text("ab", max_size=2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_object = st.dictionaries(st.sampled_from("abc"), _value, max_size=3)


@given(_object, _object)
def test_a_merge_patch_makes_the_old_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Applied by RFC 7386 it gives exactly the wanted status; it is empty only for equal ones."""
    patch = merge_patch(old, new)

    assert merged(old, patch) == new
    assert bool(patch) is (old != new) or not patch


def test_nulls_are_not_there() -> None:
    """A planned None equals an absent field, at any depth."""
    assert without_nulls({"a": None, "b": [{"c": None, "d": 1}]}) == {"b": [{"d": 1}]}


def test_an_answer_that_is_no_status_still_becomes_an_error() -> None:
    """A proxy's HTML has no reason, so the code's own phrase stands in."""
    error = error_from(502, b"<html>bad gateway</html>")

    assert (error.code, error.reason) == (502, "BadGateway")
    assert "bad gateway" in error.message


def test_paths_are_those_of_the_api() -> None:
    """Core and named groups, namespaced and not."""
    assert JOB.path("ns", "a", "status") == "/apis/batch/v1/namespaces/ns/jobs/a/status"
    assert NODE.path("ignored", "n1") == "/api/v1/nodes/n1"
    assert JOB.path() == "/apis/batch/v1/jobs"
