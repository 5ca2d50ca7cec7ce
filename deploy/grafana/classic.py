"""A dashboard as the classic JSON that Grafana reads from files: layout, variables, links, colours. Pure.

What a board shows is in its own file; here is only how Grafana is told. Nothing names a data source, a job or a host:
they are variables, which the reader chooses at the top.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from deploy.grafana.queries import Expression

GRID = 24
"""Columns of Grafana's grid."""
SCHEMA = 39
"""Version of the format: Grafana 11; newer ones convert it when they read it."""
TAG = "popular"
"""All our dashboards have it; each links to those that have it."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEIGHTS = {"stat": 4, "timeseries": 8, "heatmap": 8, "state-timeline": 8, "bargauge": 8}

Step = tuple[float | None, str]
"""From this value on (None: from the lowest), this colour."""
PLAIN: tuple[Step, ...] = ((None, "green"),)

Json = dict[str, Any]


class PanelLine(NamedTuple):
    """One query of a panel. `legend`: of each series; `limit`: drawn as a boundary, not as a measurement."""

    expression: Expression
    legend: str = ""
    limit: bool = False


class Panel(NamedTuple):
    """What is shown at one place. Its description and unit come from the families that it shows."""

    title: str
    lines: tuple[PanelLine, ...]
    shape: str = "timeseries"
    """One of HEIGHTS."""
    width: int = 8
    note: str = ""
    """What there is to say beyond the help texts of the families."""
    stacked: bool = False
    steps: tuple[Step, ...] = PLAIN
    words: tuple[str, ...] = ()
    """What the values 0, 1, 2 … are called."""
    whole: bool = False
    """Whether the value is a share of a whole: drawn from 0 to 1."""


class Board(NamedTuple):
    """A dashboard: panels under headings, from left to right, each row of panels GRID wide."""

    uid: str
    title: str
    summary: str
    program: str
    """Regular expression: the programs whose jobs can be chosen."""
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def dashboard(board: Board) -> Json:
    """The whole file."""
    return {
        "id": None,
        "uid": board.uid,
        "title": board.title,
        "description": board.summary,
        "tags": [TAG],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "annotations": {"list": _annotations()},
        "links": [_links()],
        "templating": {"list": list(_variables(board.program))},
        "panels": list(_panels(board)),
    }


# --- around the panels ------------------------------------------------------------------------------------------------


def _variables(program: str) -> Iterator[Json]:
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    yield source | {
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
    }
    yield _variable("job", f'label_values(popular_build_info{{program=~"{program}"}}, job)')
    yield _variable("instance", f'label_values(popular_build_info{{program=~"{program}", job=~"$job"}}, instance)')


def _variable(label: str, query: str) -> Json:
    return {
        "type": "query",
        "name": label,
        "label": label.capitalize(),
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,  # when the time range changes: an instance that is new appears
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # No allValue: "all" means those that the query has found, which are of this board's programs.
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "options": [],
        "regex": "",
    }


def _annotations() -> list[Json]:
    """Vertical lines: what an operator did explains many a curve."""
    selector = '{job=~"$job", instance=~"$instance"}'
    rows = (
        ("Configuration changed", "blue", f"changes(popular_config_generation{selector}[$__rate_interval]) > 0"),
        ("Started", "purple", f"changes(popular_start_time_seconds{selector}[$__rate_interval]) > 0"),
    )
    return [
        {"name": name, "datasource": SOURCE, "enable": True, "iconColor": color, "expr": text, "titleFormat": name,
         "textFormat": "{{instance}}"}
        for name, color, text in rows
    ]  # fmt: skip


def _links() -> Json:
    return {
        "type": "dashboards",
        "title": "POPular",
        "tags": [TAG],
        "includeVars": True,
        "keepTime": True,
        "asDropdown": False,
        "targetBlank": False,
    }


# --- panels -----------------------------------------------------------------------------------------------------------


def _panels(board: Board) -> Iterator[Json]:
    """From left to right, from top to bottom."""
    number = top = 0
    for heading, panels in board.rows:
        number += 1
        place = {"h": 1, "w": GRID, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": heading, "collapsed": False, "gridPos": place, "panels": []}
        top, left, height = top + 1, 0, 0
        for panel in panels:
            if left + panel.width > GRID:
                top, left, height = top + height, 0, 0
            number += 1
            height = max(height, HEIGHTS[panel.shape])
            place = {"h": HEIGHTS[panel.shape], "w": panel.width, "x": left, "y": top}
            yield {"id": number, "gridPos": place, **_panel(panel)}
            left += panel.width
        top += height


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.shape,
        "title": panel.title,
        "description": _description(panel),
        "datasource": SOURCE,
        "targets": [_target(panel, index, line) for index, line in enumerate(panel.lines)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": [_boundary(it) for it in panel.lines if it.limit]},
        "options": _options(panel),
    }


def _description(panel: Panel) -> str:
    families = dict.fromkeys(family for line in panel.lines for family in line.expression.families)
    helps = [f"{family.name}: {family.help}" for family in families]
    return "\n\n".join([panel.note, *helps] if panel.note else helps)


def _target(panel: Panel, index: int, line: PanelLine) -> Json:
    now = panel.shape in ("stat", "bargauge")
    return {
        "refId": chr(ord("A") + index),
        "datasource": SOURCE,
        "expr": line.expression.text,
        "legendFormat": "{{le}}" if panel.shape == "heatmap" else _legend(line) or panel.title,
        "editorMode": "code",
        "format": "heatmap" if panel.shape == "heatmap" else "time_series",
        "instant": now,
        "range": not now,
    }


def _legend(line: PanelLine) -> str:
    """What tells its series apart, and the word that tells it from the panel's other lines."""
    return " ".join([*(f"{{{{{label}}}}}" for label in line.expression.by), *filter(None, [line.legend])])


