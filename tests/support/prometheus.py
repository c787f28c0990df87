"""A real Prometheus and its promtool, as Debian packages them; .ci/run unpacks them."""

import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import pytest
import yaml

from lab.processes import Process
from support.world import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[2]
OBSERVABILITY: Final = ROOT / "deploy" / "observability"
RULES: Final = OBSERVABILITY / "authz-rules.yaml"
DASHBOARD: Final = OBSERVABILITY / "grafana" / "dashboards" / "authz.json"
UNPACKED: Final = ROOT / ".venv-prometheus" / "usr" / "bin"
# Prometheus gives up on a scrape after as long. With coverage, on a busy machine, the pages of two
# workers take 0.15 s, and more on a slow one.
_STEP: Final = "3s"
_RATE: Final = "30s"  # holds several scrapes, though some may fail
_READY: Final = "Server is ready to receive web requests"
_LISTENS: Final = re.compile(r'msg="Listening on" address=(127\.0\.0\.1:\d+)')


def program(name: str) -> str:
    """Return the path of prometheus or promtool. Skips the test, or fails it, without them."""
    found = UNPACKED / name
    if found.exists():
        return str(found)
    installed = shutil.which(name)
    if installed is not None:
        return installed
    message = f"no {name}: install Debian's prometheus, or see .ci/run"
    if os.environ.get("AUTHZ_NEEDS_PROMETHEUS"):
        pytest.fail(message)
    pytest.skip(message)


def promtool(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool, and return what became of it."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@cache
def rules(kind: str) -> list[dict[str, Any]]:
    """Return the rules that we ship, of kind alert or record."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


@cache
def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that we ship, rows left out."""
    found = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def as_grafana(query: str) -> str:
    """Return a dashboard's query with the values that Grafana puts into it."""
    values = {"$__rate_interval": _RATE, "$__range": "1m", "$job": "authz", "$instance": ".+"}
    for name, value in values.items():
        query = query.replace(name, value)
    assert "$" not in query
    return query


class Prometheus(AbstractContextManager["Prometheus"]):
    """A Prometheus that scrapes our processes, with the rules that we ship."""

    def __init__(self, folder: Path, *targets: str) -> None:
        """Start it; ``targets`` are admin addresses."""
        config = {
            "global": {"scrape_interval": _STEP, "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "authz", "static_configs": [{"targets": [*targets]}]},
            ],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(config))  # which is YAML too
        command = [program("prometheus"), f"--config.file={file}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"]
        self._process = Process("prometheus", command, folder / "prometheus.log")

    def __enter__(self) -> Self:
        """Wait until it answers."""
        self._process.wait_until(lambda: _READY in self._process.log.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.stop()

    def _listens(self) -> list[str]:
        return _LISTENS.findall(self._process.log.read_text())

    def get(self, path: str, **parameters: str) -> Mapping[str, Any]:
        """Ask its API, and return the answer's data. Raises HTTPError for a bad query."""
        url = f"http://{self._listens()[0]}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
        assert answer["status"] == "success"
        return dict(answer["data"])

    def last_scrape(self) -> str:
        """Return what became of the last scrape of each target, in Prometheus' words."""
        found = self.get("targets")["activeTargets"]
        keys = ("scrapeUrl", "health", "lastScrapeDuration", "lastError")
        return str([{key: one[key] for key in keys} for one in found])

    def query(self, query: str) -> list[Any]:
        """Return the series of a query's answer."""
        return list(self.get("query", query=query)["result"])
