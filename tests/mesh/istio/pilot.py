"""Asks Istio's own control plane what it would send to proxies for the manifests in ``deploy``."""

import copy
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import yaml

from mesh.support.tools import tool
from support.istio.recorded import OVERLAY, Sent, read
from support.istio.stock import Tree

SECONDS: Final = 120.0  # one takes some 3 s
VERSION: Final = "1.30.0"
XFCC: Final = "ambient.istio.io/xfcc-include-client-identity"
WAYPOINT: Final = {
    "gateway.istio.io/managed": "istio.io-mesh-controller",
    "gateway.networking.k8s.io/gateway-name": "waypoint",
}
FLAG: Final = "PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS"


@dataclass(frozen=True)
class World:
    """What Istio reads: its mesh config, and the cluster's objects."""

    mesh: Mapping[str, Any]
    objects: Sequence[Tree]
    flags: Mapping[str, str] = field(default_factory=dict)

    def find(self, kind: str, name: str) -> Tree:
        """Return an object of this world, to be changed in a copy of it."""
        return next(
            one for one in self.objects if one["kind"] == kind and one["metadata"]["name"] == name
        )

    def copy(self) -> Self:
        """Return a world that may be changed without changing this."""
        return copy.deepcopy(self)

    def sent(self, folder: Path) -> dict[str, Sent]:
        """Return what Istio sends to each kind of proxy. Raises subprocess.CalledProcessError."""
        return {name: read(kinds) for name, kinds in self._asked(folder)["proxies"].items()}

    def injected(self, folder: Path) -> Tree:
        """Return our Deployment as Istio's injector changes it."""
        return self._asked(folder)["injected"]

    def analyzed(self, folder: Path) -> list[str]:
        """Return what `istioctl analyze` says of the manifests."""
        return list(self._asked(folder)["analyzed"])

    def _asked(self, folder: Path) -> Tree:
        folder.mkdir(parents=True, exist_ok=True)
        given, answer = folder / "in.json", folder / "out.json"
        asked = {
            "mesh": yaml.safe_dump(dict(self.mesh)),
            "manifests": yaml.safe_dump_all(self.objects, sort_keys=False),
            "proxies": self._proxies(),
            "deployment": yaml.safe_dump(self.find("Deployment", "agent-authz")),
        }
        given.write_text(json.dumps(asked))
        subprocess.run(
            [tool("pilot-generate"), given, answer],
            cwd=folder,
            env={**os.environ, **self.flags},
            check=True,
            timeout=SECONDS,
            capture_output=True,
        )
        return json.loads(answer.read_text())

    def _proxies(self) -> Tree:
        """Return the proxies. Istio hands the annotations of a Gateway on to its pods."""
        annotations = self.find("Gateway", "waypoint")["metadata"].get("annotations", {})
        ledger, ingress = {"app": "ledger"}, {"istio": "ingressgateway"}
        return {
            "sidecar": _proxy("sidecar", "tools", "10.10.0.1", ledger),
            "gateway": _proxy("router", "istio-ingress", "10.10.0.2", ingress),
            "waypoint": _proxy("waypoint", "tools", "10.10.0.3", WAYPOINT, annotations),
        }


def shipped() -> World:
    """Return the world of the manifests as kustomize builds them."""
    values = yaml.safe_load((OVERLAY / "mesh-config.yaml").read_text())
    here = yaml.safe_load_all((Path(__file__).parent / "cluster.yaml").read_text())
    world = World(values["meshConfig"], [*here, *built(OVERLAY), *built(OVERLAY / "workloads")])
    deployment = world.find("Deployment", "agent-authz")["spec"]["template"]
    objects = [*world.objects, _pod(deployment)]
    gateway = world.find("Gateway", "waypoint")
    # Istio's controller writes it when the waypoint's pods are ready.
    gateway["status"] = {
        "addresses": [{"type": "Hostname", "value": "waypoint.tools.svc.cluster.local"}]
    }
    return World(world.mesh, objects)


def built(folder: Path) -> list[Tree]:
    """Return what kustomize makes of a folder."""
    done = subprocess.run(
        [tool("kustomize"), "build", folder], check=True, capture_output=True, timeout=SECONDS
    )
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def _pod(template: Tree) -> Tree:
    """Return a pod of the Deployment."""
    metadata = {"name": "agent-authz-1", "namespace": "agent-authz", **template["metadata"]}
    status = {
        "phase": "Running",
        "podIP": "10.10.0.9",
        "podIPs": [{"ip": "10.10.0.9"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template["spec"],
        "status": status,
    }


def _proxy(
    kind: str,
    namespace: str,
    at: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> Tree:
    return {
        "kind": kind,
        "namespace": namespace,
        "address": at,
        "labels": labels,
        "annotations": annotations or {},
        "version": VERSION,
    }
