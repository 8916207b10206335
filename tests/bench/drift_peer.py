"""Runs in a peer's environment: `drift_peer.py PEER FOLDER PAIRS` prints drifted columns, CPU seconds, peak MB."""

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Judge = Callable[[Any], int]
"""Counts the drifted columns of a window; this alone is timed."""
Fit = Callable[[Any, int], Judge]
"""Takes the reference and the rows of a window."""


def main(peer: str, folder: Path, pairs: int) -> None:
    """Judge every pair."""
    warnings.simplefilter("ignore")  # peers divide by zero on constant columns
    pandas = importlib.import_module("pandas")
    drifted, cpu = [], 0.0
    importlib.import_module(_IMPORTS[peer])
    for number in range(pairs):
        window, reference = (folder / f"{number}-{side}.parquet" for side in ("window", "reference"))
        rows = pandas.read_parquet(window)
        if reference.exists():  # several windows may share one
            judge = _FITS[peer](pandas.read_parquet(reference), len(rows))
        start = time.process_time()
        drifted.append(judge(rows))
        cpu += time.process_time() - start
    # getrusage would start at the size of the parent.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    sys.stdout.write("\n" + json.dumps({"drifted": drifted, "cpu": cpu, "peak": peak}) + "\n")


def _evidently(method: str | None) -> Fit:
    def fit(reference: Any, rows: int) -> Judge:
        del rows
        evidently, presets = (importlib.import_module(name) for name in ("evidently", "evidently.presets"))
        numeric = [name for name in reference if reference[name].dtype.kind in "fi"]
        definition = evidently.DataDefinition(
            numerical_columns=numeric, categorical_columns=[name for name in reference if name not in numeric]
        )

        def judge(window: Any) -> int:
            data = [evidently.Dataset.from_pandas(one, data_definition=definition) for one in (window, reference)]
            metrics = evidently.Report([presets.DataDriftPreset(method=method)]).run(*data).dict()["metrics"]
            counts = [one["value"]["count"] for one in metrics if "DriftedColumnsCount" in one["config"]["type"]]
            return int(counts[0])

        return judge

    return fit


def _nannyml(reference: Any, rows: int) -> Judge:
    nannyml = importlib.import_module("nannyml")
    numeric = [name for name in reference if reference[name].dtype.kind in "fi"]
    others, size = [name for name in reference if name not in numeric], min(rows, len(reference))
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(reference), treat_as_categorical=others, chunk_size=size
    )
    calculator.fit(reference)  # the reference is stored: not part of the look

    def judge(window: Any) -> int:
        found = calculator.calculate(window).filter(period="analysis").to_df()
        alerts = found.loc[:, [key for key in found.columns if key[-1] == "alert"]]
        return int(alerts.any(axis=0).sum())

    return judge


def _whylogs(reference: Any, rows: int) -> Judge:
    del rows
    whylogs = importlib.import_module("whylogs")
    drift = importlib.import_module("whylogs.viz.drift.column_drift_algorithms")
    before = whylogs.log(reference).view()

    def judge(window: Any) -> int:
        scores = drift.calculate_drift_scores(whylogs.log(window).view(), before, with_thresholds=True)
        return sum(1 for one in scores.values() if one and one.get("drift_category") == "DRIFT")

    return judge


_FITS: dict[str, Fit] = {
    "Evidently default": _evidently(None),
    "Evidently psi": _evidently("psi"),
    "NannyML": _nannyml,
    "whylogs": _whylogs,
}
_IMPORTS = {"Evidently default": "evidently", "Evidently psi": "evidently", "NannyML": "nannyml", "whylogs": "whylogs"}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
