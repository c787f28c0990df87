"""The files of ``deploy/``, found by their folders, so that a new overlay is tested as well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
KUSTOMIZE: Final = DEPLOY / "kustomize"
BASE: Final = KUSTOMIZE / "base"
CHART: Final = DEPLOY / "helm" / "envoy-agent-authz"
Manifest = dict[str, Any]


def yaml_files() -> list[Path]:
    """Return each file of YAML under deploy/, but the chart's templates, which are none yet."""
    found = [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")]
    return sorted(path for path in found if CHART / "templates" not in path.parents)


def configs() -> list[Path]:
    """Return each config of agent-authz, named config.yaml as the image's command has it."""
    found = [path for path in yaml_files() if path.name == "config.yaml"]
    return [path for path in found if "trust_domains" in yaml.safe_load(path.read_text())]


def kustomizations(kind: str = "Kustomization") -> list[Path]:
    """Return the folders that kustomize builds, or those of kind Component."""
    files = sorted(KUSTOMIZE.rglob("kustomization.yaml"))
    return [file.parent for file in files if yaml.safe_load(file.read_text())["kind"] == kind]


def documents(text: str) -> Iterator[Manifest]:
    """Yield the manifests of a stream, empty ones left out."""
    return (each for each in yaml.safe_load_all(text) if each)


def of_base(kind: str) -> Manifest:
    """Return the base's manifest of a kind."""
    found = [one for file in BASE.glob("*.yaml") for one in documents(file.read_text())]
    (manifest,) = [one for one in found if one["kind"] == kind]
    return manifest


def pod() -> Manifest:
    """Return the spec of the base's pod."""
    return dict(of_base("Deployment")["spec"]["template"]["spec"])


def container() -> Manifest:
    """Return the base's container."""
    (only,) = pod()["containers"]
    return dict(only)


def open_ports_of(policy: Manifest) -> tuple[set[int], set[int]]:
    """Return the ports that a NetworkPolicy lets in, and those that it lets out."""
    ways = (policy["spec"][way] for way in ("ingress", "egress"))
    into, out = ({each["port"] for rule in way for each in rule["ports"]} for way in ways)
    return into, out


def mounts_of(deployment: Manifest) -> set[str]:
    """Return the names of what the only container of a Deployment mounts."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {mount["name"] for mount in container["volumeMounts"]}
