"""From what was seen of a namespace to its router. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gyre_crds import names
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.engine.plan import Manifest, Plan, Ref, ref
from gyre_operators.router.manifests import FEEDBACK_SECRET, Ground, feedback_secret, objects
from gyre_operators.router.table import table, table_text


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a namespace's router is made of."""

    namespace: str
    ground: Ground
    store: str
    services: tuple[InferenceService, ...] = ()
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()
    """Services that a DriftMonitor targets."""
    live: tuple[Manifest, ...] = ()
    """Objects of the router that exist."""
    has_key: bool = True
    fresh_key: str = ""
    """A random key, for the case that there is none."""


def plan(seen: Observed) -> Plan:
    """The router while there is a service, and nothing of it otherwise."""
    if not seen.services:
        return Plan(delete=(*(ref(manifest) for manifest in seen.live), *_secret(seen)))
    made = table(seen.namespace, seen.services, seen.versions, watched=seen.watched, store=seen.store)
    return Plan(
        apply=objects(seen.namespace, seen.services, table_text(made), seen.ground),
        create=() if seen.has_key else (feedback_secret(seen.namespace, seen.fresh_key),),
    )


def _secret(seen: Observed) -> tuple[Ref, ...]:
    if not seen.has_key:
        return ()
    return (Ref("v1", "Secret", seen.namespace, FEEDBACK_SECRET),)


ROUTER_LABEL = f"{names.ROLE}=router"
