"""A stopping server behind an Envoy that neither checks health nor retries, as Istio's do.

Such a proxy only leaves when it is told so: here by a file of endpoints, as a control plane would.
"""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.client import Client
from lab.config_builder import LAB, ConfigBuilder
from lab.envoy import Envoy, bootstrap
from lab.mesh import TRAVEL, Mesh, Server
from support.load import Answers, under_load
from support.world import READ, wait_until

pytestmark = pytest.mark.e2e
LONG = LAB.with_(("server", "drain"), "300s").with_(("server", "notice"), "300s")
AT_ONCE = LAB.with_(("server", "drain"), "0s")
AUTHZ = "envoy.filters.http.ext_authz"
ALLOWED = (200, "", b"")


def test_a_notice_longer_than_the_removal_loses_nothing(mesh: Mesh, tmp_path: Path) -> None:
    """A server that stops answers until its endpoint is gone, so that no request fails."""
    with (
        two_servers(mesh, "long", LONG) as (ends, stays),
        behind(mesh, tmp_path, ends, stays) as envoy,
    ):
        with load(mesh, envoy) as answers:
            wait_until(lambda: answers.total() > 20)
            ends.process.signal(signal.SIGTERM)
            wait_until(lambda: ends.get("/readyz")[0] == 503)
            before = records(ends)
            wait_until(lambda: records(ends) > before + 10)
            assert ends.get("/healthz")[0] == 200
            write_endpoints(tmp_path, stays)
            wait_until(lambda: envoy.stat("cluster.authz.membership_total") == 1)
            ends.process.signal(signal.SIGKILL)
            ends.process.wait()
            after = answers.total()
            wait_until(lambda: answers.total() > after + 20)

        assert set(answers) == {ALLOWED}


def test_a_stop_without_notice_loses_requests(mesh: Mesh, tmp_path: Path) -> None:
    """A server that ends while its endpoint is still there takes requests with it: they fail."""
    with (
        two_servers(mesh, "short", AT_ONCE) as (ends, stays),
        behind(mesh, tmp_path, ends, stays) as envoy,
    ):
        with load(mesh, envoy) as answers:
            wait_until(lambda: answers.total() > 20)
            ends.process.signal(signal.SIGTERM)
            wait_until(lambda: answers.total() > answers[ALLOWED])

        assert {status for status, *_ in answers} == {200, 503}


@contextmanager
def two_servers(mesh: Mesh, name: str, changes: ConfigBuilder) -> Iterator[tuple[Server, Server]]:
    """Start a server with the changes, and another without."""
    servers = mesh.server(name, changes), mesh.server(f"{name}-stays")
    try:
        for server in servers:
            server.wait_ready()
        yield servers
    finally:
        for server in servers:
            server.process.signal(signal.SIGKILL)
            server.process.wait()


@contextmanager
def behind(mesh: Mesh, folder: Path, *servers: Server) -> Iterator[Envoy]:
    """Start an Envoy that knows the servers from a file only."""
    write_endpoints(folder, *servers)
    text = bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        sockets=[server.socket for server in servers],
    )
    config = yaml.safe_load(text)
    without_care(config, folder / "endpoints.yaml")
    envoy = Envoy(folder, yaml.safe_dump(config))
    try:
        yield envoy.wait_ready()
    finally:
        envoy.stop()


def without_care(config: Any, endpoints: Path) -> None:
    """Take health checks, outlier detection and retries out, and read endpoints from a file."""
    config["node"] = {"id": "edge", "cluster": "edge"}
    (authz,) = [one for one in config["static_resources"]["clusters"] if one["name"] == "authz"]
    for key in ("health_checks", "outlier_detection", "load_assignment"):
        del authz[key]
    source = {"resource_api_version": "V3", "path_config_source": {"path": str(endpoints)}}
    authz.update(type="EDS", eds_cluster_config={"eds_config": source})
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (ext_authz,) = [one for one in manager["http_filters"] if one["name"] == AUTHZ]
    del ext_authz["typed_config"]["grpc_service"]["retry_policy"]
    ext_authz["typed_config"]["grpc_service"]["timeout"] = "60s"  # of a busy machine


def write_endpoints(folder: Path, *servers: Server) -> None:
    """Replace the file of endpoints, as Envoy wants it: by a rename."""
    endpoints = [
        {"endpoint": {"address": {"pipe": {"path": str(server.socket)}}}} for server in servers
    ]
    assignment = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "authz",
        "endpoints": [{"lb_endpoints": endpoints}],
    }
    fresh = folder / "endpoints.new"
    fresh.write_text(yaml.safe_dump({"resources": [assignment]}))
    fresh.rename(folder / "endpoints.yaml")


def load(mesh: Mesh, envoy: Envoy) -> AbstractContextManager[Answers]:
    """Ask through this Envoy without a pause."""
    client = Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
    return under_load(client, mesh.issuer.token(TRAVEL, scope=READ))


def records(server: Server) -> int:
    """Count the checks that a server has recorded."""
    return server.audit.read_text().count("\n") if server.audit.exists() else 0
