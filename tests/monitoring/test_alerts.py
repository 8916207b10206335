"""Alert rules: valid by Prometheus' own tools, about metrics that exist, and leading to their dashboard."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.monitoring.support.boards import ALERTS, boards, counted_by_routers, exported, named
from tests.monitoring.support.programs import program

RECORDED = re.compile(r"\bgyre:[a-z0-9_]+:[a-z0-9_]+")


def rules() -> list[dict[str, Any]]:
    """Every rule."""
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_rule_speaks_of_metrics_that_exist() -> None:
    """Rules name only metrics that operator, stream or routers export, or that other rules record."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert named(rule["expr"]) <= exported() | counted_by_routers()
        assert set(RECORDED.findall(rule["expr"])) <= recorded


def test_each_alert_leads_to_a_dashboard_that_is_there() -> None:
    """Its link names the dashboard by uid, and chooses namespace and monitor by variables that the dashboard has."""
    links = [rule["annotations"].get("dashboard", "") for rule in rules() if rule.get("labels", {}).get("priority")]
    assert links
    for one in links:
        path, _, chosen = one.partition("?")
        board = next(board for board in boards().values() if path == f"/d/{board['uid']}")
        asked = dict(pair.split("=", 1) for pair in chosen.split("&"))
        assert asked == {f"var-{name}": f"{{{{ $labels.{name} }}}}" for name in ("namespace", "monitor")}
        assert {key.removeprefix("var-") for key in asked} <= {each["name"] for each in board["templating"]["list"]}


def test_no_alert_is_made_for_each_column() -> None:
    """Alerting rules never keep the column label: 200 drifting columns are one notification."""
    alerts = [rule["expr"] for rule in rules() if "alert" in rule]
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
