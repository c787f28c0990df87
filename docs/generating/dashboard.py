"""Make Grafana's dashboard from its panels, in the JSON that Grafana imports."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from generating.dashboard_panels import Panel
from generating.dashboard_parts import PARTS
from generating.dashboard_requests import REQUESTS

DASHBOARD: Final = "deploy/observability/grafana/dashboards/authz.json"
SCHEMA_VERSION: Final = 39  # Grafana 10.4 and 11; later versions migrate it when they load it
COLUMNS: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_SIZES: Final = {"stat": (4, 4)}  # width and height; others are eight wide and high
_SIZE: Final = (8, 8)
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "bargauge": {
        "displayMode": "basic",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "yAxis": {"unit": "s"},
    },
}


def dashboard() -> str:
    """Return the dashboard's JSON."""
    made = {
        "uid": "agent-authz",
        "title": "agent-authz",
        "description": "Decisions, latency, keys, policy and audit of agent-authz.",
        "tags": ["agent-authz"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_source(), *map(_variable, ("job", "instance"))]},
        "panels": list(_panels()),
    }
    return json.dumps(made, indent=2) + "\n"


def _source() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "options": [],
        "multi": False,
        "includeAll": False,
    }


def _variable(name: str) -> dict[str, Any]:
    """Return a variable of the values that a label has."""
    chosen = '{job=~"$job"}' if name == "instance" else ""
    query = f"label_values(authz_build_info{chosen}, {name})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"qryType": 1, "query": query, "refId": f"variable-{name}"},
        "definition": query,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels() -> Iterator[dict[str, Any]]:
    """Yield rows and their panels, from left to right and downwards."""
    ids, top = count(1), 0
    for row, panels in {**REQUESTS, **PARTS}.items():
        yield {
            "id": next(ids),
            "type": "row",
            "title": row,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        top, left, height = top + 1, 0, 0
        for panel in panels:
            width, height = _SIZES.get(panel.kind, _SIZE)
            if left + width > COLUMNS:
                top, left = top + height, 0
            yield _panel(panel, next(ids), {"x": left, "y": top, "w": width, "h": height})
            left += width
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            _target(chr(ord("A") + at), legend, query, panel.kind)
            for at, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    return {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}


def _target(letter: str, legend: str, query: str, kind: str) -> dict[str, Any]:
    is_instant = kind == "bargauge"  # one value of the whole time that is shown
    return {
        "refId": letter,
        "datasource": _SOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend,
        "format": "heatmap" if kind == "heatmap" else "time_series",
        "instant": is_instant,
        "range": not is_instant,
    }
