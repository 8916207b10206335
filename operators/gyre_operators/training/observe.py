"""All that the decision about one TrainingJob needs, gathered into one frozen value."""

from dataclasses import dataclass, replace

from pydantic import ValidationError

from gyre_crds import names
from gyre_crds.contracts.attempt import PublishResult, Span
from gyre_crds.contracts.store import job_prefix
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.training import AttemptStatus, TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.drift.broken import broken_windows
from gyre_operators.engine.guard import UnavailableError
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Stores
from gyre_operators.engine.watch import Watch
from gyre_operators.settings import Settings
from gyre_operators.training.progress import ProgressSource
from gyre_operators.training.seen import Away, Observed, Site
from gyre_operators.workload.views import Happening, Job, Node, Pod


def site_of(settings: Settings) -> Site:
    """What the operator's settings give every attempt."""
    return Site(
        pipelines_image=settings.images.pipelines,
        pull_policy=settings.images.pull_policy,
        mlflow_url=settings.mlflow.url,
        cpu=str(settings.defaults.cpu),
        memory=str(settings.defaults.memory),
        deadline=settings.defaults.deadline,
        image_grace=settings.defaults.image_grace,
    )


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the observation comes from."""

    jobs: Watch[Job]
    pods: Watch[Pod]
    nodes: Watch[Node]
    events: Watch[Happening]
    objects: Objects
    progress: ProgressSource
    site: Site


async def gather(key: Key, stores: Stores, sources: Sources) -> Observed | None:
    """The observation of one TrainingJob; None when there is no such job."""
    job = stores.of_kind(TrainingJob).get(key)
    if job is None:
        return None
    children = {child.metadata.name: child for child in stores.of(sources.jobs).by_owner(job.metadata.uid)}
    if job.status is not None and job.status.finished_at is not None:
        return Observed(job=job, site=sources.site, jobs=children)
    model = stores.of_kind(Model).get(Key(key.namespace, job.spec.model))
    seen = Observed(
        job=job,
        site=sources.site,
        contract=model.spec.contract if model else None,
        champion=_champion(model, stores),
        excluded=_broken_windows(job, stores),
        jobs=children,
        pods=stores.of(sources.pods).by_label(names.TRAINING_JOB, key.name, key.namespace),
        nodes=stores.of(sources.nodes).all() if _wants_nodes(job) else (),
    )
    return await _with_outside(seen, key, stores, sources)


async def _with_outside(seen: Observed, key: Key, stores: Stores, sources: Sources) -> Observed:
    attempt = seen.attempt
    if attempt is None:
        return seen
    child, pod = seen.child(attempt), seen.pod(attempt)
    if child is not None and pod is None and not child.complete and child.failed is None:
        return replace(seen, refused=_refusal(child, stores, sources))
    if _has_ended(attempt, child, pod):
        result = await _result(key.namespace, seen.job.metadata.uid, sources.objects)
        return replace(seen, result=result, version=_version(seen, result, stores))
    if pod is not None and pod.runs("train") and pod.status.pod_ip:
        return replace(seen, progress=await sources.progress.of(pod))
    return seen


def _wants_nodes(job: TrainingJob) -> bool:
    return job.spec.gpu is not None or job.spec.on_out_of_memory == "Grow"


def _champion(model: Model | None, stores: Stores) -> ModelVersion | None:
    if model is None or model.status is None or model.status.champion is None:
        return None
    return stores.of_kind(ModelVersion).get(Key(model.metadata.namespace, model.status.champion.name))


def _broken_windows(job: TrainingJob, stores: Stores) -> tuple[Span, ...]:
    services = {source.from_.inference_service for source in job.spec.data if source.from_ is not None}
    return broken_windows(services, job.metadata.namespace, stores)


def _has_ended(attempt: AttemptStatus, child: Job | None, pod: Pod | None) -> bool:
    if child is None:
        return attempt.uid is not None
    return child.complete or child.failed is not None or (pod is not None and _pod_has_ended(pod))


def _pod_has_ended(pod: Pod) -> bool:
    train = pod.terminated("train")
    return pod.ended or pod.disruption is not None or (train is not None and train.exit_code != 0)


def _refusal(child: Job, stores: Stores, sources: Sources) -> str | None:
    told = stores.of(sources.events).by("about", child.metadata.uid, child.metadata.namespace)
    newest_first = sorted(told, key=lambda event: event.last_timestamp or "", reverse=True)
    return newest_first[0].message if newest_first else None


async def _result(namespace: str, uid: str, objects: Objects) -> PublishResult | Away | None:
    uri = f"{objects.base(namespace)}/{job_prefix(uid)}/result.json"
    try:
        content = await objects.read(uri)
    except UnavailableError as error:
        return Away(str(error))
    if content is None:
        return None
    try:
        return PublishResult.model_validate_json(content, by_alias=True, by_name=False)
    except ValidationError as error:
        return Away(f"{uri} is not a publish result: {error.errors()[0]['msg']}")


def _version(seen: Observed, result: PublishResult | Away | None, stores: Stores) -> ModelVersion | None:
    if not isinstance(result, PublishResult):
        return None
    name = names.version(seen.job.spec.model, result.report.tree_digest)
    return stores.of_kind(ModelVersion).get(Key(seen.job.metadata.namespace, name))
