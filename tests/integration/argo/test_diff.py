"""An Application stays Synced: what git says and what lives differ in nothing after Gyre has worked.

Argo CD's server-side diff is repeated here, without Argo CD: each manifest is applied in a dry run under
Argo CD's field manager, and the answer is compared with the live object but for status and bookkeeping.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from gyre_crds.v1alpha1 import DriftMonitor, InferenceService, Model, TrainingJob
from gyre_operators.engine.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    JOB,
    POD,
    REPLICA_SET,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    gyre,
)
from tests.integration.engine.harness import Operator, until
from tests.integration.loop.street import Street

pytestmark = pytest.mark.cluster

PROGRAM = "tests.integration.loop.program"
MANIFESTS = Path(__file__).parents[3] / "docs/examples/census/manifests"
OWNED = {kind.KIND: gyre(kind) for kind in (Model, InferenceService, DriftMonitor)}
CHILDREN = (
    gyre(TrainingJob),
    *(DEPLOYMENT, REPLICA_SET, POD, JOB, CONFIG_MAP, SECRET, SERVICE),
    *(SERVICE_ACCOUNT, ROLE, ROLE_BINDING, DISRUPTION_BUDGET),
)
MANAGER = "argocd-controller"
TRACKING = "argocd.argoproj.io/tracking-id"
LABEL = "app.kubernetes.io/instance"
"""What Argo CD tracks by where it is not told to use the annotation."""


def from_git(namespace: str) -> list[dict[str, Any]]:
    """The example's manifests as Argo CD applies them: with its marks."""
    found = []
    for file in sorted(MANIFESTS.glob("*.yaml")):
        if file.name.endswith(".patch.yaml"):
            continue
        body = yaml.safe_load(file.read_text())
        name = body["metadata"]["name"]
        tracked = f"census:gyre.dev/{body['kind']}:{namespace}/{name}"
        marks = {"annotations": {TRACKING: tracked}, "labels": {LABEL: "census"}}
        found.append({**body, "metadata": {"name": name, "namespace": namespace, **marks}})
    return found


async def apply(street: Street, body: dict[str, Any], *, dry: bool = False) -> dict[str, Any]:
    """Server-side apply as Argo CD does it; the object as the server has, or would have it."""
    path = OWNED[body["kind"]].path(street.cluster.namespace, body["metadata"]["name"])
    query = f"?fieldManager={MANAGER}&force=true" + ("&dryRun=All" if dry else "")
    request, kind = street.cluster.plane.api.request, "application/apply-patch+yaml"
    answer: dict[str, Any] = await asyncio.to_thread(request, "PATCH", path + query, body, kind)
    return answer


async def differs(street: Street, body: dict[str, Any]) -> dict[str, Any]:
    """Each top-level part that differs, as (live, wanted); empty is Synced."""
    live, wanted = await asyncio.gather(_live(street, body), apply(street, body, dry=True))
    parts = {part: (_part(live, part), _part(wanted, part)) for part in live.keys() | wanted.keys()}
    return {part: pair for part, pair in parts.items() if pair[0] != pair[1]}


async def _live(street: Street, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await street.cluster.get(OWNED[body["kind"]], body["metadata"]["name"])
    return found


def _part(body: dict[str, Any], part: str) -> Any:
    if part == "status":
        return None
    if part == "metadata":
        return {name: value for name, value in body[part].items() if name not in ("managedFields", "resourceVersion")}
    return body.get(part)


async def test_application_stays_synced_and_no_child_bears_its_marks(street: Street, tmp_path: Path) -> None:
    """From three manifests in git to a model that serves and is watched: nothing of them has changed."""
    kubeconfig = str(street.cluster.plane.kubeconfig)
    git = from_git(street.cluster.namespace)
    async with Operator(tmp_path, kubeconfig, street.cluster.namespace, program=PROGRAM):
        applied = [await apply(street, body) for body in git]
        await until(lambda: _trains(street), 60, "the first training")
        await street.version("v1", trained="2026-01-01T00:00:00Z")
        await until(lambda: street.serves("v1"), 40, "v1 serves")
        await until(lambda: _settled(street), 20, "every object has its status")

        assert sorted(body["kind"] for body in git) == sorted(OWNED)
        assert [await differs(street, body) for body in git] == [{}, {}, {}]
        for before in applied:
            after = await _live(street, before)
            assert after["metadata"]["generation"] == before["metadata"]["generation"]
            assert after["metadata"].get("finalizers") == before["metadata"].get("finalizers")
        await _no_child_is_marked(street)

        service = next(body for body in git if body["kind"] == "InferenceService")
        path = OWNED["InferenceService"].path(street.cluster.namespace, "census")
        await street.cluster.ask("PATCH", path, {"spec": {"payloads": {"flushEvery": "9s"}}}, "merge")
        assert set(await differs(street, service)) == {"spec", "metadata"}, "a person's edit is seen, so the diff looks"


async def _no_child_is_marked(street: Street) -> None:
    made = [(kind.kind, body) for kind in CHILDREN for body in await street.cluster.all(kind)]
    assert {"TrainingJob", "Deployment", "ConfigMap", "Service", "Secret"} <= {kind for kind, _ in made}
    for kind, body in made:
        marks = {**body["metadata"].get("annotations", {}), **body["metadata"].get("labels", {})}
        assert not marks.keys() & {TRACKING, LABEL}, f"{kind} {body['metadata']['name']}"


async def _trains(street: Street) -> bool:
    return bool(await street.cluster.all(gyre(TrainingJob)))


async def _settled(street: Street) -> bool:
    await street.pods_answer()
    said = [await street.get(resource) for resource in (Model, InferenceService, DriftMonitor)]
    return all(status.get("observedGeneration") or status.get("conditions") for status in said)
