"""What Envoy Gateway 1.9 makes of the manifests that we ship, for a real Envoy.

The shape is that of its translator's own expectations (``internal/xds/translator/testdata/out`` of
``github.com/envoyproxy/gateway`` v1.9.1): one disabled ext_authz filter for each SecurityPolicy,
switched on by the routes that it is for; a body as text; no rules for what an answer may change.
Every value comes from the manifests. Addresses and certificates are files and ports of a test.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from lab.ca import Svid
from lab.envoy import Envoy

OVERLAY: Final = Path(__file__).parents[2] / "deploy/kustomize/overlays/envoy-gateway"
_TYPE: Final = "type.googleapis.com/envoy.extensions"
_FILTER: Final = "envoy.filters.http.ext_authz"
_TLS: Final = "transport_sockets.tls.v3"
_HCM: Final = "filters.network.http_connection_manager.v3.HttpConnectionManager"
_SECONDS: Final = 60  # of a busy machine, in place of the manifests' timeout


class GatewayEnvoy(Envoy):
    """An Envoy whose cluster of agent-authz has the name that Envoy Gateway gives it."""

    def _authz_is_healthy(self) -> bool:
        return True


def manifests() -> list[dict[str, Any]]:
    """Return the overlay's objects."""
    found: list[dict[str, Any]] = []
    for path in sorted(OVERLAY.glob("*.yaml")):
        found += [one for one in yaml.safe_load_all(path.read_text()) if one]
    return found


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Return the overlay's objects of a kind."""
    return [one for one in manifests() if one["kind"] == kind]


def bootstrap_of(gateway: Svid, ca: Path, authz_port: int, upstream_port: int) -> str:
    """Return Envoy's config, as YAML."""
    clusters = [
        _authz_cluster(policy, gateway, ca, authz_port) for policy in of_kind("SecurityPolicy")
    ]
    static = {
        "listeners": [_listener(gateway, ca)],
        "clusters": [*clusters, {**_cluster("upstream", upstream_port), "type": "STATIC"}],
    }
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    return yaml.safe_dump({"admin": admin, "static_resources": static})


