"""The TrainingJob controller: what it watches, may write, and asks outside of Kubernetes."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gyre_crds import names
from gyre_crds.reasons import Training
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport
from gyre_crds.v1alpha1.model import Model
from gyre_crds.v1alpha1.training import TrainingJob
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.controller import CREATE, DELETE, Controller, Grant, Services
from gyre_operators.engine.kinds import EVENT, JOB, NODE, POD, gyre
from gyre_operators.engine.plan import Key, Plan
from gyre_operators.engine.store import Entry, Stores
from gyre_operators.engine.watch import Parents, Watch, by_label, by_none, by_owner, own
from gyre_operators.training.metrics import Metrics
from gyre_operators.training.observe import Sources, gather, site_of
from gyre_operators.training.plan import plan
from gyre_operators.training.progress import Progress
from gyre_operators.training.seen import Observed
from gyre_operators.workload.views import Happening, Job, Node, Pod


def _waiting_for_nodes(_entry: Entry[Any], stores: Stores) -> Iterable[Key]:
    """A node's change matters to those alone that no node fits."""
    return [
        Key(job.metadata.namespace, job.metadata.name)
        for job in stores.of_kind(TrainingJob).all()
        if job.status is not None and job.status.reason == Training.NO_GPU_FITS and job.status.finished_at is None
    ]


def _its_job(entry: Entry[Any], stores: Stores) -> Iterable[Key]:
    """The TrainingJob of the Job that an event is about."""
    event = entry.value
    if not isinstance(event, Happening):
        return ()
    job = stores.of(JOBS).get(Key(entry.key.namespace, event.involved_object.name))
    owners = job.metadata.owner_references if job else ()
    return [Key(entry.key.namespace, owner.name) for owner in owners if owner.kind == TrainingJob.KIND]


def _unfinished(parents: Parents) -> Parents:
    """Those of the keys whose job goes on: what happens to the pods of a finished one changes nothing any more."""

    def found(entry: Entry[Any], stores: Stores) -> Iterable[Key]:
        return [key for key in parents(entry, stores) if not _is_finished(stores.of_kind(TrainingJob).get(key))]

    return found


def _is_finished(job: TrainingJob | None) -> bool:
    return job is not None and job.status is not None and job.status.finished_at is not None


def _its_maker(entry: Entry[Any], _stores: Stores) -> Iterable[Key]:
    """The TrainingJob that made a version waits to see it."""
    version = entry.value
    job = version.spec.lineage.job if isinstance(version, ModelVersion) else None
    return (Key(entry.key.namespace, job),) if job else ()


def _about(event: Happening) -> Iterable[str]:
    return (event.involved_object.uid,)


JOBS = Watch(JOB, Job, _unfinished(by_owner(TrainingJob)), labels=names.TRAINING_JOB)
PODS = Watch(POD, Pod, _unfinished(by_label(names.TRAINING_JOB)), labels=names.TRAINING_JOB)
NODES = Watch(NODE, Node, _waiting_for_nodes)
REFUSALS = Watch(
    EVENT,
    Happening,
    _its_job,
    fields="reason=FailedCreate,involvedObject.kind=Job",
    indexes={"about": _about},
)


class TrainingController(Controller[Observed]):
    """One training, possibly in several attempts."""

    name = "training"
    kind = TrainingJob
    children = (
        JOBS,
        PODS,
        NODES,
        REFUSALS,
        own(Model, by_none),
        own(ModelVersion, _its_maker),
        own(DriftMonitor, by_none),
        own(DriftReport, by_none),
    )
    grants = (Grant(JOB, CREATE + DELETE), Grant(gyre(ModelVersion), CREATE))
    settles = True
    hold = 0.2  # a pod is made, scheduled and started in several changes, and trains for minutes

    def __init__(self, services: Services) -> None:
        self._metrics = Metrics(services.metrics)
        self._sources = Sources(
            jobs=JOBS,
            pods=PODS,
            nodes=NODES,
            events=REFUSALS,
            objects=services.objects,
            progress=Progress(services.http, services.clock),
            site=site_of(services.settings),
        )

    async def observe(self, key: Key, stores: Stores) -> Observed | None:
        """See `training.observe`."""
        seen = await gather(key, stores, self._sources)
        if seen is None:
            left = stores.of_kind(TrainingJob).all(key.namespace)
            self._metrics.forget(key.namespace, frozenset(job.metadata.uid for job in left))
        else:
            self._metrics.show(seen.job)
        return seen

    def plan(self, observed: Observed, now: datetime) -> Plan:
        """See `training.plan`."""
        return plan(observed, now)