def _defaults(panel: Panel) -> Json:
    steps = [{"value": value, "color": color} for value, color in panel.steps]
    names = {str(value): {"text": word, "index": value} for value, word in enumerate(panel.words)}
    defaults: Json = {
        "unit": panel.lines[0].expression.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "palette-classic" if panel.shape == "timeseries" else "thresholds"},
        "mappings": [{"type": "value", "options": names}] if names else [],
    }
    if panel.shape == "timeseries":
        defaults |= {"min": 0, "custom": _strokes(panel)}
    if panel.whole:
        defaults |= {"min": 0, "max": 1}
    return defaults


def _strokes(panel: Panel) -> Json:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.steps == PLAIN else "line"},
    }


def _boundary(line: PanelLine) -> Json:
    """A limit is a dashed red line, and is not stacked on what it limits."""
    assert not line.expression.by, "a limit is one series, found by its name"
    look = {
        "color": {"mode": "fixed", "fixedColor": "red"},
        "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
        "custom.fillOpacity": 0,
        "custom.stacking": {"mode": "none", "group": "limit"},
    }
    properties = [{"id": name, "value": value} for name, value in look.items()]
    return {"matcher": {"id": "byName", "options": line.legend}, "properties": properties}


def _options(panel: Panel) -> Json:
    legend = {
        "showLegend": True,
        "displayMode": "table",
        "placement": "bottom",
        "calcs": ["lastNotNull", "max"],
        "sortBy": "Last *",
        "sortDesc": True,
    }
    latest = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    options: dict[str, Json] = {
        "timeseries": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": latest, "colorMode": "value", "graphMode": "none", "textMode": "auto"},
        "bargauge": {"reduceOptions": latest, "displayMode": "basic", "orientation": "horizontal"},
        "heatmap": {
            "calculate": False,
            "yAxis": {"unit": panel.lines[0].expression.unit},
            "color": {"mode": "scheme", "scheme": "Turbo", "steps": 64},
            "cellGap": 1,
            "tooltip": {"mode": "single"},
        },
        "state-timeline": {"showValue": "never", "mergeValues": True, "legend": {"showLegend": False}},
    }
    return options[panel.shape]
