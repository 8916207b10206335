"""The Job of a look, and the DriftReport that comes of it. Pure."""

import json
from typing import Any

from gyre_crds import names
from gyre_crds.base import API_VERSION
from gyre_crds.contracts import task
from gyre_crds.contracts.store import history_prefix, import_prefix, report_prefix
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReportSpec, LookStatus
from gyre_operators.drift.observed import Ground
from gyre_operators.drift.target import Target
from gyre_operators.engine.plan import Manifest
from gyre_operators.workload.template import (
    hardened,
    meta,
    patched,
    pod_fields,
    pod_security,
    resources_of,
    store_env,
    tmp_volume,
)

ROLE = "look"
CONTAINER = "look"

_DEADLINE_SECONDS = 3600
_NAMES = 5
_TTL_SECONDS = 600
"""How long a finished Job stays for `kubectl logs`; its report is taken within seconds. Windows may be short."""


def job_name(monitor: str, window_start: str, failures: int) -> str:
    """The Job of one try: the same window and try always name the same Job."""
    return names.child(monitor, window_start, str(failures))


def order(monitor: DriftMonitor, target: Target, look: LookStatus, ground: Ground) -> task.LookOrder:
    """What the Job is told."""
    meta_, consecutive = monitor.metadata, monitor.status.consecutive if monitor.status else 0
    return task.LookOrder(
        namespace=meta_.namespace,
        monitor=meta_.name,
        service=target.service,
        version=target.version,
        profile=target.reference,
        window_start=look.window_start,
        window_end=look.window_end,
        spec=monitor.spec,
        contract=target.contract,
        revisions=list(target.revisions),
        out=f"{ground.store}/{report_prefix(meta_.name, look.window_start)}",
        history=f"{ground.store}/{history_prefix(meta_.name)}",
        consecutive=consecutive,
        redacted=list(target.redacted),
        imports=f"{ground.store}/{import_prefix(meta_.name)}" if monitor.spec.evidently else None,
        imported_until=monitor.status.imported_until if monitor.status else None,
    )


def look_job(monitor: DriftMonitor, target: Target, look: LookStatus, ground: Ground) -> Manifest:
    """One look as a Job of one pod; trying again is the controller's business."""
    labels = {names.ROLE: ROLE, names.MONITOR: monitor.metadata.name}
    known = {names.MANAGED_BY: names.MANAGER, **labels}
    template = patched(_template(monitor, target, look, ground), monitor.spec.pod_template_patch, known)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta(monitor, look.job, labels),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": _TTL_SECONDS,
            "template": template,
        },
    }


def report_names(monitor: str, window_start: str) -> tuple[str, ...]:
    """What a look's report may be called: the first name, unless something made by hand has it."""
    others = (names.child(monitor, window_start, f"report-{number}") for number in range(2, _NAMES + 1))
    return (names.report(monitor, window_start), *others)


def report(monitor: DriftMonitor, name: str, spec: DriftReportSpec) -> Manifest:
    """The look's result under one of its `report_names`."""
    own = spec.model_copy(update={"monitor": monitor.metadata.name, "inference_service": None, "may_act": True})
    return {
        "apiVersion": API_VERSION,
        "kind": "DriftReport",
        "metadata": meta(monitor, name, {names.MONITOR: monitor.metadata.name}),
        "spec": own.dump(),
    }


def imported(monitor: DriftMonitor, one: task.Import) -> Manifest | None:
    """The report of one of Evidently's files; the same file always names the same report. None where it is none."""
    if one.spec is None or monitor.spec.evidently is None:
        return None
    update = {"monitor": None, "inference_service": monitor.spec.target.inference_service}
    own = one.spec.model_copy(update={**update, "may_act": monitor.spec.evidently.may_act})
    labels = {names.MONITOR: monitor.metadata.name}
    return {
        "apiVersion": API_VERSION,
        "kind": "DriftReport",
        "metadata": meta(monitor, imported_name(monitor.metadata.name, one.key), labels),
        "spec": own.dump(),
    }


def imported_name(monitor: str, key: str) -> str:
    """The report of one of Evidently's files."""
    return names.child(monitor, "evidently", key)


def _template(monitor: DriftMonitor, target: Target, look: LookStatus, ground: Ground) -> dict[str, Any]:
    told = json.dumps(order(monitor, target, look, ground).dump(), sort_keys=True)
    container = hardened(
        {
            "name": CONTAINER,
            "image": ground.image,
            "imagePullPolicy": ground.pull_policy,
            "args": ["look"],
            "env": [{"name": task.ENV, "value": told}, *store_env()],
            "resources": resources_of(monitor.spec.resources, cpu="100m", memory="256Mi"),
        }
    )
    return {
        "spec": {
            **pod_fields(monitor.spec),
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(),
            "containers": [container],
            "volumes": [tmp_volume("1Gi")],
        }
    }
