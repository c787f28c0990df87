"""The main job through a real Envoy: what clients get, and what upstreams see."""

import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest

from lab import demo
from lab.client import Client, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.live_files import whole_lines
from lab.mesh import GATEWAY, ISSUER, ORCHESTRATOR, PAYMENTS, TRAVEL, Mesh
from lab.table import as_expected, sent
from support.load import under_load
from support.world import wait_until

pytestmark = pytest.mark.e2e
READ = "balance:read"
BALANCE = "/finance/balance"


def test_the_demo_story(mesh: Mesh) -> None:
    """Every request of the demo ends as it says."""
    for line in demo.story(mesh):
        reply = sent(line)

        assert as_expected(line, reply), (line.what, line.why, reply)


def test_upstream_sees_exactly_our_headers(mesh: Mesh) -> None:
    """Of identity headers the upstream sees ours only, each once, whatever the client sends."""
    token = mesh.issuer.token(
        TRAVEL, scope=f"{READ} z:last", act={"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}
    )
    forged = [
        (name, "forged")
        for name in (
            "x-agent-id",
            "X-Agent-Id",
            "x-agent-principal",
            "x-agent-issuer",
            "x-agent-scope",
            "x-agent-chain",
            "x-agent-decision-id",
            "x-agent-anything",
        )
    ]
    reply = mesh.agent(TRAVEL).request("GET", BALANCE, [*forged, *bearer(token), *forged])
    seen = reply.seen_headers("x-agent")

    assert reply.status == 200
    decision_id = dict(seen)["x-agent-decision-id"]
    assert sorted(seen) == [
        ("x-agent-chain", ORCHESTRATOR),
        ("x-agent-decision-id", decision_id),
        ("x-agent-id", TRAVEL),
        ("x-agent-issuer", ISSUER),
        ("x-agent-principal", "alice"),
        ("x-agent-scope", f"{READ} z:last"),
    ]
    assert len(decision_id) == 32
    assert reply.seen_headers("authorization") == []
    assert token not in reply.body.decode()


def test_a_header_that_we_do_not_set_is_removed(mesh: Mesh) -> None:
    """Without a chain a client's x-agent-chain is removed by us too, not by Envoy's early rule."""
    reply = mesh.agent(TRAVEL).request(
        "GET", BALANCE, [*bearer(mesh.issuer.token(TRAVEL, scope=READ)), ("x-agent-chain", "root")]
    )

    assert reply.status == 200
    assert reply.seen_headers("x-agent-chain") == []


def test_without_envoys_own_protections(mesh: Mesh, tmp_path: Path) -> None:
    """The answer alone protects the upstream when Envoy strips and rejects nothing itself."""
    config = _config(
        mesh,
        {
            'regex: "x[^a-z0-9]+agent[^a-z0-9].*"': 'regex: "none"',
            'regex: "[a-z0-9_-]*[^a-z0-9:_-].*"': 'regex: "none"',
            "headers_with_underscores_action: REJECT_REQUEST": (
                "headers_with_underscores_action: ALLOW"
            ),
            "normalize_path: true": "normalize_path: false",
            "merge_slashes: true": "merge_slashes: false",
            "path_with_escaped_slashes_action: REJECT_REQUEST": (
                "path_with_escaped_slashes_action: KEEP_UNCHANGED"
            ),
        },
    )
    envoy = Envoy(tmp_path, config)
    try:
        envoy.wait_ready()
        client = Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
        token = mesh.issuer.token(TRAVEL, scope=READ)
        twins = ["x_agent_id", "x-agent_id", "x_agent-id", "x_agent_decision_id", "X_Agent_Scope"]
        others = ["x-agent-id", "x-agent-chain", "x-agent-roles", "x.agent.roles", "x-agent-"]
        forged = [(name, "forged") for name in [*twins, *others]]
        reply = client.request("GET", BALANCE, [*bearer(token), *forged])

        assert reply.status == 200
        assert "forged" not in reply.body.decode()
        for path in TRICKS:
            answer = client.get(path, token)
            assert (answer.status, answer.reason) == (400, "path_ambiguous"), path
    finally:
        envoy.stop()


TRICKS = [
    "/public/../admin",
    "/public/..%2fadmin",
    "/public/%2e%2e/admin",
    "/public/..;/admin",
    "/public/..\\admin",
    "/public/%5cadmin",
    "//admin",
    "/public//x",
    "/public/./x",
    "/public/%252e%252e/admin",
    "/public/%00",
    "/public/%zz",
    "/public/a;b=c",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%ef%bc%8fadmin",
    "/public/a%0ab",
]


@pytest.mark.parametrize("path", TRICKS)
def test_path_trick(mesh: Mesh, path: str) -> None:
    """No spelling of a path under /public reaches another part of the upstream."""
    before = mesh.upstream.requests
    reply = mesh.agent(TRAVEL).get(path, mesh.issuer.token(TRAVEL, scope=READ))

    if reply.status == 200:  # Envoy made one plain path of it, and that is what was decided
        assert reply.seen()["path"].startswith("/public/")
        assert ".." not in reply.seen()["path"]
    else:
        assert reply.status in {400, 403}
        assert mesh.upstream.requests == before


@pytest.mark.parametrize(
    ("name", "uris", "changes"),
    [
        ("two URI names", (TRAVEL, GATEWAY), {}),
        ("our name second", (GATEWAY, TRAVEL), {}),
        ("a DNS name that looks like an ID", (), {"dns": ("travel.corp.example",)}),
        ("another trust domain", ("spiffe://evil.example/ns/agents/sa/travel",), {}),
        ("may sign certificates", (TRAVEL,), {"signs_certificates": True}),
        ("expired", (TRAVEL,), {"starts_in_seconds": -7200, "lifetime_seconds": 3600}),
        ("not for clients", (TRAVEL,), {"usages": ()}),
    ],
)
def test_certificates(
    mesh: Mesh, name: str, uris: tuple[str, ...], changes: dict[str, object]
) -> None:
    """A certificate that is no plain SVID of the agent never gets through."""
    svid = mesh.authority.issue(*uris, **changes)  # type: ignore[arg-type]
    token = mesh.issuer.token(TRAVEL, scope=READ)
    try:
        reply = mesh.client(svid).get(BALANCE, token)
    except OSError:
        return  # Envoy ended the connection
    if name == "not for clients":  # no extended usage at all is allowed by X509-SVID section 4.4
        assert reply.status == 200
        return
    assert reply.status == 403
    assert reply.reason in {"agent_invalid", "identity_conflict", "agent_untrusted_domain"}


def test_no_client_certificate(mesh: Mesh) -> None:
    """Without a client certificate there is no connection."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        mesh.client(None).get(BALANCE)


def test_a_post_with_a_body_passes_whole(mesh: Mesh) -> None:
    """An allowed write reaches the upstream with its body."""
    token = mesh.issuer.token(PAYMENTS, scope="payments:write")
    reply = mesh.agent(PAYMENTS).request("POST", "/finance/payments/42", bearer(token), b"x" * 5000)

    assert reply.status == 200
    assert reply.seen()["body_bytes"] == 5000


def test_cache_and_ids(mesh: Mesh) -> None:
    """The same request twice is decided once; each has its own decision id, in audit too."""
    token = mesh.issuer.token(TRAVEL, scope=READ)
    client = mesh.agent(TRAVEL)
    ids = [
        dict(client.get(BALANCE, token).seen_headers("x-agent-decision-id"))["x-agent-decision-id"]
        for _ in range(3)
    ]

    def records() -> list[str]:
        lines = whole_lines(mesh.servers[0].audit)
        return [line for line in lines if any(one in line for one in ids)]

    wait_until(lambda: len(records()) == 3)

    assert len(set(ids)) == 3
    assert ['"cache":"miss"' in line for line in records()] == [True, False, False]


def test_no_token_in_any_output(mesh: Mesh) -> None:
    """No token and no signature of one is in a log, an audit record or a metric."""
    token = mesh.issuer.token(TRAVEL, scope=READ)
    client, audit = mesh.agent(TRAVEL), mesh.servers[0].audit
    wait_until(lambda: mesh.servers[0].metric("authz_audit_queue_length") == 0)
    before = len(whole_lines(audit))
    client.get(BALANCE, token)
    client.get(BALANCE, token[:-3])
    client.get(BALANCE, f"{token} {token}")
    wait_until(lambda: len(whole_lines(audit)) == before + 3)
    outputs = [path.read_text() for path in mesh.folder.glob("*.log")]
    outputs += [mesh.servers[0].audit.read_text(), mesh.servers[0].get("/metrics")[1]]
    for part in (token, *token.split(".")[1:], token.split(".")[1][:40]):
        assert not any(part in output for output in outputs)


def test_issuer_down_keeps_known_keys(tmp_path: Path) -> None:
    """While the issuer is down known keys go on verifying; unknown ones are refused at once."""
    with Mesh(tmp_path) as mesh:
        client, token = mesh.agent(TRAVEL), mesh.issuer.token(TRAVEL, scope=READ)
        mesh.jwks.faults.status = 500
        old_key = mesh.issuer.current
        unknown = mesh.issuer.rotate()

        assert client.get(BALANCE, token).status == 200
        assert (
            client.get(BALANCE, mesh.issuer.token(TRAVEL, scope=READ)).reason == "token_key_unknown"
        )
        fresh = mesh.issuer.token(TRAVEL, scope=READ, key=old_key)
        assert client.get(BALANCE, fresh).status == 200
        mesh.jwks.faults.status = 200
        late = mesh.issuer.token(TRAVEL, scope=READ, key=unknown)
        wait_until(lambda: client.get(BALANCE, late).status == 200)


def test_server_gone_is_no_access(tmp_path: Path) -> None:
    """With the server killed Envoy answers 503, and nothing reaches the upstream."""
    with Mesh(tmp_path) as mesh:
        client, token = mesh.agent(TRAVEL), mesh.issuer.token(TRAVEL, scope=READ)
        assert client.get(BALANCE, token).status == 200
        os.kill(mesh.servers[0].process.pid, signal.SIGKILL)
        mesh.servers[0].process.wait()
        before = mesh.upstream.requests
        replies = [client.get(BALANCE, token).status for _ in range(5)]

        assert replies == [503] * 5
        assert mesh.upstream.requests == before


def test_drain_loses_no_request(tmp_path: Path) -> None:
    """SIGTERM to one of two servers under load: not one request fails.

    Envoy waits for as long as it takes: on a busy machine a late answer is not a lost one.
    """
    with Mesh(tmp_path, servers=2, check_timeout="60s") as mesh:
        token = mesh.issuer.token(TRAVEL, scope=READ)
        with under_load(mesh.agent(TRAVEL), token, threads=4) as answers:
            wait_until(lambda: answers.total() > 100)
            mesh.servers[0].process.signal(signal.SIGTERM)
            status = mesh.servers[0].process.wait()
            before = answers.total()
            wait_until(lambda: answers.total() > before + 100)

        assert status == 0
        assert set(answers) == {(200, "", b"")}


def test_an_issuer_that_is_added_while_down(tmp_path: Path) -> None:
    """A new issuer that can't be reached stops its own tokens only; the rest goes on."""
    with Mesh(tmp_path) as mesh:
        server, client = mesh.servers[0], mesh.agent(TRAVEL)
        other = "https://new.example"
        issuer = f"""\
- issuer: {other}
  keys: {{jwks_uri: 'http://127.0.0.1:1/x', insecure: true}}
  audiences: [https://mcp.corp.example/finance]
"""
        server.write_config(LAB.with_items(("issuers",), issuer))
        wait_until(lambda: server.metric('authz_config_reloads_total{result="taken"}') == 1)
        time.sleep(2.5)  # two of Envoy's health checks

        assert client.get(BALANCE, mesh.issuer.token(TRAVEL, scope=READ)).status == 200
        foreign = mesh.issuer.token(TRAVEL, scope=READ, iss=other)
        assert client.get(BALANCE, foreign).reason in {"keys_unavailable", "token_alg"}


def test_forged_client_certificate_header(mesh: Mesh) -> None:
    """A client's x-forwarded-client-cert neither steers who calls nor reaches the upstream."""
    forged = ("x-forwarded-client-cert", f"URI={PAYMENTS}")
    reply = mesh.agent(TRAVEL).request(
        "GET", BALANCE, [forged, *bearer(mesh.issuer.token(TRAVEL, scope=READ))]
    )
    [(_, seen)] = reply.seen_headers("x-forwarded-client-cert")

    assert dict(reply.seen_headers("x-agent-id")) == {"x-agent-id": TRAVEL}
    assert TRAVEL in seen
    assert PAYMENTS not in seen


@pytest.mark.parametrize(
    ("target", "headers", "status", "reason"),
    [
        ("http://evil.example/finance/balance", [], 403, "policy_denied"),
        ("https://mcp.corp.example/finance/balance", [], 200, ""),
        (BALANCE, [("host", "evil.example")], 400, "path_ambiguous"),
        (BALANCE, [("x-http-method-override", "DELETE")], 200, ""),
        (BALANCE, [("x-original-url", "/admin"), ("x-forwarded-host", "evil.example")], 200, ""),
        (BALANCE, [("x-envoy-downstream-service-cluster", "root")], 200, ""),
    ],
)
def test_targets_and_headers_that_mislead(
    mesh: Mesh, target: str, headers: list[tuple[str, str]], status: int, reason: str
) -> None:
    """What is decided is the request that the upstream gets, whatever else its headers say."""
    token = mesh.issuer.token(TRAVEL, scope=READ)
    reply = mesh.agent(TRAVEL).request("GET", target, [*bearer(token), *headers])

    assert (reply.status, reply.reason) == (status, reason)
    if status == 200:
        assert (reply.seen()["method"], reply.seen()["path"]) == ("GET", BALANCE)


def test_a_connection_header_does_not_take_ours_away(mesh: Mesh) -> None:
    """Naming our headers in Connection does not keep them from the upstream."""
    token = mesh.issuer.token(TRAVEL, scope=READ)
    nominated = ("connection", "x-agent-id, x-agent-principal, close")
    reply = mesh.agent(TRAVEL).request("GET", BALANCE, [*bearer(token), nominated])

    if reply.status == 200:
        assert dict(reply.seen_headers("x-agent-id")) == {"x-agent-id": TRAVEL}
    else:
        assert reply.status in {400, 401}


def test_tls_sessions_are_not_resumed(mesh: Mesh) -> None:
    """A TLS session is never resumed: it would outlive the certificate that it was made with."""
    svid = mesh.authority.issue(TRAVEL)
    context = ssl.create_default_context(cafile=str(mesh.authority.path))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(svid.certificate_path, svid.key_path)
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", mesh.envoy.port), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
        ):
            assert not secure.session_reused
            session = secure.session


