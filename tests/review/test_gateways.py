"""The configs of proxies that ask this server: made from our config, with nothing left open."""

import json
import re
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz import cli
from authz.config import Config, load_text
from authz.edge.agentgateway.reader import BEFORE, REQUEST
from authz.edge.header_settings import owned_headers
from authz.review.gateways.agentgateway import agentgateway_text, warnings
from authz.review.gateways.envoy import envoy_text
from authz.review.gateways.errors import GatewayError
from authz.starter.template import shipped_bootstrap
from lab.ca import Authority
from lab.envoy import envoy_binary

ROOT = Path(__file__).parents[2]
EDGE = "spiffe://corp.example/ns/gateways/sa/edge"
CONFIG = """\
server: {listen: "127.0.0.1:9191"}
trust_domains: [corp.example]
profiles: {default: {identity: metadata}}
routes:
  - {name: tools, hosts: [github, jira], protocol: mcp}
  - {name: more, hosts: [wiki, "*.corp.example"], paths: [/wiki], protocol: mcp}
issuers:
  - issuer: https://as.corp.example
    keys: {jwks_uri: https://as.corp.example/jwks}
    audiences: [https://mcp.corp.example/finance]
agents: [{id: "spiffe://corp.example/ns/agents/sa/travel", grants: [read]}]
principals: [{match: {issuer: https://as.corp.example}, grants: [read]}]
grants:
  read: [{hosts: [github], methods: [POST], paths: [/mcp], scopes: [], mcp: {tools: [search]}}]
"""
TLS = (
    "{listen: ['unix:/run/a.sock', '0.0.0.0:9191'], tls: {certificate: a, private_key: b, "
    f"client_ca: c, allowed_callers: ['{EDGE}']}}}}"
)


def config(**sections: str) -> Config:
    """The config with other sections, each written in YAML."""
    data = yaml.safe_load(CONFIG) | {key: yaml.safe_load(text) for key, text in sections.items()}
    return load_text(yaml.safe_dump(data).encode(), "config.yaml")


def gateway(**sections: str) -> Any:
    """The gateway's config, read."""
    return yaml.safe_load(agentgateway_text(config(**sections)))


def routes(document: Any) -> dict[str, Any]:
    """Its routes by name."""
    (bind,) = document["binds"]
    (listener,) = bind["listeners"]
    assert listener["protocol"] == "HTTPS"
    assert set(listener["tls"]) == {"cert", "key", "root"}
    return {route["name"]: route for route in listener["routes"]}


def guardrails(route: Any) -> Any:
    """The only processor of a route to MCP servers."""
    (backend,) = route["backends"]
    (processor,) = backend["policies"]["mcpGuardrails"]["processors"]
    return processor


def spelt(*names: str) -> set[str]:
    """Each name with "_" for any "-"."""
    return {
        "".join(parts)
        for name in names
        for parts in product(*(("-", "_") if one == "-" else one for one in name))
    }


def test_the_shipped_gateway() -> None:
    """It takes away all our names and the token, asks about everything, and fails closed."""
    text = (ROOT / "deploy" / "agentgateway" / "agentgateway.yaml").read_text()
    found = routes(yaml.safe_load(text))
    (backend,) = found["mcp"]["backends"]
    processor = guardrails(found["mcp"])
    ext_authz = found["http"]["policies"]["extAuthz"]

    removed = found["mcp"]["policies"]["requestHeaderModifier"]["remove"]
    assert sorted(removed) == sorted(spelt(*owned_headers("x-agent-")))
    assert backend["policies"]["requestHeaderModifier"]["remove"] == ["authorization", "dpop"]
    assert [one["name"] for one in backend["mcp"]["targets"]] == ["github", "jira"]
    assert "prefixMode" not in backend["mcp"]
    assert processor["methods"] == {"*": "request", "*/list": "full"}
    assert processor["failureMode"] == "failClosed"
    assert processor["policies"] == {"http": {"requestTimeout": "1s"}}
    assert '"strips_token": true' in processor["metadata"][REQUEST]
    assert set(processor["metadata"]) == {"agentgateway.source", REQUEST, BEFORE}
    assert ext_authz["failureMode"] == {"denyWithStatus": 503}
    assert ext_authz["policies"] == {"http": {"requestTimeout": "1s"}}
    limit = ext_authz["includeRequestBody"].pop("maxRequestBytes")
    assert ext_authz["protocol"]["grpc"]["context"] == {"authz_max_request_bytes": str(limit)}
    assert ext_authz["includeRequestBody"] == {"allowPartialMessage": False, "packAsBytes": True}
    assert processor["host"] == ext_authz["host"] == "127.0.0.1:9191"


