"""Alert rules and dashboards: valid by Prometheus' own tools, and about metrics that exist."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import gyre_monitoring
from tests.monitoring.support.programs import program

ALERTS = Path(gyre_monitoring.__file__).parent / "alerts"
OPERATOR = Path(__file__).parents[2] / "operators" / "gyre_operators"
METRIC = re.compile(r"\bgyre_[a-z_]+")
RECORDED = re.compile(r"\bgyre:[a-z0-9_]+:[a-z0-9_]+")


def exported() -> set[str]:
    """Names of the metrics that the operator's sources declare."""
    return set(METRIC.findall("\n".join(path.read_text() for path in OPERATOR.rglob("metrics.py"))))


def expressions() -> list[str]:
    """Every query of rules and dashboards."""
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    boards = [json.loads(path.read_text()) for path in (ALERTS / "dashboards").glob("*.json")]
    return rules + [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]


def test_every_query_speaks_of_metrics_that_exist() -> None:
    """Rules and dashboards name only metrics that the operator exports or that the rules record."""
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    for expression in expressions():
        assert set(METRIC.findall(expression)) <= exported()
        assert set(RECORDED.findall(expression)) <= recorded


def test_no_alert_is_made_for_each_column() -> None:
    """Alerting rules never keep the column label: 200 drifting columns are one notification."""
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text())["groups"]
    alerts = [rule["expr"] for group in groups for rule in group["rules"] if "alert" in rule]
    assert not [one for one in alerts if "gyre_drift_score" in one or "gyre_drift_pvalue" in one]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("promtool", "check", "rules", "rules.yaml"), id="promtool accepts the rules"),
        pytest.param(("promtool", "test", "rules", "rules_test.yaml"), id="the rules fire when they should"),
        pytest.param(("amtool", "check-config", "alertmanager.yaml"), id="amtool accepts the routes"),
    ],
)
def test_the_tools_of_prometheus_agree(command: tuple[str, ...]) -> None:
    """The real tools find nothing wrong."""
    done = subprocess.run([program(command[0]), *command[1:]], cwd=ALERTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
