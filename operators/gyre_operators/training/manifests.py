"""The objects of a TrainingJob: one Indexed Job for each attempt, and the ModelVersion."""

import json
from typing import Any

from gyre_crds import names
from gyre_crds.base import amount, seconds
from gyre_crds.contracts.attempt import PROGRESS_PORT, AttemptOrder, Env, Path, PublishResult, WrapperOrder
from gyre_crds.contracts.store import StoreSecret
from gyre_crds.v1alpha1.training import AttemptStatus, DataSource, Resolved, TrainingJob
from gyre_crds.v1alpha1.version import DataLineage, Lineage, ModelVersionSpec, Source
from gyre_operators.engine.plan import Manifest
from gyre_operators.gpu.fit import PRODUCT, Fit
from gyre_operators.training.seen import Observed, Site
from gyre_operators.workload.merge import strategic_merge
from gyre_operators.workload.template import (
    container_security,
    env,
    own_security,
    owned_by,
    pod_fields,
    pod_security,
    secret_env,
    store_env,
)

PUBLISH_MEMORY = "256Mi"
"""What publish reserves beside the user's container."""
_PUBLISH_LIMIT = "1Gi"
_PREPARE_LEAST = "512Mi"
_CHECKPOINTS = "/gyre/checkpoints"
_MEMORY, _CPU = "memory", "cpu"


def attempt_job(seen: Observed, attempt: AttemptStatus, *, gpu: Fit | None, as_uid: int | None) -> Manifest:
    """The Job of one attempt; `as_uid` runs the user's image as that user instead of its own."""
    job = seen.job
    labels = _labels(job, attempt)
    template = {"metadata": {"labels": labels}, "spec": _pod(seen, attempt, gpu, as_uid)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": attempt.job,
            "namespace": job.metadata.namespace,
            "labels": labels,
            "ownerReferences": [owned_by(job)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            # A disruption ends this Job and is an attempt of its own, so that every start of a pod
            # is on record and bounded.
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ],
            },
            "template": strategic_merge(template, job.spec.pod_template_patch or {}),
        },
    }


def _labels(job: TrainingJob, attempt: AttemptStatus) -> dict[str, str]:
    return {
        names.MANAGED_BY: names.MANAGER,
        names.MODEL: job.spec.model,
        names.TRAINING_JOB: job.metadata.name,
        names.ATTEMPT: str(attempt.number),
        names.ROLE: "attempt",
    }


def _pod(seen: Observed, attempt: AttemptStatus, gpu: Fit | None, as_uid: int | None) -> dict[str, Any]:
    spec, site = seen.job.spec, seen.site
    order = json.dumps(attempt_order(seen, attempt).dump(), separators=(",", ":"))
    claims = [source for source in spec.data if source.claim is not None]
    pod: dict[str, Any] = {
        **pod_fields(spec),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "initContainers": [_prepare(seen, attempt, order)],
        # publish comes first so that it stands ready, and holds the store's credential, before
        # the user's code runs; the two share files, never an environment.
        "containers": [_publish(site, order), _train(seen, attempt, gpu, as_uid)],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in ("gyre", "truth", "tmp")),
            *(
                {"name": f"claim-{source.name}", "persistentVolumeClaim": {"claimName": source.claim.name}}
                for source in claims
                if source.claim is not None
            ),
        ],
    }
    if gpu is not None and gpu.products:
        pod["affinity"] = _only_on(gpu.products)
    return pod


def attempt_order(seen: Observed, attempt: AttemptStatus) -> AttemptOrder:
    """What prepare and publish are told."""
    job, champion = seen.job, seen.champion
    drift = job.spec.trigger is not None and job.spec.trigger.type == "Drift"
    checkpoint = job.spec.checkpoint
    return AttemptOrder(
        namespace=job.metadata.namespace,
        job=job.metadata.name,
        uid=job.metadata.uid,
        number=attempt.number,
        model=job.spec.model,
        contract=seen.contract,
        data=job.spec.data,
        resolved=job.status.resolved if job.status else None,
        params=job.spec.params,
        image=job.spec.image,
        command=[*job.spec.command, *job.spec.args],
        excluded=list(seen.excluded),
        champion_input=champion.spec.lineage.input_digest if champion and drift else None,
        parent=champion.metadata.name if champion else None,
        checkpoint_path=_shared_checkpoints(checkpoint.path) if checkpoint else None,
        checkpoint_seconds=seconds(checkpoint.every) if checkpoint else 30.0,
    )


