"""The config of Envoy: the shipped bootstrap, with this config's names, addresses and routes."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from string import Template
from typing import Final

from authz.adapters.assertions import assertion_header
from authz.config import Config
from authz.core.identity.settings import Source
from authz.core.patterns import ANY
from authz.core.route_settings import RouteProtocol, RouteSettings
from authz.review.gateways.facts import (
    MAX_BODY_BYTES,
    Address,
    HostPort,
    addresses,
    context_extensions,
    profile_with,
)
from authz.starter.config_text import yaml_text
from authz.starter.envoy_tls import with_tls_to_server
from authz.starter.template import cut, replace_all, shipped_bootstrap

_WORDS: Final = re.compile(r"[^a-z0-9]+")
_NUMERIC: Final = re.compile(r"|[0-9.]+|\[.+\]")  # "" is a unix socket's
_STATIC: Final = "    - name: authz\n      type: STATIC\n"
_PATTERN: Final = re.compile(r"[*{]")
_HEAD: Final = """\
# Made by `authz gateway envoy` from agent-authz's config: make it again when that changes.
"""
_CHANGE: Final = ("the trust domain, the upstreams; and the\n", "the upstreams; and the\n")
_SPELLINGS: Final = 'regex: "x[^a-z0-9]+agent[^a-z0-9].*"'
_ALLOWED: Final = 'regex: "x[^a-z0-9]agent[^a-z0-9].*|authorization|dpop"'
_ENDPOINT: Final = "              - endpoint: {address: {pipe: {path: /run/authz/authz.sock}}}\n"
_BUNDLE: Final = """\
                        - name: corp.example
                          trust_bundle: {filename: /etc/envoy/tls/corp.example.pem}
"""
_PER_ROUTE: Final = Template("""\
typed_per_filter_config:
  envoy.filters.http.ext_authz:
    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
    check_settings:
$settings""")
_NO_BODY: Final = """\
      disable_request_body_buffering: true # no body, but where a route says so
"""
_BODY: Final = f"""\
      with_request_body:
        max_request_bytes: {MAX_BODY_BYTES}
        allow_partial_message: false # what is not seen is not decided on
"""
_MESSAGES: Final = Template("""\
# $name: its messages are what is decided on, so they go along.
- match: {$match}
  route:
    cluster: $cluster
    # Answers may be streams that stay open, for longer than a route's 15 s,
    # which this replaces. Each was allowed once, when it began: this bounds
    # how long it outlives that.
    max_stream_duration: {max_stream_duration: 1800s}
""")


def envoy_text(config: Config, server: HostPort | None = None) -> str:
    """Return Envoy's bootstrap as YAML. Raises GatewayError.

    ``server`` is where Envoy reaches us, if not at an address of ``server.listen``.
    """
    profile, _ = profile_with(config, [Source.PRINCIPAL, Source.CERTIFICATE])
    text = _HEAD + replace_all(shipped_bootstrap(), dict([_CHANGE]))
    text = _with_routes(text, config, profile)
    text = replace_all(text, _names(config))
    return _with_addresses(text, config, addresses(config, profile, server))


def _with_routes(text: str, config: Config, profile: str) -> str:
    """Return the text with the profile for all routes, and a route for each that has messages."""
    text = cut(text, "typed_per_filter_config:", "routes:")
    before, after = text.split("                        # An MCP server:", 1)
    after = after[after.index("                        - match: {prefix: /}\n") :]
    routes = " " * 22 + "routes:\n"
    before = before.replace(routes, _per_route(profile, " " * 22) + routes)
    text = before + "".join(_routes(config, profile)) + after
    if any(route.protocol is RouteProtocol.MCP for route in config.routes):
        return text
    return cut(text, "- name: mcp\n")


def _names(config: Config) -> dict[str, str]:
    """Return what stands for the config's trust domains and headers, by the text for ours."""
    words = [word for word in _WORDS.split(config.headers.prefix) if word]
    prefix = config.headers.prefix
    assertion = assertion_header(config.assertions, prefix)
    own = [] if not assertion or assertion.startswith(prefix) else [assertion]
    allowed = "|".join(map(_alike, (f"{prefix}*", *config.headers.remove, *own)))
    return {
        _SPELLINGS: f'regex: "{"[^a-z0-9]+".join(words)}[^a-z0-9].*"',
        _ALLOWED: f'regex: "{allowed}|{_alike(config.token.header)}|dpop"',
        _BUNDLE: "".join(map(_bundle, config.trust_domains)),
    }