def test_it_goes_by_our_config() -> None:
    """Prefix, headers of rules, token's header, namespace and address are those of our config."""
    rule = "{hosts: [github], methods: [POST], paths: [/mcp], scopes: [], mcp: {}"
    found = routes(
        gateway(
            server="{listen: 'unix:/run/authz/authz-{worker}.sock', workers: 2}",
            headers="{prefix: acme-}",
            token="{header: x-token, scheme: ''}",
            profiles="{default: {identity: metadata, namespace: who}}",
            grants="{read: [" + rule + ", add_headers: {acme-team-name: team}}]}",
        )
    )
    (backend,) = found["mcp"]["backends"]

    removed = found["mcp"]["policies"]["requestHeaderModifier"]["remove"]
    assert set(removed) == spelt(*owned_headers("acme-"), "acme-team-name")
    assert backend["policies"]["requestHeaderModifier"]["remove"] == ["x-token", "dpop"]
    assert set(guardrails(found["mcp"])["metadata"]) == {"who", REQUEST, BEFORE}
    assert guardrails(found["mcp"])["host"] == "unix:/run/authz/authz-0.sock"
    grpc = found["http"]["policies"]["extAuthz"]["protocol"]["grpc"]
    assert set(grpc["metadata"]) == {"who"}


def test_targets_by_path() -> None:
    """Servers of routes with the same path are behind one route of the gateway."""
    found = routes(gateway())
    names = {
        route["matches"][0]["path"].get("exact"): [
            target["name"] for target in route["backends"][0]["mcp"]["targets"]
        ]
        for name, route in found.items()
        if name.startswith("mcp")
    }

    assert names == {"/mcp": ["github", "jira"], "/wiki": ["wiki"]}
    assert set(found) == {"mcp", "mcp-2", "http"}
    assert "includeRequestBody" not in found["http"]["policies"]["extAuthz"]


def test_where_the_server_is() -> None:
    """A Service is where the proxy asks, in place of the address on which the server listens."""
    changed = config(server=TLS, profiles="{default: {identity: metadata}, edge: {}}")
    service = ("agent-authz.agent-authz.svc", 9191)
    found = routes(yaml.safe_load(agentgateway_text(changed, service)))
    clusters = yaml.safe_load(envoy_text(changed, service))["static_resources"]["clusters"]

    assert guardrails(found["mcp"])["host"] == "agent-authz.agent-authz.svc:9191"
    assert "backendTLS" in guardrails(found["mcp"])["policies"]
    assert (clusters[0]["name"], clusters[0]["type"]) == ("authz", "STRICT_DNS")
    (endpoint,) = clusters[0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"] == {
        "socket_address": {"address": "agent-authz.agent-authz.svc", "port_value": 9191}
    }


def test_without_targets() -> None:
    """An MCP route with patterns alone has its messages checked by ext_authz, and is named."""
    changed = config(routes="[{name: tools, hosts: ['*.corp.example'], protocol: mcp}]")
    found = routes(yaml.safe_load(agentgateway_text(changed)))

    assert set(found) == {"http"}
    assert "includeRequestBody" in found["http"]["policies"]["extAuthz"]
    assert [warning.split()[2] for warning in warnings(changed)] == ["tools"]


def test_ext_authz_in_front() -> None:
    """Where an MCP route's host is its resource's, ext_authz checks what guardrails check too."""
    front = (
        "[{name: front, hosts: [mcp.corp.example], paths: [/mcp], protocol: mcp, "
        "resource: https://mcp.corp.example/finance}, {name: t, hosts: [github], protocol: mcp}]"
    )
    changed = config(routes=front)
    mcp = routes(yaml.safe_load(agentgateway_text(changed)))["mcp"]
    (backend,) = mcp["backends"]

    assert [one["name"] for one in backend["mcp"]["targets"]] == ["github"]
    assert mcp["policies"]["extAuthz"]["includeRequestBody"]["maxRequestBytes"] == 65536
    assert mcp["policies"]["extAuthz"]["failureMode"] == {"denyWithStatus": 503}
    assert "requestHeaderModifier" in mcp["policies"]
    (warning,) = warnings(changed)
    assert "token.forward: true" in warning
    assert not list(warnings(config(routes=front, token="{forward: true}")))
    strips = front.replace("protocol: mcp,", "protocol: mcp, upstream_token: assert,", 1)
    assertions = "{issuer: 'https://a.example', keys: [{file: k}], insecure: true}"
    given = config(routes=strips, token="{forward: true}", assertions=assertions)
    assert "upstream_token: forward" in next(warnings(given))


