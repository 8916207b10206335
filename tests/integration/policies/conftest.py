"""One control plane for all policy tests: the chart's policies and roles as helm renders them, and three people."""

import contextlib
import copy
import http.client
import itertools
import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.localcluster import ControlPlane, control_plane
from tests.localcluster.errors import ClusterError
from tests.localcluster.toolchain import program

Json = dict[str, Any]

NAMESPACE = "team-a"
OPERATOR = "system:serviceaccount:gyre-system:gyre-operator"
PLURALS = {
    "Model": "models",
    "TrainingJob": "trainingjobs",
    "ModelVersion": "modelversions",
    "InferenceService": "inferenceservices",
    "DriftMonitor": "driftmonitors",
    "DriftReport": "driftreports",
}
_GYRE = "/apis/gyre.dev/v1alpha1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_COLLECTIONS = {
    "ValidatingAdmissionPolicy": f"{_ADMISSION}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{_ADMISSION}/validatingadmissionpolicybindings",
    "ClusterRole": f"{_RBAC}/clusterroles",
    "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
}
_numbers = itertools.count(1)

SCIENTIST_RULES = [
    {"apiGroups": ["gyre.dev"], "resources": ["*"], "verbs": ["get", "create", "update", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["warehouse"], "verbs": ["use"]},
]
"""What `scientist` may: everything of Gyre but the verb that reports act with, no pods, and one Secret's use."""


class Server:
    """Requests to the API server in anybody's name."""

    def __init__(self, plane: ControlPlane) -> None:
        pki = plane.layout.state.pki
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        where = urlsplit(plane.url)
        self._connection = http.client.HTTPSConnection(str(where.hostname), where.port, context=context, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, method: str, path: str, body: Any = None, *, user: str = "", kind: str = "json") -> tuple[int, Json]:
        """Status and decoded answer; `kind` is the end of the body's content type."""
        headers = {"Content-Type": f"application/{kind}"} | ({"Impersonate-User": user} if user else {})
        self._connection.request(method, path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def refusal(self, method: str, path: str, body: Any = None, *, user: str, kind: str = "json") -> str:
        """Why the server refuses; empty where it does not."""
        status, answer = self.call(method, path, body, user=user, kind=kind)
        return "" if status < http.HTTPStatus.BAD_REQUEST else str(answer["message"])

    def make(self, kind: str, spec: Json, status: Json | None = None) -> str:
        """Create an object as the administrator; its path."""
        body = manifest(kind, spec)
        code, answer = self.call("POST", collection(kind), body)
        assert code == http.HTTPStatus.CREATED, answer
        path = f"{collection(kind)}/{body['metadata']['name']}"
        if status is not None:
            code, answer = self.call("PATCH", f"{path}/status", {"status": status}, kind="merge-patch+json")
            assert code == http.HTTPStatus.OK, answer
        return path

    def refuses(self, kind: str, spec: Json, *, user: str) -> str:
        """Why creating the object is refused; empty where it is not."""
        return self.refusal("POST", f"{collection(kind)}?dryRun=All", manifest(kind, spec), user=user)

    def refuses_change(self, path: str, spec: Json, *, user: str) -> str:
        """Why a merge patch of the spec is refused; empty where it is not."""
        return self.refusal("PATCH", f"{path}?dryRun=All", {"spec": spec}, user=user, kind="merge-patch+json")

    def refuses_deletion(self, path: str, *, user: str) -> str:
        """Why deleting is refused; empty where it is not."""
        return self.refusal("DELETE", f"{path}?dryRun=All", user=user)


def collection(kind: str) -> str:
    """The path of a kind's objects in the tests' namespace."""
    return f"{_GYRE}/namespaces/{NAMESPACE}/{PLURALS[kind]}"


def manifest(kind: str, spec: Json) -> Json:
    """An object with a name of its own."""
    name = f"{kind.lower()}-{next(_numbers)}"
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": copy.deepcopy(spec),
    }


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A control plane with the chart's CRDs, roles and policies, all in force."""
    with control_plane() as plane:
        for file in sorted((Path(__file__).parents[3] / "crds").glob("*.gyre.dev.yaml")):
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            plane.api.apply(path, yaml.safe_load(file.read_text()))
        plane.api.apply(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        )
        for item in _rendered():
            if item["kind"] in _COLLECTIONS:
                plane.api.apply(_COLLECTIONS[item["kind"]], item)
        _bind(plane, "editor", "edit")
        _bind(plane, "admin-of-team", "admin")
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "scientist"}}
        plane.api.apply(_COLLECTIONS["ClusterRole"], {**role, "rules": SCIENTIST_RULES})
        _bind(plane, "scientist", "scientist")
        with contextlib.closing(Server(plane)) as running:
            _wait(lambda: all(plane.api.answers(f"{_GYRE}/{plural}") for plural in PLURALS.values()), "the CRDs")
            _wait(lambda: _in_force(running), "the policies")
            yield running


def _rendered() -> list[Json]:
    argv = [program("helm"), "template", "gyre", "charts/gyre", "-n", "gyre-system", "--kube-version", "1.34.0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def _bind(plane: ControlPlane, user: str, role: str) -> None:
    group = "rbac.authorization.k8s.io"
    body = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": NAMESPACE},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    plane.api.apply(f"{_RBAC}/namespaces/{NAMESPACE}/rolebindings", body)


def _in_force(running: Server) -> bool:
    """Policies and aggregated roles take effect a moment after they were written."""
    job = {"model": "m", "image": "i", "command": ["c"]}
    roles = not running.refuses("TrainingJob", job, user="editor")
    return roles and bool(running.refuses("TrainingJob", {**job, "podTemplatePatch": {"spec": {}}}, user="scientist"))


def _wait(holds: Callable[[], bool], what: str) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise ClusterError(f"{what} were not in force within 30 s")
