"""Why a revision's pods do not answer, in the words of the pods themselves."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError

from gyre_crds.contracts.attempt import EXIT_USER, FailureReport
from gyre_crds.reasons import Common, Inference, Version
from gyre_operators.engine.plan import Manifest
from gyre_operators.inference.observed import Fault
from gyre_operators.workload.pods import Pod, endings, hindrance

_REASONS = {
    Inference.MODEL_DOES_NOT_LOAD.value: Inference.MODEL_DOES_NOT_LOAD,
    Inference.GOLDEN_ROWS_DIFFER.value: Inference.GOLDEN_ROWS_DIFFER,
    Version.CANNOT_LOAD.value: Inference.MODEL_DOES_NOT_LOAD,
    Version.DIGEST_MISMATCH.value: Inference.MODEL_DOES_NOT_LOAD,
    Version.ARTIFACT_GONE.value: Inference.MODEL_DOES_NOT_LOAD,
}
"""Reports that speak of the version itself: with these, trying again cannot help."""


def fault_of(pods: Sequence[Pod], deployment: Manifest | None, probes: Mapping[str, Fault]) -> Fault | None:
    """The most telling fault of a revision's pods: a fatal one first.

    Args:
        pods: the revision's pods.
        deployment: its Deployment; its ReplicaFailure says why pods cannot even be made.
        probes: what pods said on /readyz, by pod name.
    """
    found = [*_reported(pods), *(probes[p.metadata.name] for p in pods if p.metadata.name in probes)]
    fatal = next((fault for fault in found if fault.fatal), None)
    return fatal or next(iter((*found, *_refused(deployment), *_hindered(pods))), None)


def probe_fault(reason: str, message: str) -> Fault:
    """What a pod's /readyz says; its container ends by itself where the version is at fault."""
    return Fault(_REASONS.get(reason, Inference.STARTING).value, message)


def _reported(pods: Iterable[Pod]) -> Iterable[Fault]:
    for pod in pods:
        if pod.ready:
            continue
        for end in endings(pod):
            report = _parsed(end.message)
            if report is not None:
                known = _REASONS.get(report.reason)
                fatal = known is not None and end.exit_code == EXIT_USER
                yield Fault((known or Inference.STARTING).value, report.message, fatal=fatal)


def _refused(deployment: Manifest | None) -> Iterable[Fault]:
    conditions = ((deployment or {}).get("status") or {}).get("conditions") or []
    for condition in conditions:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = condition.get("message", "")
            reason = Common.QUOTA_EXCEEDED if "exceeded quota" in message else Common.FORBIDDEN
            yield Fault(reason.value, f"pods cannot be made: {message}")


def _hindered(pods: Iterable[Pod]) -> Iterable[Fault]:
    for pod in pods:
        if not pod.ready and (sentence := hindrance(pod)):
            yield Fault(Inference.STARTING.value, sentence)


def _parsed(message: str) -> FailureReport | None:
    try:
        return FailureReport.model_validate_json(message, by_alias=True, by_name=False)
    except ValidationError:
        return None
