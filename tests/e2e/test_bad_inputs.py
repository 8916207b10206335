"""Every bad input ends as one reason and one sentence with the cure, on a real Kubernetes.

All rows are applied at once and wait side by side; each test reads what its own object says.
"""

import asyncio
import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.charts import SYSTEM, fresh, install
from tests.e2e.small import GRAPH, OUT, job, kube, model, template, thing
from tests.e2e.story.kube import Json, StoryError, condition

pytestmark = pytest.mark.node

HERE, QUOTA, STORE = "bad", "bad-quota", "bad-store"
PATIENCE = 180.0
"""Seconds that the whole table may take."""
NO_PYTHON = "docker.io/versity/versitygw:v1.8.0"
AS_ROOT = {"name": "train", "securityContext": {"runAsUser": 0}}
DIGEST = "sha256:" + "0" * 64
SLEEP = "import time; time.sleep(900)"


@dataclass(frozen=True)
class Bad:
    """What is applied, and what is said then."""

    apply: tuple[Json, ...]
    reason: str
    says: tuple[str, ...]
    """Parts of the sentence: what is wrong, and the cure."""
    speaks: tuple[str, str] | None = None
    """Kind and name (or its beginning) of the object that says it; by default the last one applied."""
    namespace: str = HERE


TABLE = {
    "a registry that does not exist": Bad(
        (job("pull", image="registry.invalid/team/train:1"),),
        "ImagePullFailed",
        ("Image 'registry.invalid/team/train:1' of container train cannot be pulled", "Correct image"),
    ),
    "a name that is no image": Bad(
        (job("image-name", image="Team/Train:1"),),
        "ImagePullFailed",
        ("'Team/Train:1'", "this is no valid image name", "Correct image"),
    ),
    "a command that is not in the image": Bad(
        (job("command", command=["trian"]),),
        "CommandNotFound",
        ("trian", "not in the image", "command"),
    ),
    "an image without python": Bad(
        (job("python", image=NO_PYTHON),),
        "CommandNotFound",
        (f"Program 'python3' is not in image '{NO_PYTHON}'", "Python 3.9 or later", "Install it in the image"),
    ),
    "data that is not there": Bad(
        (job("data", data=[{"name": "rows", "uri": f"s3://gyre/{HERE}/nothing.parquet"}]),),
        "DataNotFound",
        ("data[rows]", f"s3://gyre/{HERE}/nothing.parquet", "check the path"),
    ),
    "data with another digest": Bad(
        (job("digest", data=[{"name": "rows", "uri": "file:///etc/passwd", "sha256": DIGEST}]),),
        "DataDigestMismatch",
        ("data[rows].sha256", DIGEST, "correct one of them"),
    ),
    "a GPU that no node has": Bad(
        (job("gpu", gpu={"count": 1, "memory": "10Gi"}),),
        "NoGpuFits",
        ("No ready node has a GPU", "gpu asks for 10Gi", "Add a GPU node"),
    ),
    "more memory than the limit": Bad(
        (job("memory", "bytearray(b'x') * (512 << 20)"),),
        "OutOfMemory",
        ("192Mi", "resources.limits.memory", "onOutOfMemory: Grow"),
    ),
    "a deadline that passes": Bad(
        (job("deadline", SLEEP, deadline="30s"),),
        "DeadlineExceeded",
        ("deadline of 30s", "Raise spec.deadline"),
    ),
    "a training that hangs": Bad(
        (job("hang", SLEEP, progress={"timeout": "10s"}),),
        "Hung",
        ("for 10 s (progress.timeout)", "raise progress.timeout"),
    ),
    "a wrong credential of the store": Bad(
        (job("credential"),),
        "StoreDenied",
        ("the namespace's store", "is refused; check Secret gyre-store"),
        namespace=STORE,
    ),
    "a wrong credential of a source": Bad(
        (job("source", data=[{"name": "rows", "uri": f"s3://gyre/{STORE}/rows.parquet"}]),),
        "DataAccessDenied",
        ("data[rows]", "is refused; check data[rows].secretRef, or Secret gyre-store"),
        namespace=STORE,
    ),
    "a metric that the run did not log": Bad(
        (
            model("metric", gates=[{"name": "good", "type": "Metric", "metric": "f1", "min": 0.5}]),
            job("metric", GRAPH),
        ),
        "MetricMissing",
        ("Gate good refuses the version: the run has no metric 'f1'", "log it or correct gates[].metric"),
        speaks=("ModelVersion", "metric-"),
    ),
    "two models and no choice": Bad(
        (job("ambiguous", OUT + "[(out / f'{name}.onnx').write_bytes(b'x') for name in 'ab']"),),
        "ArtifactAmbiguous",
        ("2 models (a.onnx, b.onnx)", "model.onnx"),
    ),
    "a file that is no model": Bad(
        (model("load"), job("load", OUT + "(out / 'model.onnx').write_bytes(b'x')")),
        "CannotLoad",
        ("model.onnx does not load in onnxruntime", "InferenceSession opens"),
    ),
    "an alias of nothing": Bad(
        (model("alias", promotion={"mode": "Manual"}, aliases={"champion": "alias-000000000000"}),),
        "AliasOfNothing",
        ("aliases.champion", "alias-000000000000"),
    ),
    "a monitor without a reference": Bad(
        (
            model("blind"),
            job("blind", GRAPH),
            thing("InferenceService", "blind", {"model": {"name": "blind"}, "runtime": {"kind": "Python"}}),
            thing("DriftMonitor", "blind", {"target": {"inferenceService": "blind"}}),
        ),
        "NoReference",
        ("no reference rows", "holdout", "spec.reference"),
    ),
    "a cron line that is none": Bad(
        (
            model(
                "cron",
                training={
                    "template": template(),
                    "triggers": [{"type": "Schedule", "schedule": {"cron": "61 3 * * 1"}}],
                },
            ),
        ),
        "InvalidSchedule",
        ("cron", "61 3 * * 1"),
        namespace=QUOTA,
    ),
    "a quota that is used up": Bad(
        (job("quota"),),
        "QuotaExceeded",
        ("ResourceQuota 'small' forbids the pod", "raise the quota"),
        namespace=QUOTA,
    ),
    "root in a restricted namespace": Bad(
        (job("root", podTemplatePatch={"spec": {"containers": [AS_ROOT]}}),),
        "NeedsRoot",
        ("Pod Security level 'restricted:latest' forbids the pod", "runAsUser=0", "Correct podTemplatePatch"),
    ),
}

