"""Routes: who may act how, which audience, how the principal authenticated, where to learn more."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from authz import cli
from authz._pb import ext_authz_pb2 as pb
from authz.config import ConfigError, load_text
from authz.core.routes import RouteSettings, metadata_url, url_origin
from authz.edge.envoy.reader import read_check
from lab.config_builder import AT_ISSUER, AT_PUBLIC_RULE, AT_READ_RULE, LAB
from lab.mesh import AUDIENCE, ISSUER, ORCHESTRATOR, PAYMENTS, RETIRED, STRANGER, TRAVEL
from support.world import LIFETIMES_SECONDS, World, check_request, header_of, reason_of, wait_until

OTHER = "https://mcp.corp.example/other"
ROUTES = f"""\
- {{name: own, paths: [/own/**], modes: [autonomous]}}
- {{name: both, paths: [/both/**], modes: [delegated, autonomous]}}
- {{name: boot, paths: [/boot/**], protocol: mcp, bootstrap: [initialize, tools/list]}}
- {{name: strong, paths: [/strong/**], acr_values: [mfa, hwk], max_age: 5m}}
- {{name: fresh, paths: [/fresh/**], max_age: 5m}}
- {{name: bound, paths: [/bound/**], proof: required}}
- {{name: other, hosts: [mcp.corp.example], paths: [/other/**], resource: "{OTHER}"}}
"""
PATHS = "/public/**, /own/**, /both/**, /boot/**, /strong/**, /fresh/**, /bound/**, /other/**"
BOOT = "hosts: ['*'], methods: [POST], paths: [/boot/**], mcp: {tools: [search]}"
CHANGES = (
    LAB.with_routes(ROUTES)
    .with_section("earlier_actors", "{suspended: deny}")
    .with_((*AT_ISSUER, "audiences"), [AUDIENCE, OTHER])
    .with_keys(AT_PUBLIC_RULE, f"{{methods: [GET, POST], paths: [{PATHS}]}}")
    .with_rules("public", f"[{{{BOOT}, scopes: []}}]")
    .with_rules("finance-pay", f"[{{{BOOT}, scopes: ['payments:write']}}]")
    .with_principals(f"""\
- match: {{issuer: {ISSUER}, subjects: [{TRAVEL}]}}
  grants: [public]
- match: {{issuer: {ISSUER}}}
  grants: [finance-pay]
""")
)
OWN: dict[str, Any] = {"sub": TRAVEL, "act": None}


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with a route of every kind."""
    with World(tmp_path_factory.mktemp("routed"), CHANGES) as world:
        yield world


MODES: list[tuple[str, dict[str, Any], str]] = [
    ("/public/x", {}, "allow"),
    ("/public/x", OWN, "principal_required"),
    ("/public/x", {"sub": TRAVEL}, "principal_required"),
    ("/public/x", {"act": None}, "actor_missing"),  # impersonation: no trace of the agent
    ("/own/x", OWN, "allow"),
    ("/own/x", {"sub": TRAVEL}, "allow"),  # act names the subject itself: no delegation
    ("/own/x", {"sub": TRAVEL, "act": {"sub": PAYMENTS}}, "actor_mismatch"),
    (
        "/both/x",
        {"sub": TRAVEL, "act": {"sub": TRAVEL, "act": {"sub": PAYMENTS}}},
        "actor_not_permitted",
    ),
    ("/own/x", {"sub": PAYMENTS, "act": None}, "actor_mismatch"),
    ("/own/x", {"sub": "alice", "act": None}, "actor_missing"),
    ("/own/x", {}, "actor_not_permitted"),
    ("/both/x", {}, "allow"),
    ("/both/x", OWN, "allow"),
    ("/both/x", {"act": None}, "actor_missing"),
    ("/both/x", {"sub": PAYMENTS}, "policy_denied"),  # for another agent: no such principal
]


@pytest.mark.parametrize(("path", "changes", "reason"), MODES)
def test_modes(routed: World, path: str, changes: dict[str, Any], reason: str) -> None:
    """A route says whether agents act for principals, for themselves, or both."""
    assert reason_of(routed.ask(routed.token(**changes), path=path)) == reason


def test_an_agent_that_acts_for_itself_is_no_anybody(routed: World) -> None:
    """A principal rule without subjects is about people: an agent must be listed by its ID."""
    token = routed.issuer.token(PAYMENTS, **{**OWN, "sub": PAYMENTS, "scope": "payments:write"})
    svid = routed.authority.issue(PAYMENTS)
    headers = [("authorization", f"Bearer {token}")]
    path = "/finance/payments/1"
    request = check_request(svid, headers, principal=PAYMENTS, method="POST", path=path)
    request.attributes.context_extensions["authz_route"] = "both"

    assert reason_of(routed.check(request)) == "policy_denied"


def test_autonomous_is_told(world: World) -> None:
    """Audit says the mode: act, mapped or autonomous."""
    world.ask(world.token())

    assert world.audit_records()[-1]["mode"] == "act"


def test_autonomous_in_audit_and_headers(routed: World) -> None:
    """The upstream sees the agent as its own principal, and audit the mode."""
    answer = routed.ask(routed.token(**OWN), path="/own/told")

    assert header_of(answer, "x-agent-principal") == TRAVEL
    assert routed.audit_records()[-1]["mode"] == "autonomous"


CHAINS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"sub": TRAVEL}, "allow", []),
    ({"sub": TRAVEL, "act": {"sub": PAYMENTS}}, "allow", []),
    ({"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}, "allow", ["earlier_actor_unregistered"]),
    ({"sub": TRAVEL, "act": {"sub": "web"}}, "allow", ["earlier_actor_unregistered"]),
    (
        {"sub": TRAVEL, "act": {"sub": STRANGER, "act": {"sub": RETIRED}}},
        "actor_not_permitted",
        ["earlier_actor_unregistered", "earlier_actor_suspended"],
    ),
    ({"sub": PAYMENTS, "act": {"sub": TRAVEL}}, "actor_mismatch", []),
]


@pytest.mark.parametrize(("act", "reason", "flags"), CHAINS)
def test_earlier_actors(routed: World, act: dict[str, Any], reason: str, flags: list[str]) -> None:
    """Earlier actors never allow; odd ones are flagged, and denied where the config says so."""
    assert reason_of(routed.ask(routed.token(act=act), path="/public/x")) == reason
    assert routed.audit_records()[-1]["flags"] == flags


def test_unregistered_earlier_actors_can_be_denied(tmp_path: Path) -> None:
    """The stricter reading is a setting, off by default."""
    change = LAB.with_section("earlier_actors", "{unregistered: deny}")
    with World(tmp_path, change) as world:
        act = {"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}

        assert reason_of(world.ask(world.token(act=act))) == "actor_not_permitted"
        assert reason_of(world.ask(world.token())) == "allow"


AUDIENCE_ROWS: list[tuple[str, Any, str]] = [
    ("/other/x", OTHER, "allow"),
    ("/other/x", [AUDIENCE, OTHER], "allow"),
    ("/other/x", AUDIENCE, "token_audience"),
    ("/other/x", OTHER + "/", "token_audience"),
    ("/public/x", OTHER, "allow"),
    ("/finance/balance", OTHER, "token_audience"),
]


@pytest.mark.parametrize(("path", "audience", "reason"), AUDIENCE_ROWS)
def test_audience_of_a_route(routed: World, path: str, audience: Any, reason: str) -> None:
    """A token for one resource is no good at another of the same issuer (RFC 9068 section 5)."""
    assert reason_of(routed.ask(routed.token(aud=audience), path=path)) == reason


def at(seconds: float) -> int:
    """A time from now."""
    return int(time.time() + seconds)


STEP_UP: list[tuple[str, dict[str, Any], str]] = [
    ("/strong/x", {"acr": "mfa", "auth_time": -10}, "allow"),
    ("/strong/x", {"acr": "hwk", "auth_time": -10}, "allow"),
    ("/strong/x", {"acr": "pwd", "auth_time": -10}, "step_up"),
    ("/strong/x", {"acr": ["mfa"], "auth_time": -10}, "step_up"),
    ("/strong/x", {"auth_time": -10}, "step_up"),
    ("/strong/x", {"acr": "mfa"}, "step_up"),
    ("/strong/x", {"acr": "mfa", "auth_time": -301}, "step_up"),
    ("/fresh/x", {"auth_time": -10}, "allow"),
    ("/fresh/x", {"auth_time": True}, "step_up"),
    ("/fresh/x", {"auth_time": "now"}, "step_up"),
]


@pytest.mark.parametrize(("path", "changes", "reason"), STEP_UP)
def test_step_up(routed: World, path: str, changes: dict[str, Any], reason: str) -> None:
    """A route may ask how and when the principal authenticated (RFC 9470)."""
    given = {
        name: at(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in changes.items()
    }
    answer = routed.ask(routed.token(**given), path=path)

    assert reason_of(answer) == reason
    if reason == "step_up":
        assert answer.denied_response.status.code == 401
        challenge = header_of(answer, "www-authenticate") or ""
        assert challenge.startswith('Bearer error="insufficient_user_authentication"')
        assert ('acr_values="mfa hwk"' in challenge) == (path == "/strong/x")
        assert 'max_age="300"' in challenge


def test_an_allow_ends_when_the_authentication_is_too_old(routed: World) -> None:
    """An allow is good no longer than auth_time and max_age say, cached or not."""
    for seconds in LIFETIMES_SECONDS:
        auth_time = at(seconds - 300)
        token = routed.token(auth_time=auth_time)
        answer = routed.ask(token, path="/fresh/cached")
        if reason_of(answer) == "allow":
            break
    assert float(str(answer.dynamic_metadata["valid_until"])) == auth_time + 300
    wait_until(lambda: time.time() > auth_time + 300)
    assert reason_of(routed.ask(token, path="/fresh/cached")) == "step_up"


def test_a_route_can_ask_for_proof_of_possession(routed: World) -> None:
    """Where a proof is required, a bearer token is not enough; one bound to the SVID is."""
    unbound = routed.ask(routed.token(), path="/bound/x")
    thumbprint = routed.service.snapshot.authorizer.identity.identify(
        read_check(routed.service.snapshot.inputs, check_request(routed.svid, [])).request,
        time.time(),
    ).thumbprint
    bound = routed.ask(routed.token(cnf={"x5t#S256": thumbprint}), path="/bound/x")

    assert reason_of(unbound) == "pop_missing"
    assert reason_of(bound) == "allow"


def rpc_request(world: World, body: bytes, **changes: str | None) -> pb.CheckRequest:
    """A JSON-RPC request without a token; header changes, None leaves one out."""
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-envoy-auth-partial-body": "false",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    sent = [(name, value) for name, value in headers.items() if value is not None]
    request = check_request(world.svid, sent, method="POST", path="/boot/mcp", raw_headers=True)
    request.attributes.request.http.raw_body = body
    return request


LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}'
BODIES: list[tuple[bytes, dict[str, str | None], str]] = [
    (LIST, {}, "allow"),
    (LIST.replace(b"tools/list", b"initialize"), {}, "allow"),
    (LIST, {"content_type": "application/json; charset=utf-8"}, "allow"),
    (LIST, {"mcp_method": "tools/list"}, "allow"),
    (LIST, {"mcp_method": "tools/call"}, "token_missing"),
    (CALL, {}, "token_missing"),
    (b"", {}, "token_missing"),
    (LIST + CALL, {}, "token_missing"),
    (b"[" + LIST + b"]", {}, "allow"),
    (b"[" + LIST + b"," + CALL + b"]", {}, "token_missing"),
    (b"[" + LIST + b"]", {"mcp_protocol_version": "2025-06-18"}, "token_missing"),
    (LIST.replace(b"}", b',"method":"tools/call"}'), {}, "token_missing"),
    (LIST.replace(b"2.0", b"1.0"), {}, "token_missing"),
    (LIST.replace(b'"tools/list"', b'["tools/list"]'), {}, "token_missing"),
    (LIST, {"content_length": None}, "token_missing"),
    (LIST, {"content_length": "1000"}, "token_missing"),
    (LIST, {"x_envoy_auth_partial_body": "true"}, "token_missing"),
    (LIST, {"content_encoding": "gzip"}, "token_missing"),
    (LIST, {"content_type": "text/plain"}, "token_missing"),
    (LIST + b" " * 300_000, {}, "token_missing"),
    (b"\xff" + LIST, {}, "token_missing"),
    (LIST, {"authorization": "Basic eA=="}, "token_missing"),
    (LIST, {"authorization": "Bearer x"}, "token_malformed"),
    (LIST, {"cookie": "a=1; Authorization=x"}, "token_missing"),
    (LIST, {"dpop": "x"}, "token_missing"),
]


@pytest.mark.parametrize(("body", "changes", "reason"), BODIES)
def test_bootstrap(routed: World, body: bytes, changes: dict[str, str | None], reason: str) -> None:
    """Without a token an agent may call the named methods, and nothing that is in any doubt."""
    assert reason_of(routed.check(rpc_request(routed, body, **changes))) == reason


def test_bootstrap_is_for_nobody(routed: World) -> None:
    """The upstream is told of no principal, and audit that there was none."""
    answer = routed.check(rpc_request(routed, LIST))
    removed = set(answer.ok_response.headers_to_remove)

    assert header_of(answer, "x-agent-id") == TRAVEL
    assert {"x-agent-principal", "x-agent-issuer", "x-agent-scope"} <= removed
    record = routed.audit_records()[-1]
    assert (record["mode"], record["principal"], record["rule"]) == ("bootstrap", "", "public/0")


def test_bootstrap_needs_an_agent_and_a_rule_without_scopes(routed: World) -> None:
    """No token is no way around the agent's own identity, rules, or scopes."""
    nobody = rpc_request(routed, LIST)
    nobody.attributes.source.principal = ""
    elsewhere = rpc_request(routed, LIST)
    elsewhere.attributes.request.http.path = "/elsewhere"
    scoped = rpc_request(routed, LIST)
    scoped.attributes.source.principal = PAYMENTS
    scoped.attributes.source.certificate = routed.authority.issue(PAYMENTS).url_encoded

    assert reason_of(routed.check(nobody)) == "agent_missing"
    assert reason_of(routed.check(elsewhere)) == "token_missing"
    assert reason_of(routed.check(scoped)) == "token_missing"


def test_the_body_is_read_as_text_too(routed: World) -> None:
    """Without pack_as_bytes Envoy sends the body as a string."""
    request = rpc_request(routed, LIST)
    request.attributes.request.http.ClearField("raw_body")
    request.attributes.request.http.body = LIST.decode()
    request.attributes.request.http.size = len(LIST)

    assert reason_of(routed.check(request)) == "allow"


CONTEXT: list[tuple[Mapping[str, str], str]] = [
    ({"authz_route": "own"}, "actor_not_permitted"),
    ({"authz_route": "nowhere"}, "policy_denied"),
    ({}, "allow"),
]


@pytest.mark.parametrize(("context", "reason"), CONTEXT)
def test_the_proxy_names_the_route(routed: World, context: Mapping[str, str], reason: str) -> None:
    """The proxy's own word about the route goes before hosts and paths; an unknown one refuses."""
    assert reason_of(routed.ask(routed.token(), path="/public/x", context=context)) == reason


def test_challenges_point_to_the_resource_metadata(routed: World) -> None:
    """Every challenge on a route with a resource names its metadata (RFC 9728 section 5.1)."""
    url = "https://mcp.corp.example/.well-known/oauth-protected-resource/finance"
    rows = {
        None: f'Bearer resource_metadata="{url}"',
        "x": f'Bearer error="invalid_token", resource_metadata="{url}"',
        routed.token(scope="x"): 'Bearer error="insufficient_scope", scope="balance:read", '
        f'resource_metadata="{url}"',
    }
    for token, challenge in rows.items():
        assert header_of(routed.ask(token), "www-authenticate") == challenge


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
        (
            "https://a.example:8443/b/c",
            "https://a.example:8443/.well-known/oauth-protected-resource/b/c",
        ),
        ("https://a.example/b/", "https://a.example/.well-known/oauth-protected-resource/b/"),
    ],
)
def test_metadata_url(resource: str, url: str) -> None:
    """The well-known part goes between host and path (RFC 9728 section 3.1)."""
    assert metadata_url(resource) == url


def test_metadata_of_a_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scopes are those of all rules whose hosts have any in common with the route's."""
    rows = {"**.corp.example": True, "*.example.corp": False}
    found = {}
    for number, host in enumerate(rows):
        folder = tmp_path / str(number)
        folder.mkdir()
        with World(folder, CHANGES.with_((*AT_READ_RULE, "hosts"), [host])) as world:
            config = folder / "authz.yaml"
            config.write_text(world.config_text)
        assert cli.main(["metadata", str(config), "other"]) == 0
        found[host] = "balance:read" in json.loads(capsys.readouterr().out)["scopes_supported"]
    assert found == rows


def test_metadata_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`authz metadata` prints the document of a route, and says which routes have one."""
    with World(tmp_path, CHANGES) as world:
        config = tmp_path / "authz.yaml"
        config.write_text(world.config_text)
    assert cli.main(["metadata", str(config), "finance"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["balance:read", "payments:write"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256", "PS256", "Ed25519"],
        "tls_client_certificate_bound_access_tokens": True,
    }
    assert cli.main(["metadata", str(config), "own"]) == 2
    assert "routes with one: other, finance" in capsys.readouterr().err


BAD_ROUTES = [
    ("{name: a, resource: 'ftp://x'}", "a resource must be an https URL"),
    ("{name: a, resource: 'https://x/?q'}", "a resource must be an https URL"),
    ("{name: a, resource: 'https://u@x/'}", "no user in front"),
    ("{name: a, resource: 'https://unknown.example/'}", "no issuer lists it in audiences"),
    ("{name: a, audiences: [nobody]}", "no issuer lists it in audiences"),
    ("{name: a, modes: []}", "must not be empty"),
    ("{name: a, modes: [impersonation]}", "must be 'delegated' or 'autonomous'"),
    ("{name: a, paths: [x]}", "a path pattern must start with '/'"),
    ("{name: a}\n  - {name: a}", "a is already defined on line 9"),
    ("{name: 'a b'}", "is invalid: it must be"),
    ("{name: a, max_age: 0s}", "must be at least 1s"),
    ("{name: a, acr_values: ['a b']}", "is invalid: it must be"),
]


@pytest.mark.parametrize(("route", "message"), BAD_ROUTES)
def test_config_errors(shared_world: World, route: str, message: str) -> None:
    """A route that can't be meant is an error with its line, and what would be right."""
    text = shared_world.config_text.replace("routes:\n", f"routes:\n  - {route}\n")
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "f.yaml")

    assert message in str(caught.value)
    assert all(line.startswith(("f.yaml:9:", "f.yaml:10:")) for line in caught.value.lines())


def test_origins_in_one_spelling() -> None:
    """An origin has no default port and no capitals; other ports and IPv6 stay."""
    assert url_origin("HTTPS://A.Example:443/x") == "https://a.example"
    assert url_origin("http://a.example:8080") == "http://a.example:8080"
    assert url_origin("https://[::1]:8443/") == "https://[::1]:8443"
    for wrong in ("https://", "https://a:b@c/", "https://a:99999/"):
        with pytest.raises(ValueError, match=r"host|[Pp]ort"):
            url_origin(wrong)
    assert RouteSettings(name="a").modes == ("delegated",)