def test_no_mcp_server_gets_the_token() -> None:
    """Also with token.forward, which ext_authz in front needs, the gateway takes it away."""
    assert gateway(token="{forward: true}") == gateway()


def test_no_mcp_server_gets_an_exchanged_token() -> None:
    """The gateway would take that away too: an operator is told, and guardrails refuse."""
    exchange = {"url": "https://as.corp.example/t", "client_id": "a", "client_secret_file": "s"}
    changed = config(
        routes="[{name: t, hosts: [github], protocol: mcp, upstream_token: exchange,"
        " exchange: {issuer: 'https://as.corp.example', audience: github}}]",
        issuers=json.dumps([{**yaml.safe_load(CONFIG)["issuers"][0], "exchange": exchange}]),
    )
    (warning,) = warnings(changed)
    assert "set upstream_token: assert" in warning


def test_over_tls() -> None:
    """A profile for certain callers is used over TLS, by the gateway's certificate."""
    found = routes(
        gateway(server=TLS, profiles=f"{{edge: {{identity: metadata, callers: ['{EDGE}']}}}}")
    )
    for policies, host in (
        (guardrails(found["mcp"])["policies"], guardrails(found["mcp"])["host"]),
        (found["http"]["policies"]["extAuthz"]["policies"], "127.0.0.1:9191"),
    ):
        assert set(policies["backendTLS"]) == {"cert", "key", "root", "subjectAltNames"}
        assert host == "127.0.0.1:9191"
    context = found["http"]["policies"]["extAuthz"]["protocol"]["grpc"]["context"]
    assert context == {"authz_profile": "edge"}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"profiles": "{default: {identity: principal}}"}, "none has identity: metadata"),
        ({"profiles": "{agw: {identity: metadata}}"}, "guardrails can't name profiles.agw"),
        (
            {"profiles": f"{{default: {{identity: metadata, callers: ['{EDGE}']}}}}"},
            "profiles.default.callers",
        ),
    ],
)
def test_a_profile_that_does_not_fit(sections: dict[str, str], words: str) -> None:
    """A config whose profile the gateway could not use is refused, with what would be right."""
    with pytest.raises(GatewayError, match=re.escape(words)):
        agentgateway_text(config(**sections))


def test_envoy_of_the_defaults() -> None:
    """For the defaults Envoy's config has the hardening and the names of the shipped one."""
    text = envoy_text(config(profiles="{}", routes="[]"))
    regexes = re.compile(r"regex: .*")

    assert regexes.findall(text) == regexes.findall(shipped_bootstrap())
    assert "port_value: 9191" in text
    assert "resource_metadata" not in text
    assert "name: mcp" not in text


def test_envoy_of_another_prefix() -> None:
    """Prefix, token's header, trust domains, profile and messages are those of our config."""
    text = envoy_text(
        config(
            headers="{prefix: x-acme-co-, remove: [x-user, x-auth-*]}",
            token="{header: x-token, scheme: ''}",
            trust_domains="[corp.example, partner.example]",
            profiles="{default: {identity: metadata}, edge: {identity: certificate}}",
            routes="""
[{name: any, protocol: mcp},
 {name: v, hosts: ["**.corp.example"], paths: ["/v/{id}"], protocol: a2a},
 {name: one, hosts: [a.example, "*"], paths: [/v/mcp], protocol: mcp}]""",
        )
    )
    document = yaml.safe_load(text)
    (listener,) = document["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    bodies = [
        next(iter(route["typed_per_filter_config"].values()))["check_settings"]
        for route in host["routes"][:-1]
    ]
    of_host = next(iter(host["typed_per_filter_config"].values()))["check_settings"]

    assert 'regex: "x[^a-z0-9]+acme[^a-z0-9]+co[^a-z0-9].*"' in text
    removed = "x[^a-z0-9]user|x[^a-z0-9]auth[^a-z0-9].*"
    assert f'regex: "x[^a-z0-9]acme[^a-z0-9]co[^a-z0-9].*|{removed}|x[^a-z0-9]token|dpop"' in text
    assert "partner.example" in text
    assert of_host == {
        "context_extensions": {"authz_profile": "edge"},
        "disable_request_body_buffering": True,
    }
    assert [one["match"].get("path", one["match"].get("prefix")) for one in host["routes"]] == [
        "/v/mcp",
        "/v/",
        "/",
        "/",
    ]
    (by_host,) = host["routes"][1]["match"]["headers"]
    regex = by_host["string_match"]["safe_regex"]["regex"]
    assert re.fullmatch(regex, "A.corp.example:443")
    assert not re.fullmatch(regex, "corp.example")
    for body in bodies:
        assert body["with_request_body"]["max_request_bytes"] == 65536
        assert body["context_extensions"] == {
            "authz_profile": "edge",
            "authz_max_request_bytes": "65536",
        }


