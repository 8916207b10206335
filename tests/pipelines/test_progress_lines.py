"""What a training says to $GYRE_PROGRESS, as far as it can be used."""

import json
from pathlib import Path
from typing import Any

import pytest

from gyre_crds.contracts.attempt import ProgressReport
from gyre_pipelines.wrapper.progress import Life


@pytest.mark.parametrize(
    ("line", "kept", "told"),
    [
        pytest.param('{"percent": NaN, "step": 4}', {"step": 4}, "percent nan is not a number", id="NaN"),
        pytest.param('{"percent": "40%", "step": 4}', {"step": 4}, "percent '40%' is not a number", id="text"),
        pytest.param('{"step": 4.5}', {}, "step 4.5 is not a whole number", id="half a step"),
        pytest.param(f'{{"step": {10**400}}}', {}, "is not a whole number", id="a step beyond any number"),
        pytest.param(
            '{"percent": 50, "metrics": {"loss": NaN, "auc": 0.9}}',
            {"percent": 50, "metrics": {"auc": 0.9}},
            "metric 'loss' is nan, not a finite number",
            id="a metric that is NaN",
        ),
        pytest.param('{"metrics": [1]}', {}, "metrics [1] is no object of numbers by name", id="a list"),
        pytest.param("40 %", {}, "'40 %' is no JSON object on one line", id="no JSON"),
    ],
)
def test_what_progress_cannot_use_is_left_out_and_said_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, kept: dict[str, Any], told: str
) -> None:
    """Only the bad field goes: what a line says beside it, and what was said before, still counts."""
    file = tmp_path / "progress.jsonl"
    file.write_text(f'{{"percent": 30, "step": 3, "metrics": {{"auc": 0.8}}}}\n{line}\n{line}\n')
    life = Life(file, None)
    life.look()
    report = ProgressReport.model_validate_json(json.dumps(life.report(None)))
    wanted = {"percent": 30, "step": 3, "metrics": {"auc": 0.8}} | kept
    assert {field: getattr(report, field) for field in wanted} == wanted
    said = capfd.readouterr().err.splitlines()
    assert [one.startswith("gyre: $GYRE_PROGRESS: ") and told in one for one in said] == [True]
