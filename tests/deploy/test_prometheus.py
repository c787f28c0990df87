"""A real Prometheus scrapes a real server under load: queries have data, and rules are healthy."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pytest

from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.prometheus import Prometheus, as_grafana, panels, program, promtool, rules
from support.serving import SECONDS, Serving
from support.world import PATIENCE_SECONDS, READ, check_request

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


def load_until(
    scraped: tuple[Serving, Prometheus], wanted: Mapping[str, Callable[[], object]]
) -> None:
    """Cause load until each has been true once. Fails with the names of the others."""
    server, prometheus = scraped
    end = time.monotonic() + PATIENCE_SECONDS
    while wanted := {name: has_come for name, has_come in wanted.items() if not has_come()}:
        told = f"still without data: {[*wanted]}; last scrape: {prometheus.last_scrape()}"
        assert time.monotonic() < end, told
        load(server)
        time.sleep(0.2)


def answer(prometheus: Prometheus, panel: dict[str, Any]) -> list[Any]:
    """The series of all queries of a panel."""
    exprs = [as_grafana(target["expr"]) for target in panel["targets"]]
    return [series for expr in exprs for series in prometheus.query(expr)]


def test_every_panel_has_data(scraped: tuple[Serving, Prometheus]) -> None:
    """Each query of the dashboard is one that Prometheus reads, and has what the load caused."""
    _, prometheus = scraped
    wanted = {
        panel["title"]: partial(answer, prometheus, panel)
        for panel in panels()
        if WITHOUT not in panel["description"]
    }
    load_until(scraped, wanted)
    for panel in panels():
        answer(prometheus, panel)


def test_rules_are_healthy(scraped: tuple[Serving, Prometheus]) -> None:
    """Prometheus evaluates each rule without an error, and a healthy server fires no alert."""
    _, prometheus = scraped

    def known() -> list[dict[str, Any]]:
        groups = prometheus.get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    load_until(scraped, {"rules": lambda: {rule["health"] for rule in known()} == {"ok"}})
    assert len(known()) == len(rules("alert")) + len(rules("record"))
    assert not [rule["name"] for rule in known() if rule.get("state") == "firing"]
    names = [rule["record"] for rule in rules("record")]
    load_until(scraped, {name: partial(prometheus.query, name) for name in names})


def test_promtool_takes_the_metrics(scraped: tuple[Serving, Prometheus]) -> None:
    """Names, helps and types of a scrape are as Prometheus' own checks want them."""
    server, _ = scraped
    _, text = server.get("/metrics")

    done = promtool("check", "metrics", text=text)

    assert done.returncode == 0, done.stdout + done.stderr