@pytest.mark.parametrize(("name", "listed"), [("null", "on"), ("on", "null")])
def test_names_that_yaml_reads_otherwise(name: str, listed: str) -> None:
    """A name stays a text: a gateway would ask by the default profile, or leave a header."""
    edge = f"{{default: {{}}, '{name}': {{identity: metadata, callers: ['{EDGE}']}}}}"
    found = routes(
        gateway(
            server=TLS,
            profiles=edge,
            headers=f"{{remove: ['{listed}']}}",
            token=f"{{header: '{name}', scheme: ''}}",
        )
    )
    (backend,) = found["mcp"]["backends"]
    context = found["http"]["policies"]["extAuthz"]["protocol"]["grpc"]["context"]
    removed = found["mcp"]["policies"]["requestHeaderModifier"]["remove"]
    text = envoy_text(
        config(
            profiles="{}",
            trust_domains=f"['{name}']",
            agents=f"[{{id: 'spiffe://{name}/a', grants: [read]}}]",
        )
    )

    assert context["authz_profile"] == name
    assert listed in removed
    assert all(isinstance(one, str) for one in removed)
    assert backend["policies"]["requestHeaderModifier"]["remove"] == [name, "dpop"]
    assert {"name": name, "trust_bundle": {"filename": f"/etc/envoy/tls/{name}.pem"}} in bundles(
        text
    )


def matches(**route: Any) -> Any:
    """How Envoy finds a route to messages, and the rest."""
    listed = json.dumps([{"name": "m", "protocol": "mcp", **route}])
    document = yaml.safe_load(envoy_text(config(profiles="{}", routes=listed)))
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    return [one["match"] for one in host["routes"]]


def test_what_messages_of_a_route_envoy_sends() -> None:
    """The body goes along wherever our route matches: at the pattern's own folder, and by IPv6."""
    assert matches(paths=["/a/**", "/b/{x}/**", "/**"])[:-1] == [
        {"path_separated_prefix": "/a"},
        {"prefix": "/b/"},
        {"prefix": "/"},
    ]
    (by_host,) = matches(hosts=["[2001:db8::1]"], paths=["/a"])[0]["headers"]
    regex = by_host["string_match"]["safe_regex"]["regex"]
    assert re.fullmatch(regex, "[2001:db8::1]:8443")


def bundles(text: str) -> Any:
    """The trust domains whose agents Envoy's config lets in."""
    (listener,) = yaml.safe_load(text)["static_resources"]["listeners"]
    common = listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    validator = common["validation_context"]["custom_validator_config"]
    return validator["typed_config"]["trust_domains"]


@pytest.mark.e2e
@pytest.mark.parametrize("has_tls", [False, True])
def test_envoy_takes_it(tmp_path: Path, *, has_tls: bool) -> None:
    """A real Envoy takes the config, over a socket and over TLS."""
    authority = Authority(tmp_path)
    svid = authority.issue(EDGE, dns=("localhost",))
    changes = {"headers": "{prefix: acme-}", "profiles": "{}"} | (
        {"server": TLS, "profiles": f"{{default: {{callers: ['{EDGE}']}}}}"}
        if has_tls
        else {"routes": "[{name: m, hosts: ['[::1]'], paths: [/a/**], protocol: mcp}]"}
    )
    text = envoy_text(config(**changes))
    for name, path in (
        ("server.pem", svid.certificate_path),
        ("server.key", svid.key_path),
        ("corp.example.pem", authority.path),
    ):
        text = text.replace(f"/etc/envoy/tls/{name}", str(path))
    (tmp_path / "envoy.yaml").write_text(text)
    result = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert ("alpn_protocols: [h2]" in text) is has_tls


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints either, tells what can't be a target, and fails in words."""
    path = tmp_path / "authz.yaml"
    path.write_text(CONFIG.replace("[github, jira]", '["*"]'))

    assert cli.main(["gateway", "agentgateway", str(path)]) == 0
    said = capsys.readouterr()
    assert yaml.safe_load(said.out)["binds"]
    assert "the route tools has no host that can be the name" in said.err
    assert cli.main(["gateway", "envoy", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("authz: profiles: none has identity: principal or certificate")
    path.write_text(CONFIG.replace("identity: metadata", "identity: principal"))
    assert cli.main(["gateway", "envoy", str(path)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["static_resources"]
