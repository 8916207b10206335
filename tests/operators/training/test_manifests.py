"""The Job of an attempt: who sees which file and credential, and what a user may change."""

import json
from typing import Any

import pytest

from gyre_crds.contracts.attempt import AttemptOrder, WrapperOrder
from gyre_operators.workload.merge import strategic_merge
from tests.operators.training.cluster import DIGEST, KEY, Cluster
from tests.operators.training.conftest import Make

CONTRACT = {"key": "id", "label": {"column": "employed"}}
MODEL = {
    "apiVersion": "gyre.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "census", "namespace": KEY.namespace},
    "spec": {"contract": CONTRACT},
    "status": {"champion": {"name": "census-cdcdcdcdcdcd"}},
}
CHAMPION = {
    "apiVersion": "gyre.dev/v1alpha1",
    "kind": "ModelVersion",
    "metadata": {"name": "census-cdcdcdcdcdcd", "namespace": KEY.namespace},
    "spec": {
        "model": "census",
        "source": {"uri": "s3://gyre/team/sha256/cd/cd"},
        "digest": DIGEST,
        "lineage": {"inputDigest": DIGEST, "job": "older"},
    },
}


def pod(cluster: Cluster) -> dict[str, Any]:
    """The pod spec of attempt 1."""
    spec: dict[str, Any] = cluster.job()["spec"]["template"]["spec"]
    return spec


