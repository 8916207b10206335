"""Dashboards: queries of metrics that exist, variables that are there, panels that a person can read."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from gyre_crds.v1alpha1.drift import Verdict
from tests.monitoring.support.boards import (
    BOARDS,
    boards,
    chosen,
    counted_by_routers,
    exported,
    named,
    panels,
    queries,
    targets,
)
from tests.monitoring.support.programs import program

WIDTH = 24
"""Columns of Grafana's grid."""
UNITS = {
    "none", "short", "percent", "percentunit", "s", "dtdurations", "sci", "reqps", "rowsps", "cps", "ops",
}  # fmt: skip
"""Ids of Grafana's value formats; one that it does not know is shown as text behind every number."""
BUILT_IN = {"__rate_interval", "__range", "__data", "__url_time_range", "__all"}
_VARIABLE = re.compile(r"\$\{?([a-z_]+)")
EACH = pytest.mark.parametrize("name", [pytest.param(path.stem, id=f"the {path.stem} dashboard") for path in BOARDS])


def filled(query: str) -> str:
    """A query with its variables filled in as Grafana does."""
    times = query.replace("$__rate_interval", "4m").replace("$__range", "7d")
    return re.sub(r"\$(namespace|monitor|service)\b", ".*", times)


def test_every_query_speaks_of_metrics_that_exist() -> None:
    """Panels, marks and variables name only metrics that operator, stream or routers export."""
    for query in queries():
        assert named(query) <= exported() | counted_by_routers(), query


def test_every_metric_is_shown() -> None:
    """Each metric of operator and stream has a panel."""
    assert exported() <= set().union(*(named(target["expr"]) for target in targets()))


def test_promtool_understands_every_panel(tmp_path: Path) -> None:
    """Each query is PromQL, with the variables filled in as Grafana does."""
    rules = [{"record": f"panel:{k}", "expr": filled(one["expr"])} for k, one in enumerate(targets())]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = [program("promtool"), "check", "rules", str(tmp_path / "panels.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@EACH
def test_variables_are_defined_and_used(name: str) -> None:
    """What a query names is a variable of its dashboard, and no variable changes nothing."""
    board = boards()[name]
    defined = {one["name"] for one in board["templating"]["list"]}
    text = json.dumps([board["panels"], board["annotations"], board["templating"]])
    assert set(_VARIABLE.findall(text)) - BUILT_IN == defined
    asked = json.dumps([target["expr"] for panel in panels(board) for target in panel["targets"]])
    assert {one["name"] for one in chosen(board)} <= set(_VARIABLE.findall(asked))


@EACH
def test_links_lead_to_dashboards_with_their_variables(name: str) -> None:
    """A link from a table names a dashboard by its uid, and only variables that it has."""
    known = {board["uid"]: {one["name"] for one in board["templating"]["list"]} for board in boards().values()}
    links = re.findall(r'"/d/([a-z-]+)\?([^"]*)"', json.dumps(boards()[name]["panels"]))
    for uid, chosen_here in links:
        assert set(re.findall(r"var-([a-z]+)=", chosen_here)) <= known[uid]
    assert boards()[name]["links"][0]["tags"] == ["gyre"]
    assert "gyre" in boards()[name]["tags"]


@EACH
def test_panels_have_a_place_and_words(name: str) -> None:
    """Ids are unique, panels lie beside each other within the grid, and each says what it shows."""
    board = boards()[name]
    ids = [panel["id"] for panel in [*board["panels"], *panels(board)] if panel["type"] != "row"]
    assert len(set(ids)) == len(panels(board))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= WIDTH
        taken |= cells
        assert panel["title"]
    for panel in panels(board):
        assert panel["description"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])


@EACH
def test_panels_can_be_read(name: str) -> None:
    """Numbers have a unit of Grafana's, lines a name of their own, and single numbers a colour that says something."""
    for panel in panels(boards()[name]):
        own = panel["fieldConfig"]
        shown = {prop["value"] for one in own["overrides"] for prop in one["properties"] if prop["id"] == "unit"}
        assert shown | {own["defaults"].get("unit", "none")} <= UNITS, panel["title"]
        if panel["type"] == "stat":
            assert own["defaults"]["thresholds"]["steps"]
            assert all(target["instant"] for target in panel["targets"])
        elif panel["type"] != "table":
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


@EACH
def test_models_and_monitors_are_told_apart_by_namespace(name: str) -> None:
    """Two teams may each have a `census`: their decisions were added up, and their lines had one name."""
    every = [target for panel in panels(boards()[name]) for target in panel["targets"]]
    own = [one for one in every if re.search("{{(model|monitor|service)}}", one.get("legendFormat", ""))]
    tables = [one for one in every if one.get("format") == "table"]
    assert own + tables
    for target in own:
        assert "{{namespace}}" in target["legendFormat"]
    for target in own + tables:
        assert all("namespace" in labels for labels in re.findall(r" by \((.*?)\)", target["expr"]))


@EACH
def test_nothing_is_green_where_nothing_is_known(name: str) -> None:
    """A number without data is grey and a dash: `or vector(0)` called a model healthy whose operator nobody scraped."""
    for panel in panels(boards()[name]):
        if panel["type"] == "stat":
            first = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]
            assert first["value"] is None
            assert first["color"] in ("text", "red"), panel["title"]
            guessed = [one["expr"] for one in panel["targets"] if "vector(0)" in one["expr"]]
            assert not guessed or first["color"] == "red", panel["title"]


def test_ten_columns_stay_ten_over_time() -> None:
    """The ten highest are chosen at the end of the shown time: chosen at each step they were dozens of lines."""
    chosen_ones = [one["expr"] for one in targets() if re.search(r"(top|bottom)k", one["expr"])]
    assert chosen_ones
    assert all("@ end()" in one for one in chosen_ones)


def test_every_verdict_has_a_colour_and_says_what_to_do() -> None:
    """The table of verdicts knows each verdict of a DriftReport, by colour and by the next action."""
    table = next(panel for panel in panels(boards()["drift"]) if panel["type"] == "table")
    found = {one["matcher"]["options"]: one["properties"] for one in table["fieldConfig"]["overrides"]}

    def options(column: str) -> dict[str, Any]:
        (mapping,) = next(prop["value"] for prop in found[column] if prop["id"] == "mappings")
        return dict(mapping["options"])

    assert set(options("Verdict")) == set(options("What to do")) == set(get_args(Verdict))
    assert all(one["color"] for one in options("Verdict").values())
