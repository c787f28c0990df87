"""The Envoy bootstrap that ``authz init`` writes: the shipped one, with a route of its own."""

from typing import Final

from authz.starter.config_text import yaml_text
from authz.starter.settings import SERVER_ADDRESS, StarterSettings
from authz.starter.template import cut, replace_all, shipped_bootstrap

_HEAD: Final = """\
# Made by `authz init`, to try agent-authz: a hardened Envoy, with mutual TLS in and ext_authz on
# every request. It is envoy/envoy.yaml of the project, on loopback and with a single route.
"""
_SHARED_PORT: Final = """\
      address: {socket_address: {address: 0.0.0.0, port_value: 8443}}
"""
_OWN_PORT: Final = """\
      address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      # By default two Envoys share a port, and each gets some of the connections: one that was left
      # running, with the certificates of another folder, would not be noticed.
      enable_reuse_port: false
"""
_TO_UPSTREAM: Final = "                          route: {cluster: upstream}\n"
_ANSWER: Final = """\
                          # In place of an upstream: tells what an upstream would receive. To send
                          # requests to one of yours: authz init --upstream HOST:PORT.
                          direct_response:
                            status: 200
                            body_format:
                              text_format_source:
                                inline_string: |
                                  Allowed. The upstream would receive:
                                  x-agent-id: %REQ(x-agent-id)%
                                  x-agent-principal: %REQ(x-agent-principal)%
                                  x-agent-issuer: %REQ(x-agent-issuer)%
                                  x-agent-scope: %REQ(x-agent-scope)%
                                  x-agent-decision-id: %REQ(x-agent-decision-id)%
                                  x-agent-assertion: %REQ(x-agent-assertion)%
                                  authorization: %REQ(authorization)%
"""
_UPSTREAM: Final = """\
    - name: upstream
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED # many servers on localhost listen on 127.0.0.1 alone
      connect_timeout: 0.5s
      load_assignment:
        cluster_name: upstream
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: HOST, port_value: PORT}}}
"""


def bootstrap_text(settings: StarterSettings) -> str:
    """Return the bootstrap as YAML. Its relative paths start from Envoy's working directory."""
    text = _HEAD + cut(shipped_bootstrap(), "# A hardened Envoy", "static_resources:")
    text = cut(text, "typed_per_filter_config:", "routes:")
    text = cut(text, "# An MCP server:", "- match: {prefix: /}")
    text = cut(text, "- name: upstream\n")
    host, port = SERVER_ADDRESS
    text = replace_all(
        text,
        {
            _SHARED_PORT: _OWN_PORT.format(port=settings.port),
            "/etc/envoy/tls/server.pem": yaml_text(settings.path("envoy.pem")),
            "/etc/envoy/tls/server.key": yaml_text(settings.path("envoy.key")),
            "/etc/envoy/tls/corp.example.pem": yaml_text(settings.path("ca.pem")),
            "- name: corp.example": f"- name: {yaml_text(settings.trust_domain)}",
            "{pipe: {path: /run/authz/authz.sock}}": (
                f"{{socket_address: {{address: {host}, port_value: {port}}}}}"
            ),
        },
    )
    if settings.upstream is None:
        return replace_all(text, {_TO_UPSTREAM: _ANSWER})
    host, port = settings.upstream
    return text + replace_all(_UPSTREAM, {"HOST": yaml_text(host), "PORT": str(port)})