def _with_addresses(text: str, config: Config, listed: Sequence[Address]) -> str:
    """Return the text with the addresses of agent-authz, and with mutual TLS if it wants that."""
    text = replace_all(text, {_ENDPOINT: "".join(map(_endpoint, listed))})
    if not all(_NUMERIC.fullmatch(address.host) for address in listed):
        text = replace_all(text, {_STATIC: _STATIC.replace("STATIC", "STRICT_DNS")})
    if any(address.has_tls for address in listed):
        text = with_tls_to_server(text, config.trust_domains[0])
    return text


def _alike(listed: str) -> str:
    """Return a regex for a name, or a prefix with "*" at its end, however its words are joined."""
    return re.sub(r"[^a-z0-9*]", "[^a-z0-9]", listed).replace("*", ".*")


def _routes(config: Config, profile: str) -> Iterator[str]:
    """Yield Envoy's routes to what has messages, which Envoy has to send: the narrowest first."""
    matches = [
        (path, route)
        for route in config.routes
        if route.protocol is not RouteProtocol.HTTP
        for path in dict.fromkeys(route.paths)
    ]
    for path, route in sorted(matches, key=lambda match: _breadth(*match)):
        head = _MESSAGES.substitute(
            name=route.name,
            match=_match(path, route.hosts),
            cluster="mcp" if route.protocol is RouteProtocol.MCP else "upstream",
        )
        yield textwrap.indent(head, " " * 24) + _per_route(profile, " " * 26, body=True)


def _breadth(path: str, route: RouteSettings) -> tuple[bool, int, bool]:
    prefix = _prefix(path)
    return prefix != path, -len(prefix), ANY in route.hosts


def _prefix(path: str) -> str:
    return _PATTERN.split(path, maxsplit=1)[0]


def _match(path: str, hosts: Sequence[str]) -> str:
    """Return the match of a path, or of all below what stands before its first pattern."""
    prefix = _prefix(path)
    if path == f"{prefix}**" and prefix != "/":  # /trips/** is /trips too
        at = f"path_separated_prefix: {yaml_text(prefix.removesuffix('/'))}"
    else:
        at = f"{'path' if prefix == path else 'prefix'}: {yaml_text(prefix)}"
    if ANY in hosts:
        return at
    regex = f"(?i)({'|'.join(map(_host_regex, hosts))})(:[0-9]+)?"
    by_host = f'{{name: ":authority", string_match: {{safe_regex: {{regex: "{regex}"}}}}}}'
    return f"{at}, headers: [{by_host}]"


def _host_regex(host: str) -> str:
    dots = re.sub(r"([][])", r"\\\\\1", host).replace(".", "[.]")  # as quoted YAML has it
    return dots.replace("**", ".+").replace("*", "[^.]+")


def _per_route(profile: str, indent: str, *, body: bool = False) -> str:
    context = context_extensions(profile, has_body=body)
    extensions = f"      context_extensions: {context}\n" if context else ""
    settings = extensions + (_BODY if body else _NO_BODY)
    return textwrap.indent(_PER_ROUTE.substitute(settings=settings), indent)


def _endpoint(address: Address) -> str:
    if address.path:
        where = f"{{pipe: {{path: {yaml_text(address.path)}}}}}"
    else:
        host = yaml_text(address.host.strip("[]"))
        at = f"address: {host}, port_value: {address.port}"
        where = f"{{socket_address: {{{at}}}}}"
    return f"              - endpoint: {{address: {where}}}\n"


def _bundle(domain: str) -> str:
    names = {
        "name: corp.example": f"name: {yaml_text(domain)}",
        "tls/corp.example": f"tls/{domain}",
    }
    return replace_all(_BUNDLE, names)
