"""The doctor beside real Envoys: the shipped bootstrap, and each with one setting made wrong."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from authz.starter.template import cut
from lab.client import Client, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import TRAVEL, Mesh, Server
from support.canary import canary
from support.verbs import run
from support.world import wait_until

pytestmark = pytest.mark.e2e
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_trips"}}'
CHUNKED = (("transfer-encoding", "chunked"),)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CALL), CALL)
JSON = ("content-type", "application/json")
ROUTES = "- {name: trips, paths: [/trips/**], protocol: mcp}"
LIMIT = 'authz_max_request_bytes: "65536"'
BODY = "max_request_bytes: 65536"


class Wrong(NamedTuple):
    """A setting of the shipped bootstrap, another text for it, and what shows it."""

    code: str
    old: str
    new: str
    target: str = "/finance/{n}"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    has_certificate: bool = True
    cut: tuple[str, ...] = ()  # lines of the bootstrap from the first text up to the next


FINE = Wrong("", "", "")
WRONG = [
    Wrong(
        "no_principal",
        "require_client_certificate: true",
        "require_client_certificate: false",
        has_certificate=False,
        cut=("validation_context:", "filters:"),
    ),
    Wrong("no_certificate", "include_peer_certificate: true", "include_peer_certificate: false"),
    Wrong("headers_joined", "encode_raw_headers: true", "encode_raw_headers: false"),
    Wrong(
        "headers_limited",
        "validate_mutations: true",
        "allowed_headers: {patterns: [{exact: authorization}]}",
    ),
    Wrong(
        "token_never",
        "validate_mutations: true",
        "disallowed_headers: {patterns: [{exact: authorization}]}",
        "/elsewhere/{n}",
    ),
    Wrong(
        "xfcc_ignored",
        "forward_client_cert_details: SANITIZE_SET",
        "forward_client_cert_details: ALWAYS_FORWARD_ONLY",
        headers=(("x-forwarded-client-cert", "URI=spiffe://corp.example/ns/agents/sa/other"),),
    ),
    Wrong("path_not_normalised", "merge_slashes: true", "merge_slashes: false", "/finance//{n}"),
    Wrong(
        "header_names",
        "headers_with_underscores_action: REJECT_REQUEST",
        "headers_with_underscores_action: ALLOW",
        headers=(("x_tenant", "a"),),
    ),
    Wrong(
        "identity_headers",
        'regex: "x[^a-z0-9]+agent[^a-z0-9].*"',
        'regex: "none"',
        headers=(("x-agent-roles", "admin"),),
    ),
    Wrong(
        "profile_unknown",
        "context_extensions:\n                              # Where",
        "context_extensions:\n                              authz_profile: edgy\n"
        "                              # Where",
    ),
    Wrong(
        "route_unknown", LIMIT, f"{LIMIT}\n{' ' * 34}authz_route: tips", "/trips/{n}", (JSON,), CALL
    ),
    Wrong("limit_malformed", LIMIT, 'authz_max_request_bytes: "64k"', "/trips/{n}", (JSON,), CALL),
    Wrong("body_text", ", pack_as_bytes: true", "", "/trips/{n}", (JSON,), CALL),
    Wrong("body_unbounded", LIMIT, "resource: none", "/trips/{n}", (JSON, *CHUNKED), CHUNKS),
    Wrong(
        "body_missing",
        LIMIT,
        f"{LIMIT}\n{' ' * 32}disable_request_body_buffering: true",
        "/trips/{n}",
        (JSON,),
        CALL,
        cut=("with_request_body:", "- match: {prefix: /}"),
    ),
    Wrong(
        "body_cut",
        f"{BODY}\n{' ' * 34}allow_partial_message: false",
        f"max_request_bytes: 16\n{' ' * 34}allow_partial_message: true",
        "/trips/{n}",
        (JSON,),
        CALL,
    ),
]


@pytest.fixture(scope="module")
def server(mesh: Mesh) -> Iterator[Server]:
    """A server with a route of MCP; its config needs the caller's certificate."""
    running = mesh.server("doctor", LAB.with_routes(ROUTES))
    running.wait_ready()
    yield running
    canary.note("presented", running.get("/presented")[1].encode())
    running.process.stop()


