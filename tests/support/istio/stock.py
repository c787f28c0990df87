"""Makes what Istio sends to its proxies run in a stock Envoy; nothing that decides is taken out.

These go, or something stands in their place:

- what only Istio's build of Envoy has, which reports and decides nothing: the exchange of peers'
  metadata, statistics, ``istio.alpn``; and access logs and tracing;
- certificates by SDS, which become files, and endpoints by EDS, which become loopback;
- a listener's other filter chains, and of a waypoint's inner listener the matcher of the address
  that was asked for.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.ca import Svid

Tree = Any  # of JSON
LOOPBACK: Final = "127.0.0.1"
ISTIO_TYPES: Final = (
    "io.istio.",
    "istio.envoy.",
    "stats.PluginConfig",
    "network_filters.peer_metadata",
    "network.metadata_exchange",
)
ISTIO_NAMES: Final = ("istio.stats", "istio.alpn", "istio.metadata_exchange", "istio_authn")
_LISTS: Final = ("http_filters", "filters", "listener_filters", "access_log")
_DISCOVERY: Final = (
    "cluster_type",
    "common_lb_config",
    "eds_cluster_config",
    "filters",
    "lb_policy",
    "original_dst_lb_config",
    "type",
    "upstream_bind_config",
)
_TYPES: Final = "type.googleapis.com/envoy.extensions"
_INTERNAL_LISTENERS: Final = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {
        "@type": f"{_TYPES}.bootstrap.internal_listener.v3.InternalListener",
    },
}


@dataclass(frozen=True)
class Identity:
    """What a proxy shows, and whom it trusts."""

    svid: Svid
    ca: Path


def nodes(tree: Tree) -> Iterator[dict[str, Any]]:
    """Yield each object of a tree, from the outside to the inside."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


def chains_of(listener: Tree) -> list[Tree]:
    """Return a listener's filter chains, the one for all else at the end."""
    default = listener.get("default_filter_chain")
    return [*listener.get("filter_chains", []), *([default] if default else [])]


def http_of(chain: Tree) -> Tree:
    """Return the HTTP connection manager's config of a filter chain, None without one."""
    configs = [one.get("typed_config", {}) for one in chain.get("filters", [])]
    return next((one for one in configs if "http_filters" in one), None)


def filters_of(chain: Tree, part: str) -> list[Tree]:
    """Return the configs of a chain's HTTP filters whose type has this part."""
    http = http_of(chain) or {"http_filters": []}
    configs = [one.get("typed_config", {}) for one in http["http_filters"]]
    return [one for one in configs if part in one.get("@type", "")]


def ext_authz_of(chain: Tree) -> list[Tree]:
    """Return the configs of a chain's ext_authz filters."""
    return filters_of(chain, "http.ext_authz.v3.ExtAuthz")


def clusters_named(tree: Tree) -> set[str]:
    """Return the names of all clusters that a tree sends requests to."""
    keys = ("cluster", "cluster_specifier", "cluster_name")
    return {one[key] for one in nodes(tree) for key in keys if isinstance(one.get(key), str)}


def bootstrap(listeners: list[Tree], clusters: list[Tree], identity: Identity) -> Tree:
    """Return a bootstrap with these resources, whose secrets are the identity's files."""
    tree = {"listeners": listeners, "clusters": clusters}
    secrets = [_secret(name, key, identity) for name, key in sorted(_secrets_named(tree).items())]
    return {
        "admin": {"address": address(0)},
        "node": {"id": "mesh", "cluster": "mesh"},
        "bootstrap_extensions": [_INTERNAL_LISTENERS],
        "static_resources": {**_runnable(tree), "secrets": secrets},
    }


def address(port: int) -> Tree:
    """Return an address on loopback."""
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def on_loopback(name: str, chain: Tree) -> Tree:
    """Return a listener with this chain alone."""
    kept = {key: value for key, value in chain.items() if key != "filter_chain_match"}
    return {"name": name, "address": address(0), "filter_chains": [kept]}


def fixed(cluster: Tree, port: int) -> Tree:
    """Return a cluster with an endpoint on loopback, and its TLS for workloads of the mesh."""
    kept = {key: value for key, value in cluster.items() if key not in _DISCOVERY}
    for match in kept.pop("transport_socket_matches", []):
        if match["name"] == "tlsMode-istio":
            kept["transport_socket"] = match["transport_socket"]
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    assignment = {"cluster_name": cluster["name"], "endpoints": endpoints}
    return {**kept, "type": "STATIC", "load_assignment": assignment}


def _runnable(tree: Tree) -> Tree:
    tree = copy.deepcopy(tree)
    for one in nodes(tree):
        for key in _LISTS:
            if isinstance(one.get(key), list):
                one[key] = [item for item in one[key] if not _of_istio_alone(item)]
        one.pop("sds_config", None)  # so the secret is found among those of the bootstrap
        one.pop("tracing", None)
        if one.get("factory_key") == "istio.hashable_string":
            one["factory_key"] = "envoy.string"
        if "http_filters" in one:
            one["access_log"] = []
    return tree


def _of_istio_alone(item: Mapping[str, Any]) -> bool:
    config = item.get("typed_config", {})
    kinds = f"{config.get('@type', '')} {config.get('type_url', '')}"
    return item.get("name", "").startswith(ISTIO_NAMES) or any(one in kinds for one in ISTIO_TYPES)


def _secrets_named(tree: Tree) -> dict[str, str]:
    named = {}
    for one in nodes(tree):
        for key, value in one.items():
            if key.endswith(("secret_config", "secret_configs")):
                for item in value if isinstance(value, list) else [value]:
                    named[item["name"]] = key
    return named


def _secret(name: str, key: str, identity: Identity) -> Tree:
    make: Callable[[Identity], Tree] = _trust if key.startswith("validation") else _certificate
    return {"name": name, **make(identity)}


def _trust(identity: Identity) -> Tree:
    return {"validation_context": {"trusted_ca": {"filename": str(identity.ca)}}}


def _certificate(identity: Identity) -> Tree:
    svid = identity.svid
    return {
        "tls_certificate": {
            "certificate_chain": {"filename": str(svid.certificate_path)},
            "private_key": {"filename": str(svid.key_path)},
        }
    }
