"""All that the decision about one ModelVersion needs, gathered into one frozen value."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gyre_crds import names
from gyre_crds.contracts.attempt import Span
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.drift.broken import broken_windows
from gyre_operators.engine.objects import Objects
from gyre_operators.engine.plan import Key
from gyre_operators.engine.store import Stores
from gyre_operators.engine.unread import unread
from gyre_operators.engine.watch import Watch
from gyre_operators.settings import Settings
from gyre_operators.version.recording import must_ask
from gyre_operators.version.registry import RegistryDesk
from gyre_operators.version.seen import Observed, Site
from gyre_operators.workload.views import Job, Pod


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the observation comes from."""

    jobs: Watch[Job]
    pods: Watch[Pod]
    producers: Watch[TrainingJob]
    services: Watch[InferenceService]
    objects: Objects
    desk: RegistryDesk
    site: Site


def site_of(settings: Settings) -> Site:
    """What the operator's settings give every task."""
    return Site(
        pipelines_image=settings.images.pipelines,
        monitoring_image=settings.images.monitoring,
        pull_policy=settings.images.pull_policy,
        installation=settings.installation,
        mlflow_url=settings.mlflow.url,
    )


async def gather(key: Key, stores: Stores, sources: Sources) -> Observed | None:
    """The observation of one ModelVersion; None when there is no such version."""
    version = stores.of_kind(ModelVersion).get(key)
    if version is None:
        return None
    named = Key(key.namespace, version.spec.model)
    model = stores.of_kind(Model).get(named)
    producers = stores.of(sources.producers).by("version", key.name, key.namespace)
    services = stores.of(sources.services).by("version", key.name, key.namespace)
    seen = Observed(
        version=version,
        site=sources.site,
        store=sources.objects.base(key.namespace),
        model=model,
        model_gone=stores.of_kind(Model).entry(named) is None,
        champion=_champion(model, stores),
        blind=_blind(model, stores),
        jobs={job.metadata.name: job for job in stores.of(sources.jobs).by_owner(version.metadata.uid)},
        pods=stores.of(sources.pods).by_label(names.VERSION, key.name, key.namespace),
        producers=tuple(job.metadata.name for job in producers),
        users=(*(service.metadata.name for service in services), *_still(version, stores)),
        excluded=_excluded(model, stores),
    )
    return replace(seen, registry=await sources.desk.look(seen)) if must_ask(seen) else seen


def _still(version: ModelVersion, stores: Stores) -> list[str]:
    """Services that used it when they could be read last: what cannot be read now may serve it still."""
    before = version.status.used_by if version.status else []
    blind = unread(stores.of_kind(InferenceService), version.metadata.namespace) if before else {}
    return [name for name in before if name in blind]


def _excluded(model: Model | None, stores: Stores) -> tuple[Span, ...]:
    prover = model.spec.promotion.proven_by if model else None
    return broken_windows([prover], model.metadata.namespace, stores) if model and prover else ()


def _champion(model: Model | None, stores: Stores) -> ModelVersion | None:
    champion = model.status.champion if model and model.status else None
    if model is None or champion is None:
        return None
    return stores.of_kind(ModelVersion).get(Key(model.metadata.namespace, champion.name))


def _blind(model: Model | None, stores: Stores) -> str:
    champion = model.status.champion if model and model.status else None
    if model is None or champion is None:
        return ""
    entry = stores.of_kind(ModelVersion).entry(Key(model.metadata.namespace, champion.name))
    if entry is None or entry.value is not None:
        return ""
    return f"The champion, ModelVersion {champion.name}, cannot be read ({entry.error}): correct it."


def version_made(job: TrainingJob) -> Iterable[str]:
    """The version a TrainingJob names as its result."""
    return [job.status.version] if job.status and job.status.version else []


def versions_served(service: InferenceService) -> Iterable[str]:
    """The versions an InferenceService has pods or traffic for."""
    status = service.status
    refs = (status.stable, status.candidate) if status else ()
    return sorted({ref.version for ref in refs if ref is not None})