def containers(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """All containers by name."""
    spec = pod(cluster)
    return {each["name"]: each for each in [*spec["initContainers"], *spec["containers"]]}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    """A container's variables; a reference stands for its value."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def order(cluster: Cluster) -> AttemptOrder:
    """What prepare is told."""
    return AttemptOrder.model_validate_json(variables(containers(cluster)["prepare"])["GYRE_ATTEMPT"])


async def test_user_code_sees_no_credential_and_no_truth(make: Make) -> None:
    """Store and source credentials, claims and the true labels are mounted into Gyre's own containers alone."""
    cluster = make(
        data=[
            {"name": "raw-rows", "uri": "s3://bucket/rows/", "secretRef": {"name": "bucket-key"}},
            {"name": "old", "claim": {"name": "disk", "path": "old"}},
        ],
    )
    await cluster.settle()
    found = containers(cluster)
    mounts = {name: {each["mountPath"] for each in each_["volumeMounts"]} for name, each_ in found.items()}
    assert mounts == {
        "prepare": {"/gyre", "/gyre/truth", "/tmp", "/gyre/claims/old"},
        "publish": {"/gyre", "/gyre/truth", "/tmp"},
        "train": {"/gyre"},
    }
    secrets = {
        name: {each["secretKeyRef"]["name"] for each in variables(container).values() if isinstance(each, dict)}
        for name, container in found.items()
    }
    assert secrets == {"prepare": {"gyre-store", "bucket-key"}, "publish": {"gyre-store"}, "train": set()}
    key = variables(found["prepare"])["GYRE_SOURCE_RAW_ROWS_SECRET_ACCESS_KEY"]
    assert key["secretKeyRef"]["key"] == "secret_access_key"
    assert pod(cluster)["automountServiceAccountToken"] is False


async def test_publish_stands_before_train(make: Make) -> None:
    """The contract's order: prepare first, then publish as container 0 and train as 1, each with its command."""
    cluster = make()
    await cluster.settle()
    spec = pod(cluster)
    assert [each["name"] for each in spec["initContainers"]] == ["prepare"]
    assert [(each["name"], each["command"]) for each in spec["containers"]] == [
        ("publish", ["gyre-pipelines", "publish"]),
        ("train", ["python3", "/gyre/bin/wrapper.pyz"]),
    ]


async def test_every_container_is_restricted(make: Make) -> None:
    """Pod Security level restricted is met by all three containers; only the user's image keeps its own user."""
    cluster = make()
    await cluster.settle()
    security = pod(cluster)["securityContext"]
    assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    for name, container in containers(cluster).items():
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own.get("runAsUser") == (None if name == "train" else 10001)


async def test_job_is_one_try(make: Make) -> None:
    """One Indexed Job, one pod, no retry of its own; a disruption fails it instead of being retried unseen."""
    cluster = make()
    await cluster.settle()
    spec = cluster.job()["spec"]
    assert (spec["completionMode"], spec["completions"], spec["backoffLimit"]) == ("Indexed", 1, 0)
    assert spec["podReplacementPolicy"] == "Failed"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("FailJob", "DisruptionTarget")
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


async def test_orders(make: Make) -> None:
    """Prepare is told contract, parent and params; the wrapper command, limits and hang time."""
    cluster = make(
        MODEL,
        CHAMPION,
        args=["--fast"],
        params={"depth": 3},
        progress={"timeout": "10m"},
        resources={"limits": {"memory": "4Gi"}},
        checkpoint={"path": "/srv/checkpoints", "every": "1m"},
    )
    await cluster.settle()
    told = order(cluster)
    assert told.contract is not None
    assert (told.contract.key, told.params, told.parent, told.champion_input) == (
        "id",
        {"depth": 3},
        CHAMPION["metadata"]["name"],  # type: ignore[index]
        None,
    )
    assert (told.checkpoint_path, told.checkpoint_seconds) == ("/gyre/checkpoints", 60)
    train = containers(cluster)["train"]
    wrapper = WrapperOrder.model_validate(json.loads(variables(train)["GYRE_WRAPPER"]), by_alias=True, by_name=False)
    assert wrapper.command == ["python3", "train.py", "--fast"]
    assert (wrapper.hang_seconds, wrapper.memory_bytes) == (600, 4 * 2**30)
    assert wrapper.checkpoint_path == "/srv/checkpoints"
    assert {"name": "gyre", "mountPath": "/srv/checkpoints", "subPath": "checkpoints"} in train["volumeMounts"]


async def test_drift_must_see_new_data(make: Make) -> None:
    """A retraining for drift is told the champion's input digest, so that equal input ends as NoNewData."""
    cluster = make(MODEL, CHAMPION, trigger={"type": "Drift", "decision": "d1"})
    await cluster.settle()
    assert order(cluster).champion_input == DIGEST


async def test_broken_windows_do_not_train(make: Make) -> None:
    """Windows that a monitor of the service found broken are left out; others, and other monitors', are not."""
    monitor = {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "DriftMonitor",
        "metadata": {"name": "watch", "namespace": KEY.namespace},
        "spec": {"target": {"inferenceService": "census"}},
    }
    windows = [("watch", "SchemaBreak"), ("watch", "CovariateShift"), ("other", "QualityIncident")]
    reports = [
        {
            "apiVersion": "gyre.dev/v1alpha1",
            "kind": "DriftReport",
            "metadata": {"name": f"r{hour}", "namespace": KEY.namespace},
            "spec": {
                "monitor": name,
                "verdict": verdict,
                "reason": "x",
                "mayAct": True,
                "window": {"start": f"2026-11-20T0{hour}:00:00Z", "end": f"2026-11-20T0{hour}:30:00Z", "rows": 10},
            },
        }
        for hour, (name, verdict) in enumerate(windows)
    ]
    cluster = make(monitor, *reports, data=[{"name": "live", "from": {"inferenceService": "census"}}])
    await cluster.settle()
    assert [(each.start, each.end) for each in order(cluster).excluded] == [
        ("2026-11-20T00:00:00Z", "2026-11-20T00:30:00Z")
    ]


@pytest.mark.parametrize(
    ("resources", "requests", "limits"),
    [
        ({}, {"cpu": "1", "memory": "2Gi"}, {"memory": "2Gi"}),
        ({"limits": {"memory": "4Gi"}}, {"cpu": "1", "memory": "4Gi"}, {"memory": "4Gi"}),
        ({"limits": {"memory": "4Gi", "cpu": "2"}}, {"cpu": "2", "memory": "4Gi"}, {"memory": "4Gi", "cpu": "2"}),
        ({"requests": {"memory": "1Gi"}}, {"cpu": "1", "memory": "1Gi"}, {}),
        (
            {"requests": {"memory": "1Gi", "cpu": "500m"}, "limits": {"memory": "4Gi"}},
            {"cpu": "500m", "memory": "1Gi"},
            {"memory": "4Gi"},
        ),
    ],
    ids=["nothing asked", "a limit", "limits of both", "a request alone has no limit", "request and limit"],
)
async def test_resources(
    resources: dict[str, Any], requests: dict[str, str], limits: dict[str, str], make: Make
) -> None:
    """Requests follow limits where they are left out; defaults fill the rest."""
    cluster = make(resources=resources)
    await cluster.settle()
    assert containers(cluster)["train"]["resources"] == {"requests": requests, "limits": limits}


async def test_pod_settings_and_patch(make: Make) -> None:
    """Pod fields are set, and the patch merges by name: a volume is added, a container's field changed."""
    cluster = make(
        serviceAccountName="trainer",
        imagePullSecrets=[{"name": "registry"}],
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        podTemplatePatch={
            "metadata": {"annotations": {"team": "census"}},
            "spec": {
                "securityContext": {"runAsUser": 2000},
                "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
                "containers": [{"name": "train", "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}]}],
            },
        },
    )
    await cluster.settle()
    spec = pod(cluster)
    assert (spec["serviceAccountName"], spec["nodeSelector"]) == ("trainer", {"disk": "ssd"})
    assert spec["securityContext"]["runAsUser"] == 2000
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert [each["name"] for each in spec["volumes"]] == ["gyre", "truth", "tmp", "shm"]
    assert [each["mountPath"] for each in containers(cluster)["train"]["volumeMounts"]] == ["/gyre", "/dev/shm"]
    assert cluster.job()["spec"]["template"]["metadata"]["annotations"] == {"team": "census"}


async def test_gpu_choice_reaches_the_pod(make: Make) -> None:
    """The chosen slice is the container's limit, and only nodes of fitting cards may take the pod."""
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "gpu-1", "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}},
        "status": {
            "allocatable": {"memory": "64Gi", "nvidia.com/mig-1g.10gb": "7"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    cluster = make(node, gpu={"memory": "8Gi"})
    status = await cluster.settle()
    assert containers(cluster)["train"]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "1"
    assert status["gpu"]["profile"] == "1g.10gb"
    term = pod(cluster)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] == ["NVIDIA-A100-SXM4-80GB"]


async def test_gpu_that_no_node_has(make: Make) -> None:
    """Without a fitting device no Job is made; a node that has one wakes the job."""
    cluster = make(gpu={"memory": "8Gi"})
    status = await cluster.settle()
    assert (status["reason"], cluster.jobs()) == ("NoGpuFits", [])
    assert "No ready node has a GPU" in cluster.ready()[1]
    cluster.world.put(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "gpu-1", "labels": {"nvidia.com/gpu.memory": "81920"}},
            "status": {
                "allocatable": {"nvidia.com/gpu": "1"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
    )
    status = await cluster.settle(5)
    assert (status["state"], cluster.jobs()) == ("Pending", ["census-a1"])


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1, "b": 2}, {"b": None}, {"a": 1}),
        ([{"name": "x", "v": 1}], [{"name": "x", "v": 2}, {"name": "y"}], [{"name": "x", "v": 2}, {"name": "y"}]),
        ([{"name": "x"}, {"name": "y"}], [{"name": "x", "$patch": "delete"}], [{"name": "y"}]),
        (["a", "b"], ["c"], ["c"]),
        ([{"key": "a"}], [{"key": "b"}], [{"key": "b"}]),
        (
            [{"name": "v", "mountPath": "/a"}],
            [{"name": "v", "mountPath": "/b"}],
            [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}],
        ),
    ],
    ids=[
        "maps merge",
        "null removes",
        "lists merge by name",
        "an item is deleted",
        "plain lists are replaced",
        "tolerations are replaced",
        "mounts merge by path",
    ],
)
def test_strategic_merge(base: Any, patch: Any, merged: Any) -> None:
    """The subset of a strategic merge that pod templates need."""
    assert strategic_merge(base, patch) == merged
