"""The dashboard that we ship has the form that Grafana imports; no Grafana is needed for that."""

import json
from itertools import combinations
from typing import Any, Final

import pytest
import yaml

from support.prometheus import DASHBOARD, OBSERVABILITY, panels

MODEL: Final[dict[str, Any]] = json.loads(DASHBOARD.read_text())
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's own names of these (packages/grafana-data, valueFormats/categories).
UNITS: Final = {"short", "reqps", "cps", "percentunit", "s", "bytes"}
KINDS: Final = {"timeseries", "stat", "bargauge", "heatmap"}
GRAFANA: Final = OBSERVABILITY / "grafana"


def test_it_is_found_again() -> None:
    """It has a fixed uid, a title, a version of the schema, and no id, which is the database's."""
    assert MODEL["uid"] == "agent-authz"
    assert MODEL["title"]
    assert MODEL["schemaVersion"] >= 36  # where data sources became objects
    assert "id" not in MODEL
    assert MODEL["time"] == {"from": "now-1h", "to": "now"}


def test_its_variables() -> None:
    """Data source, job and instance are chosen at the top; each is asked of the chosen source."""
    source, *others = MODEL["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    assert [variable["name"] for variable in others] == ["job", "instance"]
    for variable in others:
        assert variable["datasource"] == SOURCE
        assert variable["query"]["query"] == variable["definition"]
        assert (variable["type"], variable["includeAll"]) == ("query", True)


def test_ids_are_unique() -> None:
    """Grafana finds panels by their numbers, people by their titles."""
    ids = [panel["id"] for panel in MODEL["panels"]]
    titles = [panel["title"] for panel in MODEL["panels"]]

    assert len(ids) == len(set(ids))
    assert len(titles) == len(set(titles))


def test_the_grid_has_no_overlaps() -> None:
    """No panel leaves the 24 columns, and no two have a cell in common."""
    places = [panel["gridPos"] for panel in MODEL["panels"]]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        assert place["h"] >= 1
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel(panel: dict[str, Any]) -> None:
    """It says what it shows, in a unit, by queries of the chosen servers and of the source."""
    assert panel["type"] in KINDS
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == SOURCE
    targets = panel["targets"]
    assert [target["refId"] for target in targets] == [chr(65 + at) for at in range(len(targets))]
    for target in targets:
        assert target["datasource"] == SOURCE
        assert target["legendFormat"]
        assert target["instant"] != target["range"]
        chosen = 'job=~"$job", instance=~"$instance"'
        assert target["expr"].count("authz_") == target["expr"].count(chosen)


def test_provisioning_leads_to_it() -> None:
    """Compose mounts the folder in which the provider looks, and the source's config."""
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/authz.yaml").read_text())[
        "providers"
    ]
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    services = yaml.safe_load((OBSERVABILITY / "compose.yaml").read_text())["services"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])

    assert provider["options"]["path"] == mounted["./grafana/dashboards"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert DASHBOARD.parent == GRAFANA / "dashboards"
    assert (
        f"--web.listen-address={source['url'].removeprefix('http://')}"
        in (services["prometheus"]["command"])
    )
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
