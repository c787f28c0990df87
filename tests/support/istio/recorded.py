"""What Istio's control plane sent for the manifests in ``deploy``, as tests/mesh recorded it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.istio.stock import Tree, chains_of, clusters_named, ext_authz_of, http_of

ROOT: Final = Path(__file__).parents[3]
OVERLAY: Final = ROOT / "deploy" / "kustomize" / "overlays" / "istio"
FOLDER: Final = ROOT / "tests" / "support" / "data" / "istio"
KINDS: Final = ("listeners", "clusters", "routes")


@dataclass(frozen=True)
class Sent:
    """What a proxy got, by the names of the resources."""

    listeners: Mapping[str, Tree]
    clusters: Mapping[str, Tree]
    routes: Mapping[str, Tree]

    def chains(self) -> list[Tree]:
        """Return the filter chains of HTTP with their routes, which agents' requests may take."""
        found = [one for listener in self.listeners.values() for one in chains_of(listener)]
        return [self._with_routes(one) for one in found if http_of(one)]

    def chain(self) -> Tree:
        """Return the filter chain that asks agent-authz."""
        return next(one for one in self.chains() if ext_authz_of(one))

    def authz_cluster(self) -> Tree:
        """Return the cluster that is agent-authz."""
        (first, *_) = ext_authz_of(self.chain())
        return self.clusters[first["grpc_service"]["envoy_grpc"]["cluster_name"]]

    def upstreams(self) -> list[Tree]:
        """Return the clusters to which the chain's routes lead."""
        named = clusters_named(http_of(self.chain())["route_config"])
        return [one for name, one in self.clusters.items() if name in named]

    def text(self) -> str:
        """Return it as the file that is checked in."""
        kinds = {kind: list(getattr(self, kind).values()) for kind in KINDS}
        return json.dumps(kinds, indent=1, sort_keys=True) + "\n"

    def _with_routes(self, chain: Tree) -> Tree:
        """Return the chain with its routes where it names them (RDS)."""
        http = http_of(chain)
        if "rds" not in http:
            return chain
        routes = self.routes[http["rds"]["route_config_name"]]
        kept = {key: value for key, value in routes.items() if key != "validate_clusters"}
        inline = {key: value for key, value in http.items() if key != "rds"}
        filters = [
            {**one, "typed_config": {**inline, "route_config": kept}}
            if one.get("typed_config") is http
            else one
            for one in chain["filters"]
        ]
        return {**chain, "filters": filters}


def recorded(name: str) -> Sent:
    """Return what was recorded for a proxy."""
    return read(json.loads((FOLDER / f"{name}.json").read_text()))


def read(kinds: Mapping[str, Iterable[Tree]]) -> Sent:
    """Return resources by their names."""
    return Sent(*({one["name"]: one for one in kinds.get(kind, ())} for kind in KINDS))
