"""The API server itself judges what the charts render: schemas, defaults, CEL, and no unknown field."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.charts.conftest import Render
from tests.charts.test_render import WAYS
from tests.localcluster import ControlPlane, control_plane
from tests.localcluster.api import ApiError

pytestmark = pytest.mark.cluster

HOME = "gyre-system"


class Judge:
    """Asks a server for its verdict on manifests, in strict dry runs."""

    def __init__(self, plane: ControlPlane) -> None:
        self._api = plane.api
        self._served: dict[str, dict[str, tuple[str, bool]]] = {}

    def refusals(self, objects: list[dict[str, Any]]) -> list[str]:
        """One sentence for each object that the server would not take as it is."""
        return [said for item in objects if (said := self._refusal(item))]

    def _refusal(self, item: dict[str, Any]) -> str:
        name = f"{item['kind']} {item['metadata']['name']}"
        kinds = self._kinds(item["apiVersion"])
        if item["kind"] not in kinds:
            return f"{name}: {item['apiVersion']} has no such kind"
        plural, namespaced = kinds[item["kind"]]
        space = item["metadata"].get("namespace", HOME)
        where = f"{_root(item['apiVersion'])}/{f'namespaces/{space}/' if namespaced else ''}{plural}"
        try:
            self._api.request("POST", f"{where}?dryRun=All&fieldValidation=Strict", item)
        except ApiError as error:
            return f"{name}: {error}"
        return ""

    def _kinds(self, api_version: str) -> dict[str, tuple[str, bool]]:
        if api_version not in self._served:
            found = self._api.request("GET", _root(api_version))["resources"]
            kinds = {r["kind"]: (r["name"], r["namespaced"]) for r in found if "/" not in r["name"]}
            self._served[api_version] = kinds
        return self._served[api_version]


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """A control plane with the namespaces that the charts are installed into."""
    with control_plane() as plane:
        for name in (HOME, "a", "b"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            plane.api.apply("/api/v1/namespaces", body)
        yield Judge(plane)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_every_object_of_the_chart_is_admitted(judge: Judge, render: Render, options: tuple[str, ...]) -> None:
    """Each way of installing Gyre gives only objects that a server takes, to the last field."""
    assert judge.refusals(render(*options)) == []


def test_every_definition_is_admitted(judge: Judge, render: Render) -> None:
    """The six definitions pass the server's own check of schemas and CEL, with its cost limits."""
    objects = render(chart="charts/gyre-crds")
    assert len(objects) == 6
    assert judge.refusals(objects) == []


def test_misspelt_field_is_refused(judge: Judge, render: Render) -> None:
    """The verdict is worth something: one letter too many in one pod of the chart is found."""
    deployment = next(item for item in render() if item["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    [said] = judge.refusals([deployment])
    assert 'unknown field "spec.template.spec.containers[0].livenesProbe"' in said