class Proxy:
    """An Envoy before the server, and an agent that sends a new request each time."""

    def __init__(self, mesh: Mesh, server: Server, folder: Path, wrong: Wrong) -> None:
        """Start the Envoy."""
        config = bootstrap(
            server=mesh.gateway,
            bundle=mesh.authority.path,
            upstream_port=mesh.upstream.port,
            sockets=server.sockets,
            changes={wrong.old: wrong.new} if wrong.old else {},
        )
        config = cut(config, *wrong.cut) if wrong.cut else config
        self._mesh = mesh
        self._number = 0
        self.envoy = Envoy(folder, config)
        self.envoy.wait_ready()

    def send(self, wrong: Wrong) -> None:
        """Send a request whose decision is not remembered, whatever the answer is."""
        self._number += 1
        svid = self._mesh.authority.issue(TRAVEL) if wrong.has_certificate else None
        client = Client(self.envoy.port, self._mesh.authority.path, svid)
        target = wrong.target.format(n=f"{self.envoy.port}-{self._number}")
        headers = [*bearer(self._mesh.issuer.token(TRAVEL)), *wrong.headers]
        method = "POST" if wrong.body else "GET"
        client.request(method, target, headers, wrong.body)


def told(server: Server, capsys: pytest.CaptureFixture[str], since: float) -> tuple[int, Any]:
    """Ask the doctor; return the exit status and the findings about checks since a moment."""
    capsys.readouterr()
    address = server.admin.removeprefix("http://")
    status = run("doctor", str(server.config), "--address", address, "--json")
    answer = json.loads(capsys.readouterr().out)
    fresh = [one["last"] for one in answer["presented"] if one["last"]["at"] >= since]
    return status, [
        finding
        for finding in answer["findings"]
        if any(f"profile {last['profile'] or '?'}" in finding["about"] for last in fresh) and fresh
    ]


def test_the_shipped_bootstrap_is_fine(
    mesh: Mesh, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any request the doctor says that nothing was asked; after some, that all is well."""
    address = server.admin.removeprefix("http://")
    assert run("doctor", str(server.config), "--address", address) == 1
    assert "[never_asked]" in capsys.readouterr().out

    proxy = Proxy(mesh, server, tmp_path, FINE)
    try:
        proxy.send(FINE)
        proxy.send(Wrong("", "", "", "/finance/{n}", (JSON,), CALL))  # no body is sent along here
        proxy.send(Wrong("", "", "", "/trips/{n}", (JSON,), CALL))
        proxy.send(Wrong("", "", "", "/trips/{n}", (JSON, *CHUNKED), CHUNKS))
    finally:
        proxy.envoy.stop()

    assert run("doctor", str(server.config), "--address", address) == 0
    said = capsys.readouterr().out
    assert said.endswith("nothing is wrong\n"), said
    assert f"  agent       {TRAVEL}\n" in said
    assert "limit 65536" in said


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.code)
def test_a_setting_made_wrong(
    mesh: Mesh,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: Wrong,
) -> None:
    """Each wrong setting is found from what came, with the words that mend it in Envoy."""
    begun = time.time()
    proxy = Proxy(mesh, server, tmp_path, wrong)

    def found() -> dict[str, Any] | None:
        proxy.send(wrong)
        _, findings = told(server, capsys, begun)
        return next((one for one in findings if one["code"] == wrong.code), None)

    try:
        wait_until(found)
        finding = found()
    finally:
        proxy.envoy.stop()

    assert finding is not None
    assert finding["cures"]["Envoy"]
