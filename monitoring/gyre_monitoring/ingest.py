"""An Evidently report (0.6 or 0.7 JSON) as one of ours: other people's jobs speak the same language.

0.7 says what a metric is in `config.type`, never reliably in its name, and whether a column drifted
only in `tests`. 0.6 has `metrics[].metric == "DataDriftTable"` with `drift_by_columns`. Both write bare
NaN where a test failed; Python reads it, and it becomes null here.
"""

import math
from collections.abc import Mapping
from typing import Any

from gyre_crds.contracts.task import Report
from gyre_crds.v1alpha1.drift import ColumnFinding, DriftReportSpec, ReportWindow
from gyre_monitoring.errors import InputError
from gyre_monitoring.instants import moment
from gyre_monitoring.report import stamp

_VALUE_DRIFT = "evidently:metric_v2:ValueDrift"
_COUNT = "evidently:metric_v2:DriftedColumnsCount"
_SHARE = 0.5  # Evidently's own default for a drifted data set
_TOP = 20
_P_VALUES = ("p_value", "p-value", "ks", "chisquare", "z", "fisher", "anderson", "cramer", "mannw", "t_test", "g_test",
             "es", "empirical_mmd")  # fmt: skip


def report(body: object, *, service: str, start: str, end: str, rows: int = 0) -> Report:
    """The report of a service's window, with Evidently's own judgement of each column.

    Raises:
        InputError: the JSON is no Evidently report, or has no drift metric in it.
    """
    if not isinstance(body, dict) or not isinstance(body.get("metrics"), list):
        raise InputError("this is no Evidently report: its JSON needs a top-level list `metrics` (Report.save_json)")
    columns = _v7(body) or _v6(body)
    if not columns:
        raise InputError("the report holds no drift metric: run Evidently with DataDriftPreset or ValueDrift metrics")
    drifted = [name for name, one in columns.items() if one["drifted"]]
    share = len(drifted) / len(columns)
    ranked = sorted(columns.items(), key=lambda item: not item[1]["drifted"])
    spec = DriftReportSpec(
        inference_service=service,
        window=ReportWindow(start=stamp(moment(start)), end=stamp(moment(end)), rows=rows),
        verdict="CovariateShift" if share >= _threshold(body) else "Healthy",
        level="P2" if share >= _threshold(body) else "None",
        reason=_reason(drifted, len(columns), _threshold(body)),
        columns=[_finding(name, one) for name, one in ranked[:_TOP]],
        drift_share=round(share, 4),
        provisional=True,
        engine="evidently",
        power="Evidently's fixed thresholds: the false-alarm rate depends on the window's size and is not declared.",
    )
    features = [{"name": name, "kind": "", **one} for name, one in ranked]
    return Report(spec=spec, features=features)


def _v7(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    verdicts = {_metric_id(test): str(test.get("status", "")).upper() for test in _list(body, "tests")}
    columns = {}
    for metric in _list(body, "metrics"):
        config = metric.get("config") or {}
        if config.get("type") != _VALUE_DRIFT or not config.get("column"):
            continue
        method = str(config.get("method") or "unknown")
        score, status = _finite(metric.get("value")), verdicts.get(metric.get("id"))
        drifted = status.endswith("FAIL") if status else _judged(score, method, _finite(config.get("threshold")))
        columns[str(config["column"])] = {"method": method, "score": score, "drifted": drifted}
    return columns


def _v6(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    columns = {}
    for metric in _list(body, "metrics"):
        result = metric.get("result") or {}
        found = result.get("drift_by_columns") or (
            {result["column_name"]: result} if "drift_detected" in result and "column_name" in result else {}
        )
        for name, one in found.items():
            columns[str(name)] = {
                "method": str(one.get("stattest_name") or "unknown"),
                "score": _finite(one.get("drift_score")),
                "drifted": bool(one.get("drift_detected")),
            }
    return columns


def _judged(score: float | None, method: str, threshold: float | None) -> bool:
    """Without Evidently's tests: a p-value is small, a distance large, when a column drifts."""
    if score is None:
        return False
    small_is_drift = method.lower().startswith(_P_VALUES) or "p_value" in method.lower()
    limit = threshold if threshold is not None else (0.05 if small_is_drift else 0.1)
    return score < limit if small_is_drift else score >= limit


def _threshold(body: Mapping[str, Any]) -> float:
    shares = [
        _finite((metric.get("config") or {}).get("drift_share"))
        for metric in _list(body, "metrics")
        if (metric.get("config") or {}).get("type") == _COUNT
    ]
    return next((share for share in shares if share is not None), _SHARE)


def _reason(drifted: list[str], columns: int, share: float) -> str:
    if len(drifted) < share * columns:
        return f"Evidently: {len(drifted)} of {columns} columns drifted, below its share of {share:.0%}."
    named = ", ".join(drifted[:3]) + (f" and {len(drifted) - 3} more" if len(drifted) > 3 else "")  # noqa: PLR2004
    action = "look at them, and at labels, before acting"
    return f"Evidently: {len(drifted)} of {columns} columns drifted ({named}); {action}."


def _finding(name: str, one: Mapping[str, Any]) -> ColumnFinding:
    return ColumnFinding(name=name, method=one["method"], score=one["score"], drifted=one["drifted"])


def _list(body: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = body.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _metric_id(test: Mapping[str, Any]) -> Any:
    config = test.get("metric_config") or {}
    return config.get("metric_id") if isinstance(config, dict) else None


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
