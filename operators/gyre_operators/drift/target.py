"""What a look compares: the rows of the revision that serves, with the reference of its version. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gyre_crds.base import seconds
from gyre_crds.contracts.store import profile_path
from gyre_crds.reasons import Drift
from gyre_crds.v1alpha1.common import Contract
from gyre_crds.v1alpha1.inference import InferenceService, PayloadLog
from gyre_crds.v1alpha1.version import ModelVersion
from gyre_operators.drift.observed import Observed
from gyre_operators.engine.clock import parse_time

_GRACE = 5.0
"""Seconds that a flushed part may need to stand in the store."""


@dataclass(frozen=True, slots=True)
class Target:
    """Everything a look needs besides its window."""

    service: str
    version: str
    revisions: tuple[str, ...]
    reference: str
    contract: Contract
    redacted: tuple[str, ...]
    """Columns that the payload log never holds: their absence is no break."""
    since: datetime
    """Windows that ended before have nothing to look at."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is nothing to look at."""

    state: Literal["Progressing", "Failed"]
    reason: Drift
    message: str


def target_of(seen: Observed) -> Target | Missing:
    """What is to be looked at now."""
    name, service = seen.monitor.spec.target.inference_service, seen.service
    if service is None:
        message = f"spec.target.inferenceService: there is no InferenceService {name} in this namespace yet"
        return Missing("Progressing", Drift.WAITING_FOR_TARGET, message)
    stable = service.status.stable if service.status is not None else None
    if stable is None:
        return Missing("Progressing", Drift.WAITING_FOR_TARGET, f"InferenceService {name} serves no version yet")
    if seen.model is None:
        message = f"Model {service.spec.model.name}, whose contract says what the columns mean, does not exist"
        return Missing("Progressing", Drift.WAITING_FOR_TARGET, message)
    reference = reference_of(seen, stable.version)
    if isinstance(reference, Missing):
        return reference
    made = seen.monitor.metadata.creation_timestamp
    starts = [parse_time(text) for text in (made, stable.since) if text]
    return Target(
        service=name,
        version=stable.version,
        revisions=_revisions(service, stable.version),
        reference=reference,
        contract=seen.model.spec.contract,
        redacted=tuple(service.spec.payloads.redact) if service.spec.payloads is not None else (),
        since=max(starts, default=datetime.min.replace(tzinfo=UTC)),
    )


def reference_of(seen: Observed, serves: str) -> str | Missing:
    """URI of what is compared with: the monitor's own, else the profile of the version, else its reference rows."""
    if seen.monitor.spec.reference is not None:
        return seen.monitor.spec.reference
    version = seen.version
    if version is None:
        return Missing("Progressing", Drift.WAITING_FOR_TARGET, f"ModelVersion {serves} does not exist")
    profile = version.status.profile if version.status is not None else None
    if profile is not None and profile.ready:
        return version.spec.evidence.profile or f"{seen.ground.store}/{profile_path(_digest(version))}"
    if profile is not None and profile.ready is None and profile.job is not None:
        return Missing("Progressing", Drift.NO_REFERENCE, f"the drift profile of {serves} is being made")
    if version.spec.evidence.reference is not None:
        return version.spec.evidence.reference
    message = (
        f"{serves} has no reference rows; give a data source of the training a holdout, "
        "or set spec.reference to Parquet or a profile"
    )
    return Missing("Failed", Drift.NO_REFERENCE, message)


def lateness_of(seen: Observed) -> float:
    """Seconds after a window's end until its last rows stand in the store."""
    payloads = seen.service.spec.payloads if seen.service is not None else None
    return seconds((payloads or PayloadLog()).flush_every) + _GRACE


def _revisions(service: InferenceService, version: str) -> tuple[str, ...]:
    """Every revision that ever served this version: other pod settings predict alike."""
    status = service.status
    if status is None:
        return ()
    refs = {status.stable.revision} if status.stable is not None and status.stable.version == version else set()
    return tuple(sorted(refs | {e.revision for e in status.history if e.version == version}))


def _digest(version: ModelVersion) -> str:
    digest = version.spec.digest or (version.status.digest if version.status is not None else None)
    return digest or ""
