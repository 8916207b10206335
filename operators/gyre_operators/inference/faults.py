"""Why a revision's pods do not answer, in the words of the pods themselves."""

from collections.abc import Iterable, Mapping, Sequence

from gyre_crds.contracts.attempt import EXIT_USER
from gyre_crds.reasons import Inference, Training, Version
from gyre_operators.engine.plan import Manifest
from gyre_operators.inference.observed import Fault
from gyre_operators.workload.messages import failure
from gyre_operators.workload.pending import why_no_pod, why_pending
from gyre_operators.workload.views import Pod

_REASONS = {
    Inference.MODEL_DOES_NOT_LOAD.value: Inference.MODEL_DOES_NOT_LOAD,
    Inference.GOLDEN_ROWS_DIFFER.value: Inference.GOLDEN_ROWS_DIFFER,
    Version.CANNOT_LOAD.value: Inference.MODEL_DOES_NOT_LOAD,
    Version.DIGEST_MISMATCH.value: Inference.MODEL_DOES_NOT_LOAD,
    Version.ARTIFACT_GONE.value: Inference.MODEL_DOES_NOT_LOAD,
}
"""Reports that speak of the version itself: with these, trying again cannot help."""
_COMES_BACK = frozenset({Version.ARTIFACT_GONE.value})
"""But for this: training again, or a backup, brings the very bytes back."""


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
        for container in pod.containers:
            # A container that is started again and again shows its report only as its last state.
            end = container.state.terminated or container.last_state.terminated
            report = failure(end)
            if end is not None and report is not None:
                known = _REASONS.get(report.reason)
                fatal = known is not None and end.exit_code == EXIT_USER and report.reason not in _COMES_BACK
                yield Fault((known or Inference.STARTING).value, report.message, fatal=fatal)


def _refused(deployment: Manifest | None) -> Iterable[Fault]:
    conditions = ((deployment or {}).get("status") or {}).get("conditions") or []
    for condition in conditions:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            why = why_no_pod(condition.get("message", ""))
            yield Fault(why.reason, why.message)


def _hindered(pods: Iterable[Pod]) -> Iterable[Fault]:
    for pod in pods:
        why = None if pod.ready else why_pending(pod)
        if why is not None:
            yield Fault(Inference.STARTING.value if why.reason == Training.PENDING else why.reason, why.message)
