"""Which versions may go: what Gyre made, beyond the newest, and nobody uses. Pure."""

from gyre_crds.v1alpha1.model import VersionRef
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.model.observed import Observed, age, is_ready, is_stalled


def expendable(seen: Observed, *roles: VersionRef | None) -> list[ModelVersion]:
    """Versions that retention removes now, oldest first. `roles` are never among them."""
    newest = sorted(seen.versions, key=age, reverse=True)[: seen.model.spec.retention.keep]
    kept = {version.metadata.name for version in newest} | _in_use(seen)
    kept |= {role.name for role in roles if role is not None}
    return [
        version
        for version in sorted(seen.versions, key=age)
        if version.metadata.name not in kept and _ours(version) and _settled(version)
    ]


def _in_use(seen: Observed) -> set[str]:
    """What services serve, try or name, and what people named."""
    names = {seen.model.spec.aliases.champion} if seen.model.spec.aliases else set()
    for service in seen.services:
        status = service.status
        refs = (status.stable, status.candidate) if status is not None else ()
        names |= {ref.version for ref in refs if ref is not None}
        names |= {service.spec.model.version} if service.spec.model.version else set()
    return names | {
        version.metadata.name
        for version in seen.versions
        if version.status is not None and (version.status.used_by or version.status.aliases)
    }


def _ours(version: ModelVersion) -> bool:
    """A version that a person registered in MLflow is theirs to remove."""
    return version.spec.source.mlflow is None


def _settled(version: ModelVersion) -> bool:
    """A version whose gates still run is not judged by its age."""
    return is_ready(version.status) or is_stalled(version.status)
