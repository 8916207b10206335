"""The dashboards as data, and the metrics that they may speak of."""

import json
import re
from pathlib import Path
from typing import Any

import gyre_monitoring

ALERTS = Path(gyre_monitoring.__file__).parent / "alerts"
BOARDS = sorted((ALERTS / "dashboards").glob("*.json"))
_ROOT = Path(__file__).parents[3]
_METRIC = re.compile(r"\bgyre_[a-z_]+")
_SUFFIX = re.compile(r"_(total|bucket|count|sum)$")


def exported() -> set[str]:
    """Names of the metrics that the sources of operator and stream declare."""
    declared = [*(_ROOT / "operators" / "gyre_operators").rglob("metrics.py"), ALERTS.parent / "telemetry.py"]
    quoted = re.findall(r'"(gyre_[a-z_]+)"', "\n".join(path.read_text() for path in declared))
    return {name for name in quoted if not name.startswith("gyre_operators")}


def counted_by_routers() -> set[str]:
    """Names of the routers' metrics, without the ending that their kind gives them."""
    source = (_ROOT / "serving" / "gyre_serving" / "router" / "metrics.py").read_text()
    of_revisions = re.findall(r'^            "([a-z_]+)": "', source, re.MULTILINE)
    return {*re.findall(r'"(gyre_router_[a-z_]+)"', source), *(f"gyre_router_{name}" for name in of_revisions)}


def named(expression: str) -> set[str]:
    """Metrics of a query; a histogram is asked for by its buckets, a router's counter by its total."""
    found = {name.removesuffix("_bucket") for name in _METRIC.findall(expression)}
    return {_SUFFIX.sub("", name) if name.startswith("gyre_router") else name for name in found}


def boards() -> dict[str, Any]:
    """Every dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in BOARDS}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel, those of closed rows too; rows themselves are none."""
    rows = [inner for panel in board["panels"] if panel["type"] == "row" for inner in panel["panels"]]
    return [*(panel for panel in board["panels"] if panel["type"] != "row"), *rows]


def targets() -> list[dict[str, Any]]:
    """Every query of every panel, with its legend."""
    return [target for board in boards().values() for panel in panels(board) for target in panel["targets"]]


def queries() -> list[str]:
    """Every query: of panels, of marks in time, and of variables."""
    marks = [one["expr"] for board in boards().values() for one in board["annotations"]["list"]]
    variables = [one["query"]["query"] for board in boards().values() for one in chosen(board)]
    return [target["expr"] for target in targets()] + marks + variables


def chosen(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The variables that Prometheus is asked for."""
    return [one for one in board["templating"]["list"] if one["type"] == "query"]