def _shared_checkpoints(path: str) -> str:
    """Where prepare and publish find the checkpoint directory: always on the shared volume."""
    return path if path.startswith(f"{Path.ROOT}/") else _CHECKPOINTS


def _prepare(seen: Observed, attempt: AttemptStatus, order: str) -> dict[str, Any]:
    spec, site = seen.job.spec, seen.site
    trained = _train_resources(seen, attempt)["requests"]
    least = max((str(trained[_MEMORY]), _PREPARE_LEAST), key=amount)
    claims = [
        {"name": f"claim-{source.name}", "mountPath": f"{Path.CLAIMS}/{source.name}", "readOnly": True}
        for source in spec.data
        if source.claim is not None
    ]
    return {
        "name": "prepare",
        **_own(site, "prepare"),
        "env": [*_own_env(order), *(each for source in spec.data for each in _credentials(source))],
        # What init containers ask for is not added to the others: using the training's own share is free.
        "resources": {"requests": {_CPU: trained[_CPU], _MEMORY: least}, "limits": {_MEMORY: least}},
        "volumeMounts": [*_own_mounts("prepare"), *claims],
    }


def _publish(site: Site, order: str) -> dict[str, Any]:
    return {
        "name": "publish",
        **_own(site, "publish"),
        "env": [*_own_env(order), env(Env.MLFLOW, site.mlflow_url)],
        "resources": {"requests": {_CPU: "50m", _MEMORY: PUBLISH_MEMORY}, "limits": {_MEMORY: _PUBLISH_LIMIT}},
        "volumeMounts": _own_mounts("publish"),
    }


def _own(site: Site, command: str) -> dict[str, Any]:
    return {
        "image": site.pipelines_image,
        "imagePullPolicy": site.pull_policy,
        "command": ["gyre-pipelines", command],
        "securityContext": own_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _own_env(order: str) -> list[dict[str, Any]]:
    return [env(Env.ATTEMPT, order), env("HOME", "/tmp"), *store_env()]  # noqa: S108  an emptyDir of the pod's own


def _own_mounts(name: str) -> list[dict[str, Any]]:
    return [
        {"name": "gyre", "mountPath": Path.ROOT.value},
        {"name": "truth", "mountPath": Path.TRUTH.rpartition("/")[0]},
        {"name": "tmp", "mountPath": "/tmp", "subPath": name},  # noqa: S108  an emptyDir of the pod's own
    ]


def _credentials(source: DataSource) -> list[dict[str, Any]]:
    """The source's own Secret, under the names that prepare reads for it."""
    if source.secret_ref is None:
        return []
    prefix = f"{Env.SOURCE_PREFIX}{source.name.upper().replace('-', '_')}_"
    keys = (StoreSecret.ENDPOINT, StoreSecret.REGION, StoreSecret.ACCESS_KEY_ID, StoreSecret.SECRET_ACCESS_KEY)
    needed = StoreSecret.ACCESS_KEY_ID
    return [
        secret_env(f"{prefix}{key.value.upper()}", source.secret_ref.name, key, optional=key is not needed)
        for key in keys
    ]


def _train(seen: Observed, attempt: AttemptStatus, gpu: Fit | None, as_uid: int | None) -> dict[str, Any]:
    spec = seen.job.spec
    resources = _train_resources(seen, attempt)
    limit = resources["limits"].get(_MEMORY)
    order = WrapperOrder(
        command=[*spec.command, *spec.args],
        hang_seconds=seconds(spec.progress.timeout) if spec.progress else None,
        memory_bytes=int(amount(limit)) if limit else None,
        checkpoint_path=spec.checkpoint.path if spec.checkpoint else None,
    )
    if gpu is not None and gpu.status.resource:
        resources["limits"][gpu.status.resource] = str(gpu.count)
    security = container_security()
    variables = [variable.dump() for variable in spec.env]
    if as_uid is not None:
        security["runAsUser"] = as_uid
        # The user has no entry in the image's passwd, so its home would be a directory it cannot write to.
        variables = [*_unless_set(variables, env("HOME", "/tmp")), *variables]  # noqa: S108  in the user's container
    return {
        "name": "train",
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", Path.WRAPPER.value],
        "env": [*variables, env(Env.WRAPPER, json.dumps(order.dump(), separators=(",", ":")))],
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT}],
        "resources": resources,
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "gyre", "mountPath": Path.ROOT.value}, *_checkpoint_mount(seen.job)],
    }