REJECTED = {
    "a name too long": (model("m" * 41), ("name", "40")),
    "a cron line too short": (
        model("cron", training={"template": template(), "triggers": [{"type": "Schedule", "schedule": {"cron": "3"}}]}),
        ("cron",),
    ),
}


async def _spoil() -> None:
    """A quota that leaves no room, and a store's credential that is not its own."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    await kube(QUOTA).apply({**quota, "spec": {"hard": {"limits.memory": "16Mi"}}})
    wrong = base64.b64encode(b"wrong").decode()
    await kube(STORE).kubectl("patch", "secret", "gyre-store", "-p", f'{{"data": {{"secret_access_key": "{wrong}"}}}}')


async def _apply_all() -> None:
    await fresh(HERE, QUOTA, STORE)
    await install(f"{HERE},{STORE}")
    await _spoil()
    for row in TABLE.values():
        for item in row.apply:
            await kube(row.namespace).apply(item)


@pytest.fixture(scope="module")
def deadline() -> Iterator[float]:
    """When every row must have spoken; all of them are applied by now."""
    asyncio.run(_apply_all())
    yield time.monotonic() + PATIENCE
    delete = ("kubectl", "delete", "namespace", HERE, QUOTA, STORE, "--wait=false")
    asyncio.run(kube(HERE).run(*delete))


async def said(row: Bad, last: float) -> tuple[str, str]:
    """Reason and sentence of the Ready condition, once the reason is the row's or the time is over."""
    kind, name = row.speaks or (row.apply[-1]["kind"], row.apply[-1]["metadata"]["name"])
    while True:
        items = await kube(row.namespace).list(kind)
        ready = condition(next((each for each in items if each["metadata"]["name"].startswith(name)), None))
        if ready.get("reason") == row.reason or time.monotonic() > last:
            return ready.get("reason", ""), ready.get("message", "")
        await asyncio.sleep(1)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
async def test_bad_input_is_told(row: Bad, deadline: float) -> None:
    """The Ready condition carries the reason, and a sentence with what is wrong and what cures it."""
    reason, message = await said(row, deadline)
    assert reason == row.reason, message
    for part in row.says:
        assert part in message


@pytest.mark.parametrize(("manifest", "says"), REJECTED.values(), ids=REJECTED)
@pytest.mark.usefixtures("deadline")
async def test_bad_input_is_refused(manifest: Json, says: tuple[str, ...]) -> None:
    """What the API server can see it refuses, with the field and the cure."""
    with pytest.raises(StoryError) as refusal:
        await kube(HERE).apply(manifest)
    for part in says:
        assert part in str(refusal.value)


@pytest.mark.usefixtures("deadline")
async def test_mlflow_away() -> None:
    """A training does not need MLflow; its version says that registration follows, and it does."""
    row = Bad(
        (model("away"), job("away", GRAPH)),
        "RegistryUnreachable",
        ("MLflow", "Registration follows when it is back"),
        speaks=("ModelVersion", "away-"),
    )
    system = kube(SYSTEM)
    await system.kubectl("scale", "deployment/gyre-mlflow", "--replicas=0", "--timeout=1m")
    try:
        for item in row.apply:
            await kube(HERE).apply(item)
        reason, message = await said(row, time.monotonic() + PATIENCE / 2)
        assert reason == row.reason, message
        for part in row.says:
            assert part in message
    finally:
        await system.kubectl("scale", "deployment/gyre-mlflow", "--replicas=1")
    back = Bad(row.apply, "Ready", (), speaks=row.speaks)
    assert (await said(back, time.monotonic() + PATIENCE))[0] == "Ready"
