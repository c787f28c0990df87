"""The config of agentgateway: its guardrails in front of MCP servers, ext_authz for the rest."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from string import Template
from typing import Final
from urllib.parse import urlsplit

from authz.config import Config
from authz.core.identity.settings import DEFAULT, Source
from authz.core.route_settings import RouteProtocol, RouteSettings
from authz.core.upstream_token import UpstreamToken
from authz.edge.agentgateway.reader import TARGET
from authz.review.gateways.errors import GatewayError
from authz.review.gateways.facts import (
    MAX_BODY_BYTES,
    Address,
    HostPort,
    addresses,
    context_extensions,
    credentials,
    exact_paths,
    names_to_remove,
    profile_with,
)
from authz.starter.config_text import yaml_text
from authz.starter.envoy_tls import server_id

_WIDTH: Final = 100  # of a line
_FIRST_SERVER_PORT: Final = 8081
_PATH: Final = "/mcp"  # for a route that has no path without a pattern
_HEAD: Final = Template("""\
# Made by `authz gateway agentgateway` from agent-authz's config: make it again when that changes.
#
# Change: the port, the certificate files, and the addresses of the MCP servers and the service.
config: {adminAddr: "off"}
binds:
  - port: 8443 # on all interfaces: agentgateway has no setting for its address
    listeners:
      - name: agents
        protocol: HTTPS
        # With root, agents must show an SVID. It has the CA of the agents, and no other.
        tls: {cert: gateway.pem, key: gateway.key, root: agents-ca.pem}
        routes:
""")
_MCP: Final = Template("""\
          - name: $name
            matches: [{path: {exact: $path}}]
            policies:
$front              # 1. Before the checks: the gateway passes on what it does not ask about, such as
              # notifications and streams, with the client's headers. No client may set these.
              requestHeaderModifier:
                remove:
$names
            backends:
              - mcp:
                  # Their names are the hosts in agent-authz's config.
                  targets:
$targets
                policies:
                  # 2. After the checks, on what goes to the servers: MCP forbids to pass the token on.
                  requestHeaderModifier:
                    remove: [$credentials]
                  # 3. No answer, no access.
                  mcpGuardrails:
                    processors:
                      - kind: remote
                        host: $address
                        failureMode: failClosed
                        policies:
                          http: {requestTimeout: 1s} # the default is 10 s
$tls                        methods:
                          "*": request # all that the gateway can ask about
                          "*/list": full # before a server sees it, and again to cut the result
                        metadata:
                          agentgateway.source: '{"spiffe_id": source.spiffeId, "certificate": source.certificate}'
                          agentgateway.request: '{"path": request.path, "headers": request.headers, "strips_token": true}'
                          agentgateway.before: '{"decision_id": mcpGuardrails.decision_id}'
""")  # noqa: E501 - CEL, which stands in one line
_HTTP: Final = Template("""\
          # All other requests: ext_authz, for each.
          - name: http
            matches: [{path: {pathPrefix: /}}]
            policies:
$ext_authz            backends: [{host: "127.0.0.1:8080"}]
""")
_IN_FRONT: Final = """\
              # In front, for clients that log in by OAuth: a refusal has a status and a challenge.
"""
_EXT_AUTHZ: Final = Template("""\
              extAuthz:
                host: $address
                policies:
                  http: {requestTimeout: 1s} # without it a check has no end
$tls                protocol:
                  grpc:
$context                    metadata:
                      agentgateway.source: '{"spiffe_id": source.spiffeId, "certificate": source.certificate}'
$body                failureMode: {denyWithStatus: 503} # no answer, no access
""")  # noqa: E501 - as above
_BODY: Final = f"""\
                # For messages. A larger body is answered with 413: give uploads a route of their
                # own, without this.
                includeRequestBody: {{maxRequestBytes: {MAX_BODY_BYTES}, allowPartialMessage: false, packAsBytes: true}}
"""  # noqa: E501 - a line of the config
_TLS: Final = Template("""\
# With an SVID that server.tls.allowed_callers and the profile's callers accept.
backendTLS:
  cert: gateway.pem
  key: gateway.key
  root: agents-ca.pem
  subjectAltNames: ["$server"]
