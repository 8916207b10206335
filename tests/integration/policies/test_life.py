"""What serves cannot be deleted, and an approval is one's own."""

from typing import Any

import pytest

from tests.integration.policies.conftest import Server

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

DIGEST = "sha256:" + "0" * 64
VERSION: Json = {"model": "census", "source": {"uri": "s3://gyre/team-a/sha256/00/00"}, "digest": DIGEST}
MODEL: Json = {"contract": {"key": "id", "label": {"column": "y"}}}
COLLECTORS = (
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
)

DELETIONS: dict[str, tuple[str, Json, Json | None, str]] = {
    "a version without status": ("ModelVersion", VERSION, None, ""),
    "a version that nobody uses": ("ModelVersion", VERSION, {"usedBy": [], "aliases": []}, ""),
    "a version that serves": (
        "ModelVersion",
        VERSION,
        {"usedBy": ["census", "census-eu"]},
        "serves census, census-eu: point these InferenceServices at another version first",
    ),
    "a version with an alias": (
        "ModelVersion",
        VERSION,
        {"aliases": ["champion"]},
        "is champion of model census: let another version take over first",
    ),
    "a version with an alias of a model that is gone": (
        "ModelVersion",
        VERSION,
        {"aliases": ["champion"], "conditions": [{"type": "Orphaned", "status": "True", "reason": "Orphaned"}]},
        "",
    ),
    "a model that nobody serves": ("Model", MODEL, {"usedBy": []}, ""),
    "a model that serves": (
        "Model",
        MODEL,
        {"usedBy": ["census"]},
        "is served by census: delete these InferenceServices first",
    ),
}


@pytest.mark.parametrize(("kind", "spec", "status", "why"), DELETIONS.values(), ids=DELETIONS.keys())
def test_what_serves_cannot_be_deleted(server: Server, kind: str, spec: Json, status: Json | None, why: str) -> None:
    """A person is told who uses it and what to do first; what nobody uses goes."""
    path = server.make(kind, spec, status)

    said = server.refuses_deletion(path, user="editor")

    assert said.endswith(why) if why else said == ""
    assert (kind in said) == bool(why)


@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_namespace_can_always_be_deleted(server: Server, collector: str) -> None:
    """The cluster's own collectors are never stopped, not even by what serves."""
    version = server.make("ModelVersion", VERSION, {"usedBy": ["census"], "aliases": ["champion"]})
    model = server.make("Model", MODEL, {"usedBy": ["census"]})

    assert server.refuses_deletion(version, user=collector) == ""
    assert server.refuses_deletion(model, user=collector) == ""


def _yes(user: str) -> Json:
    return {"user": user, "at": "2026-01-01T00:00:00Z", "comment": "looked at it"}


def test_an_approval_is_given_in_ones_own_name(server: Server) -> None:
    """Approving as oneself is let through; in somebody else's name it is refused, with the name to set."""
    path = server.make("ModelVersion", VERSION)

    assert server.refuses_change(path, {"approvals": [_yes("editor")]}, user="editor") == ""
    said = server.refuses_change(path, {"approvals": [_yes("boss")]}, user="editor")
    assert "spec.approvals: an approval is given by the person themselves; set user to editor" in said


def test_a_version_is_not_born_with_somebody_elses_approval(server: Server) -> None:
    """The rule holds for creating as well as for changing."""
    assert server.refuses("ModelVersion", {**VERSION, "approvals": [_yes("editor")]}, user="editor") == ""
    said = server.refuses("ModelVersion", {**VERSION, "approvals": [_yes("boss")]}, user="editor")
    assert "set user to editor" in said


def test_approvals_are_only_ever_added(server: Server) -> None:
    """A second person adds theirs; taking one away, or changing its words, is refused."""
    path = server.make("ModelVersion", VERSION)
    first = {"spec": {"approvals": [_yes("editor")]}}
    assert server.refusal("PATCH", path, first, user="editor", kind="merge-patch+json") == ""

    both = {"approvals": [_yes("editor"), _yes("admin-of-team")]}
    changed = {"approvals": [{**_yes("editor"), "comment": "no"}]}

    assert server.refuses_change(path, both, user="admin-of-team") == ""
    assert "approvals: entries are only ever added" in server.refuses_change(path, {"approvals": []}, user="editor")
    assert "approvals: entries are only ever added" in server.refuses_change(path, changed, user="editor")
