"""A real Prometheus scrapes our real processes under load: queries have data, rules are healthy."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.prometheus import Prometheus, as_grafana, panels, program, promtool, rules
from support.serving import SECONDS, Serving
from support.sts_server import TokenServiceProcess, TokenServiceWorld
from support.world import PATIENCE_SECONDS, READ, check_request

# Panels of what this server does not have say so.
WITHOUT: Final = "Empty without"


class Scraped(NamedTuple):
    """A server, a token service with a client, and a Prometheus that scrapes both."""

    server: Serving
    service: TokenServiceWorld
    process: TokenServiceProcess
    agent: httpx.Client
    prometheus: Prometheus


def started(folder: Path, opened: ExitStack) -> Scraped:
    """Start a server with two workers, a token service, and a Prometheus with our rules."""
    for part in ("server", "sts"):
        (folder / part).mkdir()
    server = opened.enter_context(Serving(folder / "server", LAB, workers=2))
    consents = folder / "consents.jsonl"
    consents.touch()
    changes = LAB.with_(("consents",), {"file": str(consents)})
    service = opened.enter_context(TokenServiceWorld(folder / "sts", changes))
    process = opened.enter_context(TokenServiceProcess(service))
    agent = opened.enter_context(service.client())
    server.read_until("workers are up")
    prometheus = opened.enter_context(Prometheus(folder, server.admin, process.admin))
    return Scraped(server, service, process, agent, prometheus)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """All of it, started once."""
    program("prometheus")
    with ExitStack() as opened:
        yield started(tmp_path_factory.mktemp("scraped"), opened)


def load(scraped: Scraped) -> None:
    """Cause some of everything: allows, remembered and not, refusals, tokens, and garbage."""
    server, service, _, agent, _ = scraped
    token = server.issuer.token(TRAVEL, scope=READ)
    for headers in ([("authorization", f"Bearer {token}")], []):
        request = check_request(server.svid, headers).SerializeToString()
        for _ in range(2):
            server.call(request, timeout=SECONDS, wait_for_ready=True)
    server.garbage(1)
    assert service.exchange(agent).status_code == httpx.codes.OK
    service.exchange(agent, resource="https://other.example")


def load_until(scraped: Scraped, wanted: Mapping[str, Callable[[], object]]) -> None:
    """Cause load until each has been true once. Fails with the names of the others."""
    end = time.monotonic() + PATIENCE_SECONDS
    while wanted := {name: has_come for name, has_come in wanted.items() if not has_come()}:
        told = f"still without data: {[*wanted]}; last scrapes: {scraped.prometheus.last_scrape()}"
        assert time.monotonic() < end, told
        load(scraped)
        time.sleep(0.2)


def answer(prometheus: Prometheus, panel: dict[str, Any]) -> list[Any]:
    """The series of all queries of a panel."""
    exprs = [as_grafana(target["expr"]) for target in panel["targets"]]
    return [series for expr in exprs for series in prometheus.query(expr)]


def test_every_panel_has_data(scraped: Scraped) -> None:
    """Each query of the dashboard is one that Prometheus reads, and has what the load caused."""
    prometheus = scraped.prometheus
    wanted = {
        panel["title"]: partial(answer, prometheus, panel)
        for panel in panels()
        if WITHOUT not in panel["description"]
    }
    load_until(scraped, wanted)
    for panel in panels():
        answer(prometheus, panel)


def test_rules_are_healthy(scraped: Scraped) -> None:
    """Prometheus evaluates each rule without an error, and a healthy server fires no alert."""
    prometheus = scraped.prometheus

    def known() -> list[dict[str, Any]]:
        groups = prometheus.get("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    load_until(scraped, {"rules": lambda: {rule["health"] for rule in known()} == {"ok"}})
    assert len(known()) == len(rules("alert")) + len(rules("record"))
    assert not [rule["name"] for rule in known() if rule.get("state") == "firing"]
    names = [rule["record"] for rule in rules("record")]
    load_until(scraped, {name: partial(prometheus.query, name) for name in names})


def test_promtool_takes_the_metrics(scraped: Scraped) -> None:
    """Names, helps and types of a scrape are as Prometheus' own checks want them."""
    for admin in (scraped.server.admin, scraped.process.admin):
        text = httpx.get(f"http://{admin}/metrics", timeout=SECONDS).text

        done = promtool("check", "metrics", text=text)

        assert done.returncode == 0, done.stdout + done.stderr
