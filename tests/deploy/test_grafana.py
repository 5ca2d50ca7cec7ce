"""The dashboards: as the tables say, and by the rules of Grafana's dashboard linter."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.all_metrics import METRICS, programs_of
from deploy.grafana import __main__ as writer
from deploy.grafana import queries
from tests.deploy.named import COUNTING, SERIES, fault
from tests.deploy.promql import selections

HERE = Path(writer.__file__).parent
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in writer.HERE.glob("*.json")}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression: panels and annotations of all boards."""
    for name, board in BOARDS.items():
        for panel in panels(board):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']} {target['refId']}", target["expr"]
        for note in board["annotations"]["list"]:
            yield f"{name}: {note['name']}", note["expr"]


EXPRESSIONS = dict(expressions())
every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
every_expression = pytest.mark.parametrize("text", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())


# --- the files --------------------------------------------------------------------------------------------------------


def test_committed_dashboards_are_what_the_tables_say() -> None:
    """`make dashboards` would change nothing; there are three."""
    assert writer.stale() == [], "run `make dashboards` and commit"
    assert sorted(BOARDS) == ["popular-backends", "popular-overview", "popular-workers"]


def test_a_stale_dashboard_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing, edited, or no longer made is found, and written anew or removed."""
    monkeypatch.setattr(writer, "HERE", tmp_path / "new")
    monkeypatch.setattr("sys.argv", ["deploy.grafana"])
    names = sorted(f"{name}.json" for name in BOARDS)
    assert writer.stale() == names
    assert writer.main() == 0
    assert writer.stale() == []
    (tmp_path / "new" / names[0]).write_text("edited")
    (tmp_path / "new" / "old.json").write_text("gone")
    assert writer.stale() == ["old.json", names[0]]
    assert writer.main() == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda: queries.rate("nonsense_total"), "no metric popular_nonsense_total"),
        (lambda: queries.rate("sessions"), "is a gauge, not a counter"),
        (lambda: queries.gauge("logins_total"), "is a counter, not a gauge"),
        (lambda: queries.quantile(0.5, "sessions"), "is a gauge, not a histogram"),
        (lambda: queries.rate("logins_total", "backend"), "has no label backend"),
        (lambda: queries.rate("logins_total", user="joe"), "has no label user"),
        (lambda: queries.since("load1"), "is no moment"),
    ],
    ids=lambda value: value if isinstance(value, str) else "query",
)
def test_a_query_of_what_does_not_exist_is_refused(made: Any, complaint: str) -> None:
    """When the dashboards are made, not when somebody needs them."""
    with pytest.raises(ValueError, match=complaint):
        made()


def test_provisioning_leads_to_the_dashboards() -> None:
    """The files that Grafana is started with: one data source for Prometheus, one folder that is not edited there."""
    (source,) = yaml.safe_load((HERE / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["access"], source["isDefault"]) == ("prometheus", "proxy", True)
    interval = yaml.safe_load((HERE.parent / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval, "$__rate_interval is made of it"
    (provider,) = yaml.safe_load((HERE / "provisioning/dashboards/popular.yml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)


# --- the rules of the linter, and ours --------------------------------------------------------------------------------


@every_board
def test_a_board_can_be_provisioned(board: dict[str, Any]) -> None:
    """A stable uid, no id of a certain Grafana, not editable, a refresh, tags."""
    assert (board["id"], board["editable"], board["tags"]) == (None, False, ["popular"])
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert board["title"]
    assert board["description"]
    assert board["schemaVersion"] >= 36
    (link,) = board["links"]
    assert (link["type"], link["tags"], link["includeVars"], link["keepTime"]) == (
        "dashboards",
        ["popular"],
        True,
        True,
    )


def test_uids_and_titles_are_unique() -> None:
    """So that no board takes the place of another one."""
    for key in ("uid", "title"):
        assert len({board[key] for board in BOARDS.values()}) == len(BOARDS)
    assert {name: board["uid"] for name, board in BOARDS.items()} == {name: name for name in BOARDS}


@every_board
def test_variables(board: dict[str, Any]) -> None:
    """Data source, job and instance can be chosen: template-datasource, -job, -instance, -on-time-change-reload.

    Of one rule we differ: "all" is not `.+` but what was found, because pproxy and pserv have metrics in common.
    """
    source, job, instance = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"], source["label"]) == (
        "datasource", "datasource", "prometheus", "Data source"
    )  # fmt: skip
    for variable, label in ((job, "job"), (instance, "instance")):
        assert (variable["name"], variable["label"], variable["type"]) == (label, label.capitalize(), "query")
        assert (variable["multi"], variable["includeAll"], "allValue" in variable) == (True, True, False)
        assert variable["refresh"] == 2
        assert variable["datasource"] == SOURCE
        inner = re.fullmatch(rf"label_values\((.*), {label}\)", variable["query"]["query"])
        assert inner is not None
        (found,) = selections(inner[1])
        assert fault(found) is None
        assert all(it in {"pproxy", "pserv"} for it in found.matchers["program"].removeprefix("=~").split("|"))


@every_board
def test_panels(board: dict[str, Any]) -> None:
    """Title, description, unit, data source and queries: panel-title-description, -units, -datasource, -no-targets."""
    for panel in panels(board):
        assert panel["title"]
        assert len(panel["description"]) > len(panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == SOURCE
        assert panel["targets"]
        assert [target["datasource"] for target in panel["targets"]] == [SOURCE] * len(panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends)
        assert len(set(legends)) == len(legends), "each line of a panel has a legend of its own"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@every_board
def test_a_title_is_given_once(board: dict[str, Any]) -> None:
    """RUNBOOK.md and people speak of panels by their titles."""
    titles = [panel["title"] for panel in board["panels"]]
    assert sorted(titles) == sorted(set(titles))


def test_the_runbook_speaks_of_what_is_there() -> None:
    """Each dashboard and panel that it sends an operator to exists under that title."""
    text = " ".join((HERE.parent / "prometheus/RUNBOOK.md").read_text().split())
    boards = set(re.findall(r'dashboard "([^"]+)"', text))
    titles = set(re.findall(r'panel "([^"]+)"', text))
    assert boards
    assert boards <= {board["title"].removeprefix("POPular / ") for board in BOARDS.values()}
    assert titles
    assert titles <= {panel["title"] for board in BOARDS.values() for panel in panels(board)}


@every_board
def test_legends_name_labels_that_are_there(board: dict[str, Any]) -> None:
    """And all of them: two series of one panel are never called the same."""
    for panel in panels(board):
        for target in panel["targets"]:
            found = selections(target["expr"])
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            quantile = "histogram_quantile(" in target["expr"]
            assert wanted == set(found[0].labels) - ({"le"} if quantile else set()), target["expr"]


@every_board
def test_boundaries_belong_to_a_line(board: dict[str, Any]) -> None:
    """What is drawn as a limit is a series of the panel, by the name of its legend."""
    for panel in panels(board):
        legends = {target["legendFormat"] for target in panel["targets"]}
        assert {it["matcher"]["options"] for it in panel["fieldConfig"]["overrides"]} <= legends


@every_board
def test_layout(board: dict[str, Any]) -> None:
    """No panel overlaps another one or the edge, no row of panels has a hole, and they stand in reading order."""
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    height = max(y for _, y in taken) + 1
    holes = {y for y in range(height) if sum((x, y) in taken for x in range(24)) < 24}
    assert holes == set()
    corners = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in board["panels"]]
    assert corners == sorted(corners)


@every_expression
def test_expressions(text: str) -> None:
    """Metrics and labels exist; counters are only under rate (target-counter-agg), over $__rate_interval
    (target-rate-interval); job and instance are chosen everywhere (target-job, target-instance).
    """
    found = selections(text)
    assert found
    for selection in found:
        if selection.inside[:1] != ("changes",):
            assert fault(selection) is None
        assert selection.span in ("", "$__rate_interval")
        assert (selection.matchers["job"], selection.matchers["instance"]) == ("=~$job", "=~$instance")


def test_every_metric_is_shown() -> None:
    """Each family is on a board, or is named here with the reason why not."""
    elsewhere = {"popular_build_info"}  # only in the variables: it tells which jobs there are
    shown = {SERIES[selection.metric] for text in EXPRESSIONS.values() for selection in selections(text)}
    assert {family.name for family in METRICS} - {family.name for family in shown} == elsewhere


def test_boards_show_what_their_programs_have() -> None:
    """The jobs of a board have its metrics: those of pserv are only on the board on which pserv can be chosen."""
    for board in BOARDS.values():
        query = board["templating"]["list"][1]["query"]["query"]
        programs = selections(query.removeprefix("label_values(").removesuffix(", job)"))[0].matchers["program"]
        chosen = set(programs.removeprefix("=~").split("|"))
        there = {metric for metric in METRICS if chosen & set(programs_of(metric))}
        for panel in panels(board):
            for target in panel["targets"]:
                assert {SERIES[it.metric] for it in selections(target["expr"])} <= there, panel["title"]


def test_the_checks_notice_faults() -> None:
    """A misspelt metric, a label that is not there, a counter without rate, a gauge under rate."""
    assert {"rate", "increase"} == COUNTING
    faulty = (
        "popular_login_total",
        "sum(rate(popular_login_total[5m]))",
        "popular_logins_total",
        "sum(popular_logins_total)",
        "rate(popular_sessions[5m])",
        'popular_sessions{user="joe"}',
        "sum by (backend) (popular_sessions)",
        "popular_login_duration_seconds",
        "sum by (le) (rate(popular_sessions_started_total[5m]))",
    )
    assert [text for text in faulty if all(fault(it) is None for it in selections(text))] == []
    assert fault(selections("sum by (le, vserv) (rate(popular_login_duration_seconds_bucket[5m]))")[0]) is None
