"""What a check adds to a request through a real Envoy, over mutual TLS."""

import json
import os
import random
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import yaml

from bench.load import Connection, closed_loop
from bench.measure import Run, cpu_seconds
from bench.servers import C_ECHO, GRPCIO, LOAD_CORE, OURS, SERVER_CORE, Bench
from lab.envoy import Envoy, bootstrap
from lab.mesh import GATEWAY, TRAVEL

ALONE: Final = "alone"
BARE: Final = "bare"
LOADS: Final = (("one", 2000, 1), ("32", 8000, 32))


def through_envoy(bench: Bench, run: Run, stack: ExitStack) -> None:
    """Ask an Envoy for each server, and one alone. The upstream is Envoy's own answer."""
    os.sched_setaffinity(0, SERVER_CORE)
    names = [ALONE, *(name for name in (BARE, C_ECHO, OURS, GRPCIO) if name in bench.addresses)]
    envoys = {name: _envoy(bench, name, stack) for name in names}
    os.sched_setaffinity(0, LOAD_CORE)
    token = bench.issuer.token(TRAVEL, scope="balance:read")
    for _ in range(run.rounds):
        for name in random.sample(names, len(names)):
            _measure(bench, run, name, envoys[name], token)


def _envoy(bench: Bench, name: str, stack: ExitStack) -> Envoy:
    address = bench.addresses[BARE if name == ALONE else name]
    text = bootstrap(
        server=bench.authority.issue(GATEWAY, dns=("localhost",)),
        bundle=bench.authority.path,
        upstream_port=9,
        sockets=[Path(address.removeprefix("unix:"))],
    )
    label = name.replace(",", "").replace(" ", "-")
    envoy = Envoy(bench.folder, _answering(text, has_authz=name != ALONE), f"envoy-{label}")
    stack.callback(envoy.stop)
    return envoy.wait_ready()


def _measure(bench: Bench, run: Run, name: str, envoy: Envoy, token: str) -> None:
    connection = Connection(
        f"127.0.0.1:{envoy.port}",
        "/finance/balance",
        b"granted",
        tls=(bench.authority.path, bench.svid),
        headers=(("authorization", f"Bearer {token}"),),
    )
    for mode, count, in_flight in LOADS:
        closed_loop(connection, lambda: b"", 100, 1)
        before = cpu_seconds(envoy.process.pid)
        result = closed_loop(connection, lambda: b"", int(count * run.scale), in_flight)
        cpu = cpu_seconds(envoy.process.pid) - before
        run.note(f"Envoy, {name}", mode, result.summary(), cpu)
    connection.close()


def _answering(text: str, *, has_authz: bool) -> str:
    """Return the bootstrap with an answer of Envoy's own in place of the upstream."""
    config = yaml.safe_load(text)
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    manager = chain["filters"][0]["typed_config"]
    for host in manager["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route.pop("route", None)
            route["direct_response"] = {"status": 200, "body": {"inline_string": "granted"}}
    if not has_authz:
        manager["http_filters"] = [
            one for one in manager["http_filters"] if "ext_authz" not in one["name"]
        ]
        for host in manager["route_config"]["virtual_hosts"]:
            host.pop("typed_per_filter_config", None)
    manager.pop("access_log", None)
    return json.dumps(config)
