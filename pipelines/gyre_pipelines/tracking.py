"""The MLflow run of an attempt. MLflow being away costs the run, never the version."""

import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gyre_crds.contracts.artifact import TreeManifest
from gyre_crds.contracts.attempt import AttemptOrder, Env
from gyre_crds.names import registered_model
from gyre_pipelines.clock import now

_TAG = "gyre.dev"
_PARAM_LIMIT = 6000


@dataclass(frozen=True)
class Run:
    """What is logged."""

    order: AttemptOrder
    metrics: Mapping[str, float]
    tree: TreeManifest
    uri: str
    input_digest: str | None
    local_runs: Path
    """Runs that the training logged itself, to a local store."""


def configure() -> None:
    """Short waits and no telemetry, before mlflow is imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")


def warm_up(environment: Mapping[str, str]) -> None:
    """Import mlflow while the training runs: seconds that a finished training need not wait for."""
    if environment.get(Env.MLFLOW):
        configure()
        importlib.import_module("mlflow.tracking")


def log_run(run: Run, environment: Mapping[str, str]) -> str | None:
    """The run's id, or None where MLflow is not configured or does not answer (said on stderr)."""
    server = environment.get(Env.MLFLOW, "")
    if not server:
        return None
    configure()
    try:
        return _log(run, server)
    except Exception as error:  # noqa: BLE001  any trouble with the display is only a line in the log
        print(f"no MLflow run: {server}: {str(error).splitlines()[0][:300]}", file=sys.stderr, flush=True)  # noqa: T201
        return None


def tags(run: Run) -> dict[str, str]:
    """What links the run to Kubernetes and to the bytes."""
    order = run.order
    found = {
        "namespace": order.namespace,
        "model": order.model,
        "training-job": order.job,
        "uid": order.uid,
        "attempt": str(order.number),
        "image": order.image,
        "digest": run.tree.tree_digest,
        "payload-digest": run.tree.payload_digest,
        "input-digest": run.input_digest or "",
        "artifact": run.uri,
    }
    return {f"{_TAG}/{name}": value for name, value in found.items() if value}


def _log(run: Run, server: str) -> str:
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415  two seconds, see warm_up
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    client = MlflowClient(tracking_uri=server)
    name = registered_model(run.order.namespace, run.order.model)
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    made = client.create_run(experiment_id, run_name=f"{run.order.job}-a{run.order.number}")
    local_params, local_metrics = _local(run.local_runs)
    milliseconds = int(now().timestamp() * 1000)
    params = {**local_params, **{key: str(value) for key, value in run.order.params.items()}}
    client.log_batch(
        made.info.run_id,
        metrics=[Metric(key, value, milliseconds, 0) for key, value in {**local_metrics, **run.metrics}.items()],
        params=[Param(key, value[:_PARAM_LIMIT]) for key, value in params.items()],
        tags=[RunTag(key, value) for key, value in tags(run).items()],
    )
    client.set_terminated(made.info.run_id)
    return str(made.info.run_id)


def _local(runs: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Parameters and last metrics that the training logged to its local store."""
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    for path in sorted(runs.glob("*/*/params/*")) if runs.is_dir() else []:
        params[path.name] = path.read_text(encoding="utf-8")
    for path in sorted(runs.glob("*/*/metrics/*")) if runs.is_dir() else []:
        fields: list[Any] = path.read_text(encoding="utf-8").strip().splitlines()[-1:]
        words = fields[0].split() if fields else []
        if len(words) > 1:
            metrics[path.name] = float(words[1])
    return params, metrics