def _listener(gateway: Svid, ca: Path) -> dict[str, Any]:
    (clients,) = of_kind("ClientTrafficPolicy")
    tls = {
        "@type": f"{_TYPE}.{_TLS}.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [_files(gateway)],
            "validation_context": {"trusted_ca": {"filename": str(ca)}},
        },
        "require_client_certificate": (
            clients["spec"]["tls"]["clientValidation"]["mode"] == "RequireAndVerify"
        ),
        "disable_stateful_session_resumption": True,
        "disable_stateless_session_resumption": True,
    }
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager()}
    chain = {
        "filters": [manager],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": "gateways/agents/https", "address": address, "filter_chains": [chain]}


def _manager() -> dict[str, Any]:
    (clients,) = of_kind("ClientTrafficPolicy")
    headers = clients["spec"]["headers"]
    forbidden = [
        {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": one["value"]}}}}
        for one in headers["earlyRequestHeaders"]["removeOnMatch"]
    ]
    early = f"{_TYPE}.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    actions = {"RejectRequest": "REJECT_REQUEST", "SanitizeSet": "SANITIZE_SET"}
    router = {"@type": f"{_TYPE}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    return {
        "@type": f"{_TYPE}.{_HCM}",
        "stat_prefix": "https-8443",
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "merge_slashes": not clients["spec"]["path"]["disableMergeSlashes"],
        "path_with_escaped_slashes_action": actions[
            clients["spec"]["path"]["escapedSlashesAction"]
        ],
        "common_http_protocol_options": {
            "headers_with_underscores_action": actions[headers["withUnderscoresAction"]]
        },
        "forward_client_cert_details": actions[headers["xForwardedClientCert"]["mode"]],
        "set_current_client_cert_details": {"uri": True},
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {"@type": early, "mutations": forbidden},
            }
        ],
        "http_filters": [
            *map(_filter, of_kind("SecurityPolicy")),
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "route_config": {"name": "gateways/agents/https", "virtual_hosts": list(_hosts())},
    }


def _name(policy: dict[str, Any]) -> str:
    return f"securitypolicy/gateways/{policy['metadata']['name']}"


def _filter(policy: dict[str, Any]) -> dict[str, Any]:
    """Return a policy's filter, which the routes switch on."""
    ext_auth = policy["spec"]["extAuth"]
    retry = ext_auth["grpc"]["backendSettings"]["retry"]
    back_off = retry["perRetry"]["backOff"]
    config: dict[str, Any] = {
        "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": ext_auth["failOpen"],
        "status_on_error": {"code": ext_auth["statusOnError"]},
        "grpc_service": {
            "envoy_grpc": {"cluster_name": _name(policy), "authority": "agent-authz:9191"},
            "timeout": f"{_SECONDS}s",
            "retry_policy": {
                "num_retries": retry["numRetries"],
                "retry_on": ",".join(retry["retryOn"]["triggers"]),
                "retry_back_off": {
                    "base_interval": f"{int(back_off['baseInterval'].removesuffix('ms')) / 1000}s",
                    "max_interval": f"{_SECONDS}s",
                },
            },
        },
    }
    if "bodyToExtAuth" in ext_auth:  # as text, and never cut
        config["with_request_body"] = {
            "max_request_bytes": ext_auth["bodyToExtAuth"]["maxRequestBytes"]
        }
    return {"name": f"{_FILTER}/{_name(policy)}", "disabled": True, "typed_config": config}


def _hosts() -> Iterator[dict[str, Any]]:
    routes = [route for one in of_kind("HTTPRoute") for route in _routes(one)]
    yield {"name": "all", "domains": ["mcp.corp.example"], "routes": routes}


def _routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a route's matches, with the policy for it: its own, else the Gateway's."""
    policies = {
        (target["kind"], target["name"]): policy
        for policy in of_kind("SecurityPolicy")
        for target in policy["spec"]["targetRefs"]
    }
    own = policies.get(("HTTPRoute", route["metadata"]["name"]))
    policy = own or policies["Gateway", route["spec"]["parentRefs"][0]["name"]]
    extensions = {
        one["name"]: one["value"] for one in policy["spec"]["extAuth"].get("contextExtensions", ())
    }
    settings = {"context_extensions": extensions} if extensions else {}
    on = {
        "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute",
        "check_settings": settings,
    }
    for rule in route["spec"]["rules"]:
        for match in rule["matches"]:
            yield {
                "match": {"path_separated_prefix": match["path"]["value"]},
                "route": {
                    "cluster": "upstream",
                    "upgrade_configs": [{"upgrade_type": "websocket"}],
                },
                "typed_per_filter_config": {f"{_FILTER}/{_name(policy)}": on},
            }


def _authz_cluster(policy: dict[str, Any], gateway: Svid, ca: Path, port: int) -> dict[str, Any]:
    """Return the cluster of agent-authz: HTTP/2 over TLS, without ALPN and health checks."""
    (backend,) = of_kind("BackendTLSPolicy")
    validation = backend["spec"]["validation"]
    names = [
        {"san_type": one["type"], "matcher": {"exact": one["uri"]}}
        for one in validation["subjectAltNames"]
    ]
    tls = {
        "@type": f"{_TYPE}.{_TLS}.UpstreamTlsContext",
        "sni": validation["hostname"],
        "common_tls_context": {
            "tls_certificates": [_files(gateway)],
            "validation_context": {
                "trusted_ca": {"filename": str(ca)},
                "match_typed_subject_alt_names": names,
            },
        },
    }
    options = {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        **_cluster(_name(policy), port),
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [{"max_retries": 1024}]},
        "ignore_health_on_host_removal": True,
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "connect_timeout": "10s", "load_assignment": assignment}


def _files(svid: Svid) -> dict[str, Any]:
    return {
        "certificate_chain": {"filename": str(svid.certificate_path)},
        "private_key": {"filename": str(svid.key_path)},
    }