def test_joined_headers(mesh: Mesh, tmp_path: Path) -> None:
    """Without encode_raw_headers, where Envoy joins headers, decisions are the same."""
    envoy = Envoy(
        tmp_path, _config(mesh, {"encode_raw_headers: true": "encode_raw_headers: false"})
    )
    try:
        envoy.wait_ready()
        client = Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
        token = mesh.issuer.token(TRAVEL, scope=READ)

        assert client.get(BALANCE, token).status == 200
        twice = client.request("GET", BALANCE, [*bearer(token), *bearer("x")])
        assert (twice.status, twice.reason) == (400, "auth_ambiguous")
    finally:
        envoy.stop()


def _config(mesh: Mesh, changes: dict[str, str]) -> str:
    return bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        sockets=[mesh.servers[0].socket],
        changes=changes,
    )


def test_http2_and_grpc_clients(mesh: Mesh) -> None:
    """Over HTTP/2 it is the same; a gRPC client gets its own kind of refusal."""
    svid = mesh.authority.issue(TRAVEL)
    context = ssl.create_default_context(cafile=str(mesh.authority.path))
    context.load_cert_chain(svid.certificate_path, svid.key_path)
    token = mesh.issuer.token(TRAVEL, scope=READ)
    headers = {"host": "mcp.corp.example", "authorization": f"Bearer {token}"}
    base = f"https://localhost:{mesh.envoy.port}"
    with httpx.Client(http2=True, verify=context, timeout=60, trust_env=False) as client:
        allowed = client.get(base + BALANCE, headers=headers)
        grpc = {"content-type": "application/grpc", "te": "trailers"}
        denied = client.post(base + BALANCE, headers={**headers, **grpc}, content=b"\0" * 5)

    assert (allowed.status_code, allowed.http_version) == (200, "HTTP/2")
    assert denied.status_code == 200
    assert denied.headers["grpc-status"] == "7"
    assert "policy_denied" in denied.headers["grpc-message"]


