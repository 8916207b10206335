"""Which version is champion, and which is on its way to be. Pure."""

from dataclasses import dataclass

from gyre_crds.reasons import ModelReason
from gyre_crds.v1alpha1.inference import InferenceService
from gyre_crds.v1alpha1.model import VersionRef
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.model.observed import Observed, age, is_ready

COMPARED = ("Champion", "SchemaCompatible")
"""Types of gates that hold a version against the champion."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Champion and challenger, and what keeps them from moving."""

    champion: VersionRef | None
    challenger: VersionRef | None
    problem: ModelReason | None = None
    message: str = ""


def roles(seen: Observed, now: str) -> Roles:
    """Who has which role now; `now` (RFC 3339) stamps a role that is new."""
    champion = _standing(seen) or _restored(seen, now)
    if seen.model.spec.promotion.mode == "Manual":
        return _manual(seen, champion, now)
    return _auto(seen, champion, now)


def rejected(seen: Observed) -> frozenset[str]:
    """Versions that the proving service refused; without one, those that any service refused."""
    services = (seen.prover,) if seen.prover is not None else seen.services
    return frozenset(
        entry.version for service in services if service.status is not None for entry in service.status.rejected
    )


def _auto(seen: Observed, champion: VersionRef | None, now: str) -> Roles:
    challenger = _challenger(seen, champion, now)
    if challenger is None:
        return Roles(champion, None)
    proven_by = seen.model.spec.promotion.proven_by
    if proven_by is None:
        return Roles(_ref(seen, challenger.name, now), None)
    if seen.prover is None:
        message = f"spec.promotion.provenBy: there is no InferenceService {proven_by} of this model; apply it"
        return Roles(champion, challenger, ModelReason.PROVING, message)
    if _finished(seen.prover, challenger.name):
        return Roles(_ref(seen, challenger.name, now), None)
    return Roles(champion, challenger, ModelReason.PROVING, _proving(seen.prover, challenger.name))


def _manual(seen: Observed, champion: VersionRef | None, now: str) -> Roles:
    """The line in git rules, forwards and backwards; gates only say which version could be next."""
    wish = seen.model.spec.aliases.champion if seen.model.spec.aliases else None
    if wish is not None and not any(version.metadata.name == wish for version in seen.versions):
        message = (
            f"spec.aliases.champion: there is no ModelVersion {wish} of this model; "
            "name one that `kubectl get mv` shows"
        )
        return Roles(champion, _challenger(seen, champion, now), ModelReason.ALIAS_OF_NOTHING, message)
    if wish is not None and (champion is None or champion.name != wish):
        champion = _ref(seen, wish, now)
    return Roles(_numbered(seen, champion), _challenger(seen, champion, now))


def _challenger(seen: Observed, champion: VersionRef | None, now: str) -> VersionRef | None:
    """The version under proof as long as it may be; after it, the newest that passed its gates."""
    refused = rejected(seen)
    standing = next((v for v in seen.versions if champion is not None and v.metadata.name == champion.name), None)
    able = [
        version
        for version in sorted(seen.versions, key=age)
        if is_ready(version.status)
        and version.metadata.name not in refused
        and (standing is None or age(version) > age(standing))
        and _is_measured(version, standing)
    ]
    names = [version.metadata.name for version in able]
    current = seen.status.challenger
    if current is not None and current.name in names:
        return _numbered(seen, current)
    return _ref(seen, names[-1], now) if names else None


def _is_measured(version: ModelVersion, champion: ModelVersion | None) -> bool:
    """Whether each gate that compares was asked about the champion of now; one that was not is being repeated."""
    digest = _digest(champion) if champion is not None else None
    gates = version.status.gates if version.status is not None else []
    return all(gate.champion == digest for gate in gates if gate.type in COMPARED)


def _digest(version: ModelVersion) -> str | None:
    return version.spec.digest or (version.status.digest if version.status is not None else None)


def _standing(seen: Observed) -> VersionRef | None:
    champion = seen.status.champion
    exists = champion is not None and any(v.metadata.name == champion.name for v in seen.versions)
    return _numbered(seen, champion) if exists else None


def _restored(seen: Observed, now: str) -> VersionRef | None:
    """Without a champion on record (a restored cluster), the one that serves is it."""
    first = [seen.prover] if seen.prover is not None else []
    for service in [*first, *seen.services]:
        stable = service.status.stable if service.status is not None else None
        if stable is not None and any(v.metadata.name == stable.version for v in seen.versions):
            # Serving it is what moves the champion, so a first rollout that just ended is no restore.
            return _ref(seen, stable.version, now)
    return None


def _finished(service: InferenceService, version: str) -> bool:
    status = service.status
    return (
        status is not None
        and status.stable is not None
        and status.stable.version == version
        and status.candidate is None
    )


def _proving(service: InferenceService, version: str) -> str:
    status = service.status
    doing = f": {status.state}, {status.reason}" if status is not None and status.reason else ""
    return f"{version} passed its gates; InferenceService {service.metadata.name} proves it{doing}"


def _ref(seen: Observed, name: str, now: str) -> VersionRef:
    version = _version(seen, name)
    return VersionRef(name=name, number=_number(version), since=now)


def _numbered(seen: Observed, ref: VersionRef | None) -> VersionRef | None:
    """The reference with the number that MLflow may have given since."""
    if ref is None:
        return None
    return ref.model_copy(update={"number": _number(_version(seen, ref.name)) or ref.number})


def _number(version: ModelVersion | None) -> str | None:
    registry = version.status.registry if version is not None and version.status is not None else None
    return registry.version if registry is not None else None


def _version(seen: Observed, name: str) -> ModelVersion | None:
    return next((version for version in seen.versions if version.metadata.name == name), None)
