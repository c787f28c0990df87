"""Makes the shipped bootstraps of an Envoy that asks agent-authz over the network, by mutual TLS.

They are the template with other parts, so that the hardening is the same in all of them: the
certificates from files, or from a SPIRE agent by SDS.
"""

from typing import Final

from authz.starter.template import FILE, cut, replace_all, shipped_bootstrap

TLS_FILE: Final = "envoy-tls.yaml"
SPIRE_FILE: Final = "envoy-spire.yaml"
_DOMAIN: Final = "corp.example"
GATEWAY_ID: Final = f"spiffe://{_DOMAIN}/ns/gateways/sa/edge"
AGENT_SOCKET: Final = "/run/spire/agent.sock"


def server_id(trust_domain: str) -> str:
    """Return the SPIFFE ID of agent-authz, as ``deploy`` runs it."""
    return f"spiffe://{trust_domain}/ns/agent-authz/sa/agent-authz"


SERVER_ID: Final = server_id(_DOMAIN)

_TLS_HEAD: Final = """\
# A hardened Envoy that asks agent-authz over the network, by mutual TLS: envoy.yaml with another
# cluster `authz`. `make test` runs this very file, with other addresses.
#
# Change what envoy.yaml says, and in the cluster `authz`: the address and the SPIFFE ID of
# agent-authz. Envoy reads the files when it starts: restart it when they are renewed.
"""
_SPIRE_HEAD: Final = """\
# A hardened Envoy with certificates from the SPIRE agent, by SDS: envoy.yaml with its own SVID, the
# trust bundles and mutual TLS to agent-authz. `make test-mesh` runs this very file, with other
# addresses.
#
# Change what envoy.yaml says, without the certificate files; the SPIFFE IDs of this Envoy (twice)
# and of agent-authz, its address, and the agent's socket (docs/howto/run-with-spire.md).
node: {id: edge, cluster: edge} # SDS asks for both; SPIRE reads neither

"""
_STATIC: Final = """\
    - name: authz
      type: STATIC
"""
_BY_NAME: Final = """\
    - name: authz
      # Each address of the name is a server of its own: use a headless Service, so that health
      # checks and retries tell them apart.
      type: STRICT_DNS
"""
_ENDPOINT: Final = """\
              - endpoint: {address: {pipe: {path: /run/authz/authz.sock}}}
              # A second server makes restarts unnoticeable: another endpoint, another socket.
"""
_ADDRESS: Final = """\
              - endpoint:
                  address:
                    socket_address:
                      address: agent-authz-pods.agent-authz.svc.cluster.local
                      port_value: 9191
"""
_ASSIGNMENT: Final = """\
      load_assignment:
        cluster_name: authz
"""
_UPSTREAM_TLS: Final = """\
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          common_tls_context:
            # Requests say h2 without this line, but health checks don't: all of them would fail.
            alpn_protocols: [h2]
"""
_UPSTREAM_FILES: Final = f"""\
            tls_certificates: # an SVID that server.tls.allowed_callers accepts
              - certificate_chain: {{filename: /etc/envoy/tls/server.pem}}
                private_key: {{filename: /etc/envoy/tls/server.key}}
            validation_context:
              trusted_ca: {{filename: /etc/envoy/tls/{_DOMAIN}.pem}}
              # No other server of the trust domain can take its place.
              match_typed_subject_alt_names:
                - {{san_type: URI, matcher: {{exact: "{SERVER_ID}"}}}}
"""
_UPSTREAM_SDS: Final = f"""\
            tls_certificate_sds_secret_configs:
              - {{name: "{GATEWAY_ID}", sds_config: *spire}}
            combined_validation_context:
              validation_context_sds_secret_config:
                {{name: "spiffe://{_DOMAIN}", sds_config: *spire}}
              default_validation_context:
                # No other server of the trust domain can take its place.
                match_typed_subject_alt_names:
                  - {{san_type: URI, matcher: {{exact: "{SERVER_ID}"}}}}
"""
_DOWNSTREAM_SDS: Final = f"""\
                tls_certificate_sds_secret_configs:
                  - name: "{GATEWAY_ID}"
                    sds_config: &spire
                      resource_api_version: V3
                      api_config_source:
                        api_type: GRPC
                        transport_api_version: V3
                        grpc_services: [{{envoy_grpc: {{cluster_name: spire_agent}}}}]
                # One bundle for each trust domain, never merged: ours, and those that the entry of
                # this Envoy federates with.
                validation_context_sds_secret_config: {{name: ALL, sds_config: *spire}}
"""
_AGENT: Final = f"""\
    - name: spire_agent
      type: STATIC
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{http2_protocol_options: {{}}}}
      load_assignment:
        cluster_name: spire_agent
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{pipe: {{path: {AGENT_SOCKET}}}}}}}
"""


def bootstrap_over_tls() -> str:
    """Return the bootstrap that asks over mutual TLS, with certificates from files."""
    return _TLS_HEAD + _over_network(_UPSTREAM_FILES)


def bootstrap_with_spire() -> str:
    """Return the bootstrap that has all its certificates from a SPIRE agent, by SDS."""
    text = _over_network(_UPSTREAM_SDS)
    first, after = "                tls_certificates:\n", "          filters:\n"
    begin = text.index(first)
    text = cut(text, first, after)
    return _SPIRE_HEAD + text[:begin] + _DOWNSTREAM_SDS + text[begin:] + _AGENT


def with_tls_to_server(bootstrap: str, trust_domain: str) -> str:
    """Return the template's text with mutual TLS to agent-authz, with certificates from files."""
    tls = (_UPSTREAM_TLS + _UPSTREAM_FILES).replace(_DOMAIN, trust_domain)
    return replace_all(bootstrap, {_ASSIGNMENT: tls + _ASSIGNMENT})


def shipped_bootstraps() -> dict[str, str]:
    """Return each bootstrap of the folder ``envoy``, by the name of its file."""
    return {
        FILE: shipped_bootstrap(),
        TLS_FILE: bootstrap_over_tls(),
        SPIRE_FILE: bootstrap_with_spire(),
    }


def _over_network(certificates: str) -> str:
    """Return the template without its head, the cluster with TLS, and with these certificates."""
    return replace_all(
        cut(shipped_bootstrap(), "# A hardened Envoy", "admin:"),
        {
            _STATIC: _BY_NAME,
            _ENDPOINT: _ADDRESS,
            _ASSIGNMENT: _UPSTREAM_TLS + certificates + _ASSIGNMENT,
        },
    )
