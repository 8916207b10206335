"""The last report of every monitor, and of others on a service, as Prometheus metrics: a restart changes no number.

No model or row appears in a label, and a report holds at most twenty columns, so the number of series
is bounded by the number of monitors and services. Reports made elsewhere than by a monitor's own look
carry the label `monitor="elsewhere/<service>"`, which no monitor's name can be.
"""

from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Gauge

from gyre_crds.base import seconds
from gyre_crds.v1alpha1.drift import DriftMonitor, DriftReport, DriftReportSpec, PerformanceFinding, PredictionFinding
from gyre_operators.drift.windows import looked_until
from gyre_operators.engine.clock import parse_time

VERDICTS = (
    "InsufficientData", "SchemaBreak", "QualityIncident", "ConceptDrift", "PerformanceLoss", "EstimatedLoss",
    "PredictionShift", "CovariateShift", "Healthy",
)  # fmt: skip

_MONITOR = ("namespace", "monitor")
_COLUMN = (*_MONITOR, "column", "method")
_METRIC = (*_MONITOR, "metric")


_ELSEWHERE = "elsewhere/"


def elsewhere(service: str) -> str:
    """The label `monitor` of reports on a service that no monitor's own look made."""
    return f"{_ELSEWHERE}{service}"


class Metrics:
    """Gauges of every DriftMonitor, and of reports made elsewhere."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, labels: tuple[str, ...] = _MONITOR) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._score = gauge("gyre_drift_score", "Statistic of a column", _COLUMN)
        self._pvalue = gauge("gyre_drift_pvalue", "Corrected p-value of a column", _COLUMN)
        self._rows = gauge("gyre_drift_window_rows", "Rows of the last window")
        self._share = gauge("gyre_drift_columns_share", "Share of columns that drifted")
        self._verdict = gauge("gyre_drift_verdict", "1 for the last verdict", (*_MONITOR, "verdict"))
        self._level = gauge("gyre_drift_level", "1 for the last level", (*_MONITOR, "level"))
        self._estimated = gauge("gyre_performance_estimated", "Without labels", _METRIC)
        self._realized = gauge("gyre_performance_realized", "On labelled rows", _METRIC)
        self._reference = gauge("gyre_performance_reference", "On the reference rows", _METRIC)
        self._lower = gauge("gyre_performance_loss_lower", "Lower confidence bound of the loss", _METRIC)
        self._mean = gauge("gyre_prediction_mean", "Mean score, or mean predicted value")
        self._entropy = gauge("gyre_prediction_entropy", "Mean entropy of the score in bits")
        self._missing = gauge("gyre_feature_missing_ratio", "Missing values of a column", (*_MONITOR, "column"))
        self._time = gauge(
            "gyre_drift_report_timestamp_seconds", "End of the last window looked at, at first its creation"
        )
        self._interval = gauge("gyre_drift_schedule_interval_seconds", "Distance between looks")
        self._model = gauge("gyre_drift_monitor_info", "1; the model that it watches", (*_MONITOR, "model"))
        self._all = (
            self._score, self._pvalue, self._rows, self._share, self._verdict, self._level, self._estimated,
            self._realized, self._reference, self._lower, self._mean, self._entropy, self._missing, self._time,
            self._interval, self._model,
        )  # fmt: skip
        self._shown: dict[tuple[str, str], str] = {}

    def show(self, monitor: DriftMonitor, newest: DriftReport | None, model: str | None = None) -> None:
        """Take over what the newest report says, and which model is watched."""
        labels = (monitor.metadata.namespace, monitor.metadata.name)
        if monitor.spec.paused:  # it is meant to be silent, and without a distance between looks no alert says so
            self._interval.remove_by_labels({"namespace": labels[0], "monitor": labels[1]})
        else:
            self._interval.labels(*labels).set(seconds(monitor.spec.window.every))
        self._model.remove_by_labels({"namespace": labels[0], "monitor": labels[1]})
        if model is not None:
            self._model.labels(*labels, model).set(1)
        made = monitor.metadata.creation_timestamp
        if newest is not None:
            self._take(labels, newest)
        elif made is not None and labels not in self._shown:  # or looks that never gave a report would raise no alert
            self._time.labels(*labels).set(parse_time(made).timestamp())

    def show_elsewhere(self, service: str, newest: DriftReport) -> None:
        """Take over what the newest report made elsewhere says of a service."""
        self._take((newest.metadata.namespace, elsewhere(service)), newest)

    def forget_report(self, namespace: str, name: str) -> None:
        """A report is gone; where it was the newest of a service, its series go, and those of the next may come."""
        shown = [labels for labels, report in self._shown.items() if (labels[0], report) == (namespace, name)]
        for labels in shown:
            if labels[1].startswith(_ELSEWHERE):
                self.forget(*labels)

    def _take(self, labels: tuple[str, str], newest: DriftReport) -> None:
        if self._shown.get(labels) == newest.metadata.name:
            return
        self._clear_columns(labels)
        self._shown[labels] = newest.metadata.name
        self._report(labels, newest.spec)
        self._time.labels(*labels).set(looked_until(newest).timestamp())

    def forget(self, namespace: str, name: str) -> None:
        """The monitor is gone, and so are its series."""
        self._shown.pop((namespace, name), None)
        for gauge in self._all:
            gauge.remove_by_labels({"namespace": namespace, "monitor": name})

    def _report(self, labels: tuple[str, str], spec: DriftReportSpec) -> None:
        self._rows.labels(*labels).set(spec.window.rows)
        if spec.drift_share is not None:
            self._share.labels(*labels).set(spec.drift_share)
        for verdict in VERDICTS:
            self._verdict.labels(*labels, verdict).set(verdict == spec.verdict)
        for level in ("P0", "P1", "P2"):
            self._level.labels(*labels, level).set(level == spec.level)
        for column in spec.columns:
            if column.score is not None:
                self._score.labels(*labels, column.name, column.method).set(column.score)
            if column.p_adjusted is not None:
                self._pvalue.labels(*labels, column.name, column.method).set(column.p_adjusted)
            if column.missing is not None:
                self._missing.labels(*labels, column.name).set(column.missing)
        if spec.prediction is not None:
            self._answers(labels, spec.prediction)
        if spec.performance is not None:
            self._performance(labels, spec.performance)

    def _answers(self, labels: tuple[str, str], found: PredictionFinding) -> None:
        for gauge, value in ((self._mean, found.mean), (self._entropy, found.entropy)):
            if value is not None:
                gauge.labels(*labels).set(value)

    def _performance(self, labels: tuple[str, str], found: PerformanceFinding) -> None:
        values = {
            self._estimated: found.estimated,
            self._realized: found.realized,
            self._reference: found.reference,
            self._lower: found.lower,
        }
        for gauge, value in values.items():
            if value is not None:
                gauge.labels(*labels, found.metric).set(value)

    def _clear_columns(self, labels: tuple[str, str]) -> None:
        """Columns and metrics that the new report does not name must not keep their old numbers."""
        named = {"namespace": labels[0], "monitor": labels[1]}
        for gauge in (
            self._score, self._pvalue, self._share, self._estimated, self._realized, self._reference, self._lower,
            self._mean, self._entropy, self._missing,
        ):  # fmt: skip
            gauge.remove_by_labels(named)


_made: WeakKeyDictionary[CollectorRegistry, Metrics] = WeakKeyDictionary()


def metrics_of(registry: CollectorRegistry) -> Metrics:
    """The gauges on a registry: the controllers of monitors and of reports show theirs on the same."""
    if registry not in _made:
        _made[registry] = Metrics(registry)
    return _made[registry]
