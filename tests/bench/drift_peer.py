"""Runs in a peer's environment: `drift_peer.py PEER FOLDER PAIRS` prints drifted columns, CPU seconds, peak MB."""

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Judge = Callable[[Any, Any], Callable[[], int]]
"""Takes reference and window; what it returns is timed, and counts drifted columns."""


def main(peer: str, folder: Path, pairs: int) -> None:
    """Judge every pair."""
    warnings.simplefilter("ignore")  # peers divide by zero on constant columns
    pandas = importlib.import_module("pandas")
    judge, drifted, cpu = _JUDGES[peer], [], 0.0
    importlib.import_module(_IMPORTS[peer])
    for number in range(pairs):
        sides = [pandas.read_parquet(folder / f"{number}-{side}.parquet") for side in ("reference", "window")]
        action = judge(*sides)
        start = time.process_time()
        drifted.append(action())
        cpu += time.process_time() - start
    # getrusage would start at the size of the parent.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    sys.stdout.write("\n" + json.dumps({"drifted": drifted, "cpu": cpu, "peak": peak}) + "\n")


def _evidently(method: str | None) -> Judge:
    def judge(reference: Any, window: Any) -> Callable[[], int]:
        evidently, presets = (importlib.import_module(name) for name in ("evidently", "evidently.presets"))
        numeric = [name for name in window if window[name].dtype.kind in "fi"]
        definition = evidently.DataDefinition(
            numerical_columns=numeric, categorical_columns=[name for name in window if name not in numeric]
        )

        def action() -> int:
            data = [evidently.Dataset.from_pandas(one, data_definition=definition) for one in (window, reference)]
            metrics = evidently.Report([presets.DataDriftPreset(method=method)]).run(*data).dict()["metrics"]
            counts = [one["value"]["count"] for one in metrics if "DriftedColumnsCount" in one["config"]["type"]]
            return int(counts[0])

        return action

    return judge


def _nannyml(reference: Any, window: Any) -> Callable[[], int]:
    nannyml = importlib.import_module("nannyml")
    numeric = [name for name in window if window[name].dtype.kind in "fi"]
    others = [name for name in window if name not in numeric]
    columns, size = list(window), min(len(window), len(reference))
    calculator = nannyml.UnivariateDriftCalculator(column_names=columns, treat_as_categorical=others, chunk_size=size)
    calculator.fit(reference)  # the reference is stored: not part of the look

    def action() -> int:
        found = calculator.calculate(window).filter(period="analysis").to_df()
        alerts = found.loc[:, [key for key in found.columns if key[-1] == "alert"]]
        return int(alerts.any(axis=0).sum())

    return action


def _whylogs(reference: Any, window: Any) -> Callable[[], int]:
    whylogs = importlib.import_module("whylogs")
    drift = importlib.import_module("whylogs.viz.drift.column_drift_algorithms")
    before = whylogs.log(reference).view()

    def action() -> int:
        scores = drift.calculate_drift_scores(whylogs.log(window).view(), before, with_thresholds=True)
        return sum(1 for one in scores.values() if one and one.get("drift_category") == "DRIFT")

    return action


_JUDGES: dict[str, Judge] = {
    "Evidently default": _evidently(None),
    "Evidently psi": _evidently("psi"),
    "NannyML": _nannyml,
    "whylogs": _whylogs,
}
_IMPORTS = {"Evidently default": "evidently", "Evidently psi": "evidently", "NannyML": "nannyml", "whylogs": "whylogs"}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
