"""Alert rules and dashboards: valid by Prometheus' own tools, and about metrics that exist."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import gyre_monitoring
from tests.monitoring.support.programs import program

ALERTS = Path(gyre_monitoring.__file__).parent / "alerts"
OPERATOR = Path(__file__).parents[2] / "operators" / "gyre_operators"
ROUTER = OPERATOR.parents[1] / "serving" / "gyre_serving" / "router" / "metrics.py"
BOARDS = sorted((ALERTS / "dashboards").glob("*.json"))
UNSEEN = {
    "gyre_drift_level",
    "gyre_drift_schedule_interval_seconds",
    "gyre_drift_monitor_info",
    "gyre_retraining_in_progress",
}
"""Metrics that only rules read: an alert's priority, the silence alert, and the training that silences a shift."""
WIDTH = 24
"""Columns of Grafana's grid."""
METRIC = re.compile(r"\bgyre_[a-z_]+")
RECORDED = re.compile(r"\bgyre:[a-z0-9_]+:[a-z0-9_]+")


def exported() -> set[str]:
    """Names of the metrics that the sources of operator and stream declare."""
    declared = [*OPERATOR.rglob("metrics.py"), ALERTS.parent / "telemetry.py"]
    quoted = re.findall(r'"(gyre_[a-z_]+)"', "\n".join(path.read_text() for path in declared))
    return {name for name in quoted if not name.startswith("gyre_operators")}


def counted_by_routers() -> set[str]:
    """Names of the routers' metrics that stand in their source whole."""
    return set(re.findall(r'"(gyre_router_[a-z_]+)"', ROUTER.read_text()))


def named(expression: str) -> set[str]:
    """Metrics of a query; a histogram is asked for by its buckets."""
    return {name.removesuffix("_bucket") for name in METRIC.findall(expression)}


def boards() -> dict[str, Any]:
    """Every dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in BOARDS}


def shown() -> list[str]:
    """Every query of the dashboards."""
    return [target["expr"] for board in boards().values() for panel in board["panels"] for target in panel["targets"]]


def expressions() -> list[str]:
    """Every query of rules and dashboards."""
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text())["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    return rules + shown()


def test_every_query_speaks_of_metrics_that_exist() -> None:
    """Rules and dashboards name only metrics that operator or routers export or that the rules record."""
    groups = yaml.safe_load((ALERTS / "rules.yaml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    for expression in expressions():
        assert named(expression) <= exported() | counted_by_routers()
        assert set(RECORDED.findall(expression)) <= recorded


def test_every_metric_is_shown() -> None:
    """Each metric of ours has a panel; those that have none are named here with their reason, and are read by rules."""
    seen = set().union(*map(named, shown()))
    assert exported() - seen == UNSEEN
    assert set().union(*map(named, expressions())) >= UNSEEN


def test_variables_ask_for_metrics_that_exist() -> None:
    """The lists of namespaces and monitors come from metrics of ours too."""
    asked = [one["query"] for board in boards().values() for one in board["templating"]["list"]]
    assert set().union(*map(named, asked)) <= exported()


@pytest.mark.parametrize("board", [pytest.param(path.stem, id=f"the {path.stem} dashboard") for path in BOARDS])
def test_panels_have_a_place_and_words(board: str) -> None:
    """Ids are unique, panels lie beside each other within the grid, and each says what it shows."""
    panels = boards()[board]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= WIDTH
        taken |= cells
        assert panel["title"]
        assert panel["description"]
        assert [target["refId"] for target in panel["targets"]] == list("ABC"[: len(panel["targets"])])


@pytest.mark.parametrize("board", [pytest.param(path.stem, id=f"the {path.stem} dashboard") for path in BOARDS])
def test_models_and_monitors_are_told_apart_by_namespace(board: str) -> None:
    """Two teams may each have a `census`: their decisions were added up, and their lines had one name."""
    targets = [target for panel in boards()[board]["panels"] for target in panel["targets"]]
    own = [one for one in targets if re.search("{{(model|monitor|service)}}", one.get("legendFormat", ""))]
    assert own
    for target in own:
        assert "{{namespace}}" in target["legendFormat"]
        assert all("namespace" in labels for labels in re.findall(r" by \((.*?)\)", target["expr"]))


def test_promtool_understands_every_panel(tmp_path: Path) -> None:
    """Each query is PromQL, with the variables filled in as Grafana does."""
    rules = [{"record": f"panel:{k}", "expr": one.replace("$namespace", ".*").replace("$monitor", ".*")}
             for k, one in enumerate(shown())]  # fmt: skip
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = [program("promtool"), "check", "rules", str(tmp_path / "panels.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
