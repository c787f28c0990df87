"""A real Prometheus scrapes a real server under load: queries have data, and rules are healthy."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest

from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.prometheus import Prometheus, as_grafana, panels, program, promtool, rules
from support.serving import SECONDS, Serving
from support.world import READ, check_request, wait_until

# Panels of what this server does not have say so.
WITHOUT: Final = "Empty without"


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Prometheus]]:
    """A server with two workers, and a Prometheus with our rules that scrapes it."""
    folder = tmp_path_factory.mktemp("scraped")
    program("prometheus")
    with Serving(folder, LAB, workers=2) as server:
        server.read_until("workers are up")
        with Prometheus(folder, server.admin) as prometheus:
            yield server, prometheus


def load(server: Serving) -> None:
    """Cause some of everything: allows, remembered and not, refusals of an agent, and garbage."""
    token = server.issuer.token(TRAVEL, scope=READ)
    for headers in ([("authorization", f"Bearer {token}")], []):
        request = check_request(server.svid, headers).SerializeToString()
        for _ in range(2):
            server.call(request, timeout=SECONDS, wait_for_ready=True)
    server.garbage(1)


def answer(prometheus: Prometheus, panel: dict[str, Any]) -> list[Any]:
    """The series of all queries of a panel."""
    exprs = [as_grafana(target["expr"]) for target in panel["targets"]]
    return [series for expr in exprs for series in prometheus.query(expr)]


def test_every_panel_has_data(scraped: tuple[Serving, Prometheus]) -> None:
    """Each query of the dashboard is one that Prometheus reads, and has what the load caused."""
    server, prometheus = scraped
    load(server)
    needed = [panel for panel in panels() if WITHOUT not in panel["description"]]

    def empty() -> list[str]:
        load(server)
        return [panel["title"] for panel in needed if not answer(prometheus, panel)]

    wait_until(lambda: not empty())
    for panel in panels():
        answer(prometheus, panel)


def test_rules_are_healthy(scraped: tuple[Serving, Prometheus]) -> None:
    """Prometheus evaluates each rule without an error, and a healthy server fires no alert."""
    server, prometheus = scraped
    load(server)

    def known() -> list[dict[str, Any]]:
        groups = prometheus.get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    wait_until(lambda: {rule["health"] for rule in known()} == {"ok"})
    assert len(known()) == len(rules("alert")) + len(rules("record"))
    assert not [rule["name"] for rule in known() if rule.get("state") == "firing"]
    for rule in rules("record"):
        wait_until(partial(prometheus.query, rule["record"]))


def test_promtool_takes_the_metrics(scraped: tuple[Serving, Prometheus]) -> None:
    """Names, helps and types of a scrape are as Prometheus' own checks want them."""
    server, _ = scraped
    _, text = server.get("/metrics")

    done = promtool("check", "metrics", text=text)

    assert done.returncode == 0, done.stdout + done.stderr