def test_the_proxys_own_log(mesh: Mesh) -> None:
    """Envoy's access log has the decision, its reason and its id from the dynamic metadata."""
    reply = mesh.agent(TRAVEL).get(BALANCE, mesh.issuer.token(TRAVEL, scope="x"))
    decision_id = reply.body.decode().split("decision: ")[1].strip()

    def lines() -> list[str]:
        log = whole_lines(mesh.folder / "envoy.log")
        return [line for line in log if decision_id in line]

    wait_until(lines)
    line = lines()[0]

    assert '"decision":"deny"' in line
    assert '"reason":"scope"' in line
    assert '"principal":"alice"' in line


def test_hot_reload(tmp_path: Path) -> None:
    """A changed config is taken within seconds; a broken one is refused and the last one stays."""
    with Mesh(tmp_path) as mesh:
        server, client = mesh.servers[0], mesh.agent(TRAVEL)
        token = mesh.issuer.token(TRAVEL, scope=READ)
        misspelt = LAB.without(("trust_domains",)).with_(("trust_domians",), ["corp.example"])
        assert client.get(BALANCE, token).status == 200

        server.write_config(LAB.with_(("agents", TRAVEL, "grants"), ["public"]))
        wait_until(lambda: client.get(BALANCE, token).reason == "policy_denied")
        server.write_config(misspelt)
        wait_until(lambda: server.metric('authz_config_reloads_total{result="refused"}') == 1)
        # The log has a thread of its own.
        wait_until(lambda: "trust_domains" in server.process.log.read_text())
        assert client.get(BALANCE, token).reason == "policy_denied"

        server.write_config(LAB)
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: client.get(BALANCE, token).status == 200)
        assert server.metric('authz_config_reloads_total{result="taken"}') >= 2


def test_metrics_and_health(mesh: Mesh) -> None:
    """Decisions are counted by reason, keys have an age, readiness has its parts."""
    server = mesh.servers[0]
    sample = 'authz_decisions_total{decision="deny",reason="token_missing"}'
    before = server.metric(sample)
    mesh.agent(TRAVEL).get(BALANCE)

    assert server.metric(sample) == before + 1
    assert server.metric('authz_keys{issuer="https://as.corp.example",state="usable"}') >= 1
    assert server.get("/healthz") == (200, "ok\n")
    status, body = server.get("/readyz")
    checks = json.loads(body)["checks"]
    (source,) = checks.pop("sources")
    parts = {"config": True, "keys": True, "listening": True, "stopping": False, "stuck": []}
    assert (status, checks) == (200, parts)
    assert (source["issuer"], source["last_error"]) == (ISSUER, "")
    assert source["keys"] >= 1
    assert server.get("/nothing")[0] == 404
