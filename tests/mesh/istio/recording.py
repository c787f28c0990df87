"""Takes what matters for agents' requests from what Istio sends, as it is checked in."""

from collections.abc import Callable, Mapping
from typing import Final

from support.istio.recorded import KINDS, Sent, read
from support.istio.stock import Tree, chains_of, clusters_named, ext_authz_of, http_of

WORKLOAD_PORT: Final = 8080  # of ledger's pod


def essence(kind: str, sent: Sent) -> Sent:
    """Return the listeners with the chain that asks agent-authz alone, and what it leads to."""
    listeners = [
        _with_chains(one, asking)
        for one in sent.listeners.values()
        if (asking := [chain for chain in chains_of(one) if _ASKS[kind](chain)])
    ]
    if kind == "waypoint":
        listeners.append(sent.listeners["connect_terminate"])
    kept = {"listeners": listeners, "clusters": [], "routes": []}
    names = _named(kept)
    kept["routes"] = [one for name, one in sent.routes.items() if name in names]
    names |= _named(kept)
    kept["clusters"] = [one for name, one in sent.clusters.items() if name in names]
    return read({key: kept[key] for key in KINDS})


def _with_chains(listener: Tree, chains: list[Tree]) -> Tree:
    without = ("default_filter_chain", "filter_chain_matcher", "listener_filters")
    kept = {key: value for key, value in listener.items() if key not in without}
    return {**kept, "filter_chains": chains[:1]}


def _named(kept: Mapping[str, list[Tree]]) -> set[str]:
    https = [http_of(one) for item in kept["listeners"] for one in chains_of(item)]
    routes = {one["rds"]["route_config_name"] for one in https if one and "rds" in one}
    return clusters_named([kept["listeners"], kept["routes"]]) | routes


def _of_workload(chain: Tree) -> bool:
    """Tell whether a sidecar's chain is that of mutual TLS for the workload's port."""
    port = chain.get("filter_chain_match", {}).get("destination_port")
    return port == WORKLOAD_PORT and _over_tls(chain)


def _over_tls(chain: Tree) -> bool:
    return "transport_socket" in chain and _asks(chain)


def _asks(chain: Tree) -> bool:
    return bool(ext_authz_of(chain))


_ASKS: Final[Mapping[str, Callable[[Tree], bool]]] = {
    "sidecar": _of_workload,
    "gateway": _over_tls,
    "waypoint": _asks,
}
