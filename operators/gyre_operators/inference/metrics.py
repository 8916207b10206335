"""What the controller measures of its own work, from statuses, so that a restart changes no number."""

from prometheus_client import CollectorRegistry, Gauge

from gyre_crds.v1alpha1.inference import InferenceService

_LABELS = ("namespace", "service")


class Metrics:
    """Gauges of every InferenceService."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge("gyre_inference_ready_replicas", "Pods of the stable revision", _LABELS, registry=registry)
        self._weight = Gauge("gyre_rollout_candidate_weight", "Percent of the traffic", _LABELS, registry=registry)
        self._rejected = Gauge(
            "gyre_rollout_rejected_revisions", "Refused revisions on record", _LABELS, registry=registry
        )

    def show(self, service: InferenceService) -> None:
        """Take over what the status says."""
        labels, status = (service.metadata.namespace, service.metadata.name), service.status
        candidate = status.candidate if status else None
        self._ready.labels(*labels).set(status.stable.ready_replicas if status and status.stable else 0)
        self._weight.labels(*labels).set(candidate.strata[-1].weight if candidate and candidate.strata else 0)
        self._rejected.labels(*labels).set(len(status.rejected) if status else 0)

    def forget(self, namespace: str, name: str) -> None:
        """The service is gone, and so are its series."""
        for gauge in (self._ready, self._weight, self._rejected):
            gauge.remove_by_labels({"namespace": namespace, "service": name})
