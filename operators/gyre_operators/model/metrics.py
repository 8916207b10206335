"""What was decided, as metrics: names from the monitoring plane's dashboards and alerts."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from gyre_crds.v1alpha1.model import DecisionStatus, Model

_LABELS = ("namespace", "model")


class Metrics:
    """Decisions of every Model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "gyre_retrain_decisions_total",
            "Decisions on retraining",
            (*_LABELS, "decision", "reason"),
            registry=registry,
        )
        self._benefit = Gauge(
            "gyre_retrain_expected_benefit", "Expected benefit, of the last arithmetic", _LABELS, registry=registry
        )
        self._cost = Gauge("gyre_retrain_cost", "Cost of a run, of the last arithmetic", _LABELS, registry=registry)
        self._running = Gauge("gyre_retraining_in_progress", "1 while a training runs", _LABELS, registry=registry)
        self._seen: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def show(self, model: Model) -> None:
        """Take over what the status says; each decision counts once in the life of this process."""
        labels, status = (model.metadata.namespace, model.metadata.name), model.status
        self._running.labels(*labels).set(bool(status and (status.running or status.intent)))
        decisions = status.decisions if status else []
        known = {(decision.id, str(decision.action)) for decision in decisions}
        before = self._seen.setdefault(labels, known)
        for decision in decisions:
            # At start everything is known: what an earlier process counted is not counted again.
            if (decision.id, str(decision.action)) not in before:
                self._decisions.labels(*labels, decision.action, decision.reason).inc()
        self._seen[labels] = known
        self._arithmetic(labels, decisions)

    def _arithmetic(self, labels: tuple[str, str], decisions: list[DecisionStatus]) -> None:
        computed = next((d.arithmetic for d in decisions if "benefit" in d.arithmetic), None)
        if computed is not None:
            self._benefit.labels(*labels).set(computed["benefit"])
            self._cost.labels(*labels).set(computed.get("cost", 0.0))

    def forget(self, namespace: str, name: str) -> None:
        """The Model is gone, and so are its series."""
        self._seen.pop((namespace, name), None)
        for metric in (self._decisions, self._benefit, self._cost, self._running):
            metric.remove_by_labels({"namespace": namespace, "model": name})