def _unless_set(variables: list[dict[str, Any]], variable: dict[str, Any]) -> list[dict[str, Any]]:
    return [] if any(each["name"] == variable["name"] for each in variables) else [variable]


def _checkpoint_mount(job: TrainingJob) -> list[dict[str, Any]]:
    checkpoint = job.spec.checkpoint
    if checkpoint is None or checkpoint.path.startswith(f"{Path.ROOT}/"):
        return []
    # prepare has made the directory, writable for any user, before this mount is set up.
    return [{"name": "gyre", "mountPath": checkpoint.path, "subPath": _CHECKPOINTS.removeprefix(f"{Path.ROOT}/")}]


def memory_of(seen: Observed) -> str:
    """The memory a first attempt runs with."""
    resources, site = seen.job.spec.resources, seen.site
    return str(resources.limits.get(_MEMORY) or resources.requests.get(_MEMORY) or site.memory)


def _train_resources(seen: Observed, attempt: AttemptStatus) -> dict[str, dict[str, Any]]:
    """Requests and limits; the attempt's memory stands where the spec's (or the default) stood."""
    resources, site = seen.job.spec.resources, seen.site
    memory = attempt.memory or memory_of(seen)
    requests, limits = dict(resources.requests), dict(resources.limits)
    asked_without_limit = _MEMORY in requests and _MEMORY not in limits
    if not asked_without_limit:
        limits[_MEMORY] = memory
    kept = _MEMORY in requests and not asked_without_limit and memory == memory_of(seen)
    requests[_MEMORY] = requests[_MEMORY] if kept else memory
    requests.setdefault(_CPU, limits.get(_CPU, site.cpu))
    return {"requests": requests, "limits": limits}


def _only_on(products: tuple[str, ...]) -> dict[str, Any]:
    """Devices of one name are of different size on different cards."""
    expression = {"key": PRODUCT, "operator": "In", "values": list(products)}
    terms = [{"matchExpressions": [expression]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def model_version(seen: Observed, result: PublishResult, pinned: Resolved | None) -> Manifest:
    """The ModelVersion of a published result; it belongs to nobody, since models outlive jobs."""
    job, report, resolved = seen.job, result.report, pinned or Resolved()
    spec = ModelVersionSpec(
        model=job.spec.model,
        source=Source(uri=report.uri),
        digest=report.tree_digest,
        payload_digest=report.payload_digest,
        size=report.size,
        format=result.format,
        signature=result.signature,
        metrics=result.metrics,
        lineage=Lineage(
            job=job.metadata.name,
            attempt=seen.attempts[-1].number if seen.attempts else None,
            image=resolved.image or job.spec.image,
            environment=result.environment,
            data=[
                DataLineage(name=each.name, uri=each.uri, digest=each.digest, rows=each.rows) for each in resolved.data
            ],
            params=job.spec.params,
            input_digest=resolved.input_digest,
            parent=seen.champion.metadata.name if seen.champion else None,
            trained_at=result.trained_at,
            cut_off=result.cut_off,
        ),
        evidence=result.evidence,
        run_id=report.run_id,
    )
    labels = {names.MANAGED_BY: names.MANAGER, names.MODEL: job.spec.model}
    return {
        "apiVersion": "gyre.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {
            "name": names.version(job.spec.model, report.tree_digest),
            "namespace": job.metadata.namespace,
            "labels": labels,
        },
        "spec": spec.dump(),
    }