""")


def agentgateway_text(config: Config, server: HostPort | None = None) -> str:
    """Return the gateway's config as YAML. Raises GatewayError.

    ``server`` is where the gateway reaches us, if not at an address of ``server.listen``.
    """
    name, profile = profile_with(config, [Source.METADATA])
    address = addresses(config, name, server)[0]
    targets = _by_path(config, _servers)
    if targets and name != DEFAULT and not profile.callers:
        raise GatewayError(
            f"MCP guardrails can't name profiles.{name}: make it the default profile, or list the "
            f"gateway's SPIFFE ID in profiles.{name}.callers"
        )
    fronts = _by_path(config, _fronts)
    front = _IN_FRONT + _ext_authz(config, address, name, has_messages=True)
    routes = [
        _mcp(config, address, (path, servers), number, front=front if path in fronts else "")
        for number, (path, servers) in enumerate(targets.items(), 1)
    ]
    text = "".join([_HEAD.substitute(), *routes, _http(config, address, name)])
    return text.replace("agentgateway.source:", f"{yaml_text(profile.namespace)}:")


def warnings(config: Config) -> Iterator[str]:
    """Yield what the gateway's config will not do, for the operator."""
    for route in filter(_is_mcp, config.routes):
        if not _servers(route) and not _fronts(route):
            yield (
                f"the route {route.name} has no host that can be the name of an MCP server behind "
                "agentgateway, such as github: its messages go through ext_authz"
            )
        if _servers(route) and route.upstream_token is UpstreamToken.EXCHANGE:
            yield (
                f"the route {route.name} exchanges tokens, but this gateway gives MCP servers no "
                "token, so that guardrails refuse its calls: set upstream_token: assert"
            )
    if not _by_path(config, _fronts).keys() & _by_path(config, _servers):
        return
    for route in filter(_is_mcp, config.routes):
        default = UpstreamToken.FORWARD if config.token.forward else UpstreamToken.STRIP
        if _fronts(route) and (route.upstream_token or default) is not UpstreamToken.FORWARD:
            yield (
                f"ext_authz in front, by the route {route.name}, takes the token away, so that "
                "guardrails refuse every call: set upstream_token: forward there, or "
                "token.forward: true (MCP servers do not get it then either)"
            )


def _is_mcp(route: RouteSettings) -> bool:
    return route.protocol is RouteProtocol.MCP


def _servers(route: RouteSettings) -> list[str]:
    """Return the hosts of a route that are MCP servers, by their names behind the gateway."""
    return [host for host in route.hosts if TARGET.fullmatch(host) and host not in _fronts(route)]


def _fronts(route: RouteSettings) -> list[str]:
    """Return the hosts of a route that are the gateway itself: its resource's, for clients."""
    own = urlsplit(route.resource or "").hostname
    return [host for host in route.hosts if host == own]


def _by_path(
    config: Config, hosts_of: Callable[[RouteSettings], list[str]]
) -> dict[str, dict[str, None]]:
    """Return hosts of MCP routes at each path at which clients reach them, in their order."""
    found: dict[str, dict[str, None]] = {}
    for route in filter(_is_mcp, config.routes):
        hosts = dict.fromkeys(hosts_of(route))
        for path in (list(exact_paths(route.paths)) or [_PATH]) if hosts else []:
            found.setdefault(path, {}).update(hosts)
    return found


def _mcp(
    config: Config, address: Address, route: tuple[str, Iterable[str]], number: int, *, front: str
) -> str:
    path, servers = route
    return _MCP.substitute(
        name="mcp" if number == 1 else f"mcp-{number}",
        path=yaml_text(path),
        front=front,
        names=_listed(names_to_remove(config), " " * 18),
        targets="\n".join(_target(name, port) for port, name in enumerate(servers)),
        credentials=", ".join(map(yaml_text, credentials(config))),
        address=yaml_text(address.text),
        tls=_tls(config, address, " " * 26),
    )


def _target(name: str, number: int) -> str:
    port = _FIRST_SERVER_PORT + number
    host = f'"http://127.0.0.1:{port}/mcp"'
    return f"{' ' * 20}- {{name: {yaml_text(name)}, mcp: {{host: {host}}}}}"


def _http(config: Config, address: Address, profile: str) -> str:
    has_messages = any(
        route.protocol is not RouteProtocol.HTTP and not (_is_mcp(route) and _servers(route))
        for route in config.routes
    )
    checks = _ext_authz(config, address, profile, has_messages=has_messages)
    return _HTTP.substitute(ext_authz=checks)


def _ext_authz(config: Config, address: Address, profile: str, *, has_messages: bool) -> str:
    context = context_extensions(profile, has_body=has_messages)
    return _EXT_AUTHZ.substitute(
        address=yaml_text(address.text),
        tls=_tls(config, address, " " * 18),
        context=f"{' ' * 20}context: {context}\n" if context else "",
        body=_BODY if has_messages else "",
    )


def _tls(config: Config, address: Address, indent: str) -> str:
    if not address.has_tls:
        return ""
    return textwrap.indent(_TLS.substitute(server=server_id(config.trust_domains[0])), indent)


def _listed(names: Sequence[str], indent: str) -> str:
    """Return a list in YAML's flow style, over several lines."""
    return textwrap.fill(
        f"[{', '.join(map(yaml_text, names))}]",
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent} ",
        break_long_words=False,
        break_on_hyphens=False,
    )
