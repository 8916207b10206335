"""The commands on a laptop: files in, files out, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gyre_crds.contracts.task import Report
from gyre_monitoring.cli import main
from gyre_monitoring.page import page
from tests.monitoring.support import census
from tests.monitoring.support.looks import look, reported, window

LATER = census.people()[1]
SAMPLE = Path(__file__).parent / "samples" / "evidently-0.7.23.json"
CONFIG = f"""
features:
  - {{name: AGEP, min: 0, max: 120}}
contract:
  key: id
  label: {{column: employed}}
  features: [{", ".join(census.FEATURES)}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reference, a window in two parts, labels and a configuration."""
    pq.write_table(census.reference(), tmp_path / "reference.parquet")
    people = census.draw(LATER, 3000, 1)
    current = window(people)
    (tmp_path / "parts").mkdir()
    for part in range(2):
        pq.write_table(current.slice(part * 1500, 1500), tmp_path / "parts" / f"{part}.parquet")
    truth = pa.table({"id": people["id"], "employed": people["y"]})
    pq.write_table(truth, tmp_path / "labels.parquet")
    (tmp_path / "monitor.yaml").write_text(CONFIG)
    return tmp_path


def run(*arguments: object) -> int:
    """A command's exit code."""
    return main([str(one) for one in arguments])


def test_profile_look_and_explain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The three commands in a row prove the loss, write both files, and print it for a person."""
    config = folder / "monitor.yaml"
    assert run("profile", "--data", folder / "reference.parquet", "--config", config, "--out", folder / "p.json") == 0
    assert run("look", "--profile", folder / "p.json", "--current", folder / "parts", "--config", config, "--labels",
               folder / "labels.parquet", "--out", folder / "r.json", "--html", folder / "r.html") == 0  # fmt: skip
    spec = Report.model_validate(json.loads((folder / "r.json").read_bytes())).spec
    assert (spec.verdict, spec.window.rows) == ("PerformanceLoss", 3000)
    assert "PerformanceLoss" in (folder / "r.html").read_text()
    assert run("explain", folder / "r.json") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("PerformanceLoss")
    assert "> AGEP" in printed


def test_an_empty_configuration_is_enough(folder: Path) -> None:
    """With no configuration every column but the known ones is looked at, against the Parquet itself."""
    files = ("--profile", folder / "reference.parquet", "--current", folder / "parts", "--out", folder / "r.json")
    assert run("look", *files) == 0
    spec = json.loads((folder / "r.json").read_bytes())["spec"]
    assert spec["verdict"] == "SchemaBreak"
    assert spec["reason"].startswith("employed is missing")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        pytest.param("window: {minRows: none}", "window.minRows", id="a number that is none"),
        pytest.param("- a\n- b", "write fields of a DriftMonitor's spec", id="a list"),
        pytest.param("a: [", "is no YAML", id="no YAML"),
        pytest.param("windw: {}", "windw", id="a field that does not exist"),
    ],
)
def test_wrong_configuration_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], config: str, sentence: str
) -> None:
    """Exit code 2 and one line that names the field."""
    (folder / "bad.yaml").write_text(config)
    code = run("look", "--profile", folder / "reference.parquet", "--current", folder / "parts", "--config",
               folder / "bad.yaml", "--out", folder / "r.json")  # fmt: skip
    told = capsys.readouterr().err
    assert code == 2
    assert sentence in told
    assert told.count("\n") == 1


def test_wrong_files_are_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing window, a profile that is none and labels without a key end with exit code 2."""
    (folder / "text.json").write_text('{"a": 1}')
    pq.write_table(pa.table({"employed": [1.0]}), folder / "keyless.parquet")
    reference, parts, config = folder / "reference.parquet", folder / "parts", folder / "monitor.yaml"
    out = ("--out", folder / "r.json", "--config", config)
    assert run("look", "--profile", reference, "--current", folder / "nothing", *out) == 2
    assert "nothing does not exist" in capsys.readouterr().err
    assert run("look", "--profile", folder / "text.json", "--current", parts, *out) == 2
    assert "neither Parquet nor a gyre.profile.v1" in capsys.readouterr().err
    code = run("look", "--profile", reference, "--current", parts, "--labels", folder / "keyless.parquet", *out)
    assert code == 2
    assert "lack the key column id" in capsys.readouterr().err
    assert run("explain", folder / "text.json") == 2
    assert "no gyre.report.v1" in capsys.readouterr().err


def test_evidently_reports_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report that Evidently 0.7.23 wrote, with its bare NaN, becomes one of ours with its own judgement."""
    arguments = ("--service", "census", "--start", "2026-01-01T00:00:00Z", "--end", "2026-01-02T00:00:00Z")
    assert run("ingest", SAMPLE, *arguments, "--rows", 600, "--out", tmp_path / "r.json") == 0
    report = Report.model_validate(json.loads((tmp_path / "r.json").read_text()))
    assert (report.spec.verdict, report.spec.engine, report.spec.drift_share) == ("Healthy", "evidently", 0.25)
    assert [one.name for one in report.spec.columns if one.drifted] == ["age"]
    flat = next(one for one in report.spec.columns if one.name == "flat")
    assert flat.score is None
    age = {"stattest_name": "ks", "drift_score": 0.001, "drift_detected": True}
    old = {"metrics": [{"metric": "DataDriftTable", "result": {"drift_by_columns": {"age": age}}}]}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert run("ingest", tmp_path / "old.json", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["spec"]["verdict"] == "CovariateShift"
    (tmp_path / "other.json").write_text('{"metrics": []}')
    assert run("ingest", tmp_path / "other.json", *arguments) == 2
    assert "holds no drift metric" in capsys.readouterr().err


def test_the_page_needs_no_network_and_escapes_names() -> None:
    """No script, no link to elsewhere, and a column named like a tag stays a name."""
    table = window(census.draw(LATER, 1000, 2)).append_column("<script>", pa.array(np.ones(1000)))
    text = page(reported(*look(table)), ())
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http://" not in text
    assert "https://" not in text


def test_the_engine_stays_light() -> None:
    """A look loads neither pandas nor scipy nor Evidently, whatever is installed beside it."""
    code = (
        "import sys, gyre_monitoring.task, gyre_monitoring.local; "
        "print(sorted({'pandas', 'scipy', 'evidently', 'sklearn', 'plotly'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
