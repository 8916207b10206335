"""The task Jobs of a version: their names and orders."""

from gyre_crds import names
from gyre_crds.base import ApiModel
from gyre_crds.contracts.attempt import Env
from gyre_crds.contracts.store import profile_path
from gyre_crds.contracts.task import AdoptOrder, Candidate, GateOrder, ProfileOrder, VerifyOrder
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.model import Gate, Model
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.plan import Manifest
from gyre_operators.version.seen import Observed, tree_digest, tree_uri
from gyre_operators.workload.tasks import Task, task_job
from gyre_operators.workload.template import owned_by

FIRST = 1


def job_name(version: str, role: str, *about: str, number: int = FIRST) -> str:
    """The Job of a task's n-th run, e.g. `census-ab12-5f3c9d01-gate-1`."""
    return names.child(version, role, *about, suffix=f"-{role}-{number}")


def number_of(job: str | None) -> int:
    """Which run a Job's name speaks of; 0 for none."""
    tail = job.rpartition("-")[2] if job else ""
    return int(tail) if tail.isdigit() else 0


def verify_job(seen: Observed, name: str) -> Manifest:
    """Digest the stored tree again."""
    order = VerifyOrder(uri=seen.uri or "", digest=seen.digest or "")
    return _pipelines(seen, name, "verify", order)


def adopt_job(seen: Observed, name: str) -> Manifest:
    """Digest and copy a version that a person registered in MLflow."""
    source = seen.version.spec.source.mlflow
    if source is None:
        raise ValueError("source.mlflow is not set")
    order = AdoptOrder(
        namespace=seen.version.metadata.namespace,
        model=seen.version.spec.model,
        name=source.name,
        version=source.version,
        contract=seen.model.spec.contract if seen.model else None,
    )
    return _pipelines(seen, name, "adopt", order)


def gate_job(seen: Observed, name: str, gate: Gate, model: Model) -> Manifest:
    """Evaluate one gate."""
    if gate.type not in ("Metric", "Champion", "GoldenRows"):
        raise ValueError(f"gate type {gate.type} needs no Job")
    against = seen.other_champion if gate.type == "Champion" else None
    order = GateOrder(
        gate=gate.name,
        type=gate.type,
        contract=model.spec.contract,
        candidate=_candidate(seen.version),
        champion=_candidate(against) if against else None,
        metric=gate.metric,
        min=gate.min,
        max=gate.max,
        logged=seen.version.spec.metrics,
        service=model.spec.promotion.proven_by,
        excluded=list(seen.excluded) if gate.type == "Champion" else [],
    )
    return _pipelines(seen, name, "gate", order)


def _candidate(version: ModelVersion) -> Candidate:
    status, spec = version.status, version.spec
    return Candidate(
        name=version.metadata.name,
        uri=tree_uri(version) or "",
        digest=tree_digest(version) or "",
        signature=spec.signature or (status.signature if status else None),
        holdout=spec.evidence.holdout,
        reference=spec.evidence.reference,
        cut_off=spec.lineage.cut_off,
    )


def profile_uri(version: ModelVersion, store: str) -> str | None:
    """Where a version's drift profile is, or will be; None for a version without digest.

    `store` is the URI under which the namespace's objects are.
    """
    digest = tree_digest(version)
    return version.spec.evidence.profile or (f"{store}/{profile_path(digest)}" if digest else None)


def profile_job(seen: Observed, name: str, contract: Contract) -> Manifest:
    """Make the drift profile of the reference rows."""
    order = ProfileOrder(
        reference=seen.version.spec.evidence.reference or "",
        out=profile_uri(seen.version, seen.store) or "",
        contract=contract,
    )
    image, command = seen.site.monitoring_image, ("gyre-monitoring", "profile")
    return task_job(_task(seen, name, "profile", order, image=image, command=command))


def _pipelines(seen: Observed, name: str, role: str, order: ApiModel) -> Manifest:
    return task_job(_task(seen, name, role, order, image=seen.site.pipelines_image, command=("gyre-pipelines", role)))


def _task(seen: Observed, name: str, role: str, order: ApiModel, *, image: str, command: tuple[str, ...]) -> Task:
    meta = seen.version.metadata
    return Task(
        name=name,
        namespace=meta.namespace,
        owner=owned_by(seen.version),
        labels={names.VERSION: meta.name, names.MODEL: seen.version.spec.model, names.ROLE: role},
        image=image,
        pull_policy=seen.site.pull_policy,
        command=command,
        order=order,
        variables={Env.MLFLOW.value: seen.site.mlflow_url} if role == "adopt" else {},
    )
