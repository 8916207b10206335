"""What becomes a pod grants no more than creating the pod would."""

from typing import Any

import pytest

from tests.integration.policies.conftest import OPERATOR, Server

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

JOB: Json = {"model": "census", "image": "example/train:1", "command": ["python3", "train.py"]}
SERVICE: Json = {"model": {"name": "census", "alias": "champion"}}
MONITOR: Json = {"target": {"inferenceService": "census"}}


def _model(**template: Any) -> Json:
    training = {"template": {"image": "example/train:1", "command": ["python3", "train.py"], **template}}
    return {"contract": {"key": "id", "label": {"column": "y"}}, "training": training}


def _env(source: str, name: str) -> Json:
    return {"env": [{"name": "TOKEN", "valueFrom": {source: {"name": name, "key": "k"}}}]}


def _data(**source: Any) -> Json:
    return {"data": [{"name": "rows", **source}]}


NAMED: dict[str, tuple[Json, str]] = {
    "a Secret in a variable": (_env("secretKeyRef", "payroll"), "secrets/payroll"),
    "a ConfigMap in a variable": (_env("configMapKeyRef", "settings"), "configmaps/settings"),
    "a Secret for pulling the image": ({"imagePullSecrets": [{"name": "pull"}]}, "secrets/pull"),
    "a Secret for a source": (_data(uri="s3://b/x", secretRef={"name": "payroll"}), "secrets/payroll"),
    "a claim": (_data(claim={"name": "disk"}), "persistentvolumeclaims/disk"),
    "a service account": ({"serviceAccountName": "deployer"}, "serviceaccounts/deployer"),
}


@pytest.mark.parametrize(("fields", "named"), NAMED.values(), ids=NAMED.keys())
@pytest.mark.parametrize("kind", ["TrainingJob", "Model"])
def test_who_may_not_create_pods_may_not_name_what_a_pod_would_open(
    server: Server, kind: str, fields: Json, named: str
) -> None:
    """Without the right to create pods or to use the object, naming it is refused, with the object and the cure."""
    said = server.refuses(kind, _model(**fields) if kind == "Model" else {**JOB, **fields}, user="scientist")

    assert (
        f"scientist may not create pods in namespace team-a nor use {named}: "
        "do not name it, or ask for a Role with the verb use on it"
    ) in said


def test_secret_with_callers_tokens_is_asked_for_as_any_other(server: Server) -> None:
    """What a router mounts for a service is what its author could have mounted; other ways of proof name no object."""
    spec = {**SERVICE, "auth": {"tokens": {"secret": "payroll"}}}
    said = server.refuses("InferenceService", spec, user="scientist")
    assert "scientist may not create pods in namespace team-a nor use secrets/payroll" in said
    assert server.refuses("InferenceService", spec, user="editor") == ""
    certificates = {"mtls": {"allow": [{"commonName": "web"}]}}
    assert server.refuses("InferenceService", {**SERVICE, "auth": certificates}, user="scientist") == ""


@pytest.mark.parametrize(("fields", "named"), NAMED.values(), ids=NAMED.keys())
def test_who_may_create_pods_may_name_it(server: Server, fields: Json, named: str) -> None:
    """An editor could have mounted it in a pod of their own, so nothing is refused."""
    assert named
    assert server.refuses("TrainingJob", {**JOB, **fields}, user="editor") == ""
    assert server.refuses("Model", _model(**fields), user="editor") == ""


ALLOWED: dict[str, tuple[str, Json]] = {
    "a job that names nothing": ("TrainingJob", JOB),
    "a job with the namespace's default account": ("TrainingJob", {**JOB, "serviceAccountName": "default"}),
    "a Secret that they may use": ("TrainingJob", {**JOB, **_env("secretKeyRef", "warehouse")}),
    "the same Secret in a source": (
        "TrainingJob",
        {**JOB, **_data(uri="s3://b/x", secretRef={"name": "warehouse"})},
    ),
    "sixteen times the same Secret": (
        "TrainingJob",
        {**JOB, "env": [{**_env("secretKeyRef", "warehouse")["env"][0], "name": f"T{n}"} for n in range(16)]},
    ),
    "a Model without training": ("Model", {"contract": {"key": "id", "label": {"column": "y"}}}),
    "a service": ("InferenceService", SERVICE),
    "a monitor": ("DriftMonitor", MONITOR),
}


@pytest.mark.parametrize(("kind", "spec"), ALLOWED.values(), ids=ALLOWED.keys())
def test_who_may_not_create_pods_may_still_train_serve_and_watch(server: Server, kind: str, spec: Json) -> None:
    """What names nothing, or only what the person may use, is let through."""
    assert server.refuses(kind, spec, user="scientist") == ""


PATCHES: dict[str, Json] = {
    "the host's files": {"spec": {"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}},
    "the host's network": {"spec": {"hostNetwork": True}},
    "a privileged container": {"spec": {"containers": [{"name": "train", "securityContext": {"privileged": True}}]}},
    "another service account": {"spec": {"serviceAccountName": "deployer"}},
}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES.keys())
@pytest.mark.parametrize(
    ("kind", "spec"),
    [("TrainingJob", JOB), ("InferenceService", SERVICE), ("DriftMonitor", MONITOR)],
    ids=["on a job", "on a service", "on a monitor"],
)
def test_a_patch_of_the_pod_needs_the_right_to_create_pods(server: Server, kind: str, spec: Json, patch: Json) -> None:
    """A patch can ask for anything: refused for who may create no pods, left to Pod Security for who may."""
    patched = {**spec, "podTemplatePatch": patch}

    said = server.refuses(kind, patched, user="scientist")

    assert "podTemplatePatch: scientist may not create pods in namespace team-a" in said
    assert server.refuses(kind, patched, user="editor") == ""


def test_too_many_names_are_refused_with_the_limit(server: Server) -> None:
    """The server checks at most sixteen names for one object, and says so instead of failing."""
    variables = [{**_env("secretKeyRef", "warehouse")["env"][0], "name": f"T{n}"} for n in range(17)]

    said = server.refuses("TrainingJob", {**JOB, "env": variables}, user="scientist")

    assert "at most 16 Secrets, ConfigMaps, claims and service accounts can be checked; name fewer" in said
    assert server.refuses("TrainingJob", {**JOB, "env": variables}, user="editor") == ""


def test_what_an_editor_named_stays_when_others_change_the_rest(server: Server) -> None:
    """A person without these rights may change other fields of the Model, but not add a name or another patch."""
    patch = {"spec": {"hostNetwork": False}}
    path = server.make("Model", _model(**_env("secretKeyRef", "payroll"), podTemplatePatch=patch))

    assert server.refuses_change(path, {"retention": {"keep": 3}}, user="scientist") == ""
    more = {"training": {"template": {"serviceAccountName": "deployer"}}}
    assert "nor use serviceaccounts/deployer" in server.refuses_change(path, more, user="scientist")
    other = {"training": {"template": {"podTemplatePatch": {"spec": {"hostNetwork": True}}}}}
    assert "podTemplatePatch: scientist may not create pods" in server.refuses_change(path, other, user="scientist")


def test_the_operator_makes_jobs_from_templates(server: Server) -> None:
    """The operator may create no pods, and copies a template whose author was asked."""
    spec = {**JOB, **_env("secretKeyRef", "payroll"), "podTemplatePatch": {"spec": {"hostNetwork": False}}}

    assert server.refuses("TrainingJob", spec, user=OPERATOR) == ""
