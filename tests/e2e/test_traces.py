"""One trace of an agent's request, of a real Envoy that traces, and of the check."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from lab.client import Client, Reply, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import TRAVEL, Mesh, Server
from support.otlp_receiver import Receiver
from support.world import BALANCE, READ, wait_until

pytestmark = pytest.mark.e2e
CHECK, INGRESS = "envoy.service.auth.v3.Authorization/Check", "ingress"
TRACE, AGENTS = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
MANAGER = "stat_prefix: agents\n"
TRACING = """\
                tracing:
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      service_name: envoy
                      grpc_service: {envoy_grpc: {cluster_name: collector}}
"""
CLUSTERS = "\n  clusters:\n"
COLLECTOR = """\
    - name: collector
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: collector
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
"""


@contextmanager
def envoy_of(mesh: Mesh, folder: Path, server: Server, collector: int) -> Iterator[Envoy]:
    """Start an Envoy of the server, which sends spans to the collector."""
    config = bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        sockets=[server.socket],
        changes={MANAGER: MANAGER + TRACING, CLUSTERS: CLUSTERS + COLLECTOR % collector},
    )
    envoy = Envoy(folder, config)
    try:
        yield envoy.wait_ready()
    finally:
        envoy.stop()


def get(mesh: Mesh, envoy: Envoy, traceparent: str) -> Reply:
    """Ask with a good token, and with this traceparent."""
    client = Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
    headers = bearer(mesh.issuer.token(TRAVEL, scope=READ))
    return client.request("GET", BALANCE, [*headers, ("traceparent", traceparent)])


def spans_of(receiver: Receiver) -> dict[str, Span]:
    """What has arrived, by name."""
    return {span.name: span for span in receiver.spans}


def test_one_trace(mesh: Mesh, tmp_path: Path) -> None:
    """The agent's, Envoy's and the check's spans are in one trace."""
    with Receiver() as receiver:
        section = f"{{otlp: {{endpoint: '{receiver.url}', insecure: true}}}}"
        server = mesh.server("traced", LAB.with_section("traces", section)).wait_ready()
        with envoy_of(mesh, tmp_path, server, receiver.port) as envoy:
            assert get(mesh, envoy, f"00-{TRACE}-{AGENTS}-01").status == 200
            wait_until(lambda: {CHECK, INGRESS} <= spans_of(receiver).keys())
    spans = spans_of(receiver)
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    # The check has the headers as the agent sent them, so that Envoy's span stands beside its own.
    assert [spans[name].parent_span_id.hex() for name in (CHECK, INGRESS)] == [AGENTS, AGENTS]
