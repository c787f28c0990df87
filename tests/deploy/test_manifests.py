"""What is shipped in deploy/: each file is read, and they agree with each other and the image."""

import json
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from authz import __version__
from authz.config import load
from support.dockerfile import steps
from support.manifests import (
    BASE,
    CHART,
    DEPLOY,
    KUSTOMIZE,
    configs,
    container,
    documents,
    kustomizations,
    of_base,
    pod,
    yaml_files,
)
from support.verbs import run

BEFORE_THE_KERNEL_SECONDS: Final = 17  # after server.drain, as docs/howto/operate.md says
TRIED: Final = DEPLOY / "compose" / "config" / "config.yaml"  # test_compose.py has its warning


def named(path: Path) -> str:
    """How a test of a file is called."""
    return str(path.relative_to(DEPLOY))


@pytest.mark.parametrize("path", yaml_files(), ids=named)
def test_a_file_is_yaml(path: Path) -> None:
    """It can be read, and a manifest has a kind, a version and a name."""
    for document in documents(path.read_text()):
        if "kind" in document and path.is_relative_to(KUSTOMIZE):
            assert document["apiVersion"]
            assert (
                document["kind"] in {"Kustomization", "Component"} or document["metadata"]["name"]
            )


@pytest.mark.parametrize("path", [path for path in configs() if path != TRIED], ids=named)
def test_a_config_passes_its_check(path: Path, tmp_path: Path) -> None:
    """As CI would check it, together with the policy files that it includes."""
    here = tmp_path / "config.yaml"
    here.write_text(path.read_text())
    for folder in (BASE / "config", path.parent):  # an overlay merges into the base's files
        for policy in folder.glob("team-*.yaml"):
            (tmp_path / policy.name).write_text(policy.read_text())

    assert run("check", "--elsewhere", "--strict", str(here)) == 0


def test_every_file_of_a_folder_is_used() -> None:
    """A kustomization names each file beside and below it: none is shipped that nothing reads."""
    folders = [*kustomizations(), *kustomizations("Component")]
    for path in KUSTOMIZE.rglob("*"):
        if path.is_file() and path.suffix != ".md" and path.name != "kustomization.yaml":
            home = next(parent for parent in path.parents if parent in folders)
            text = (home / "kustomization.yaml").read_text()
            assert str(path.relative_to(home)) in text, path


def test_the_ports_agree() -> None:
    """Config, container, Service, NetworkPolicy and image have the same two ports."""
    config = load(BASE / "config" / "config.yaml")
    (listen,) = config.server.listen
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    served = {port["name"]: port for port in of_base("Service")["spec"]["ports"]}
    allowed = [rule["ports"] for rule in of_base("NetworkPolicy")["spec"]["ingress"]]

    assert listen == f"0.0.0.0:{ports['grpc']}"
    assert config.admin.listen == f"0.0.0.0:{ports['http-admin']}"
    assert config.admin.exposed
    assert {name: port["port"] for name, port in served.items()} == ports
    assert all(port["targetPort"] == name for name, port in served.items())
    assert [each["port"] for each in chain(*allowed)] == [ports["grpc"], ports["http-admin"]]
    assert f"EXPOSE {ports['grpc']} {ports['http-admin']}" in [" ".join(step) for step in steps()]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container()[probe]["httpGet"]["port"] in ports


def test_the_paths_agree() -> None:
    """What the config names is mounted, and the image's command and TMPDIR are there."""
    config = load(BASE / "config" / "config.yaml")
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    words = {step.word: step.rest for step in steps()}

    assert {volume["name"] for volume in pod()["volumes"]} == set(mounts)
    assert json.loads(words["CMD"]) == container()["args"]
    assert container()["args"][-1] == f"{mounts['config']}/config.yaml"
    assert f"TMPDIR={mounts['run']}" in words["ENV"]
    assert config.revocations is not None
    assert str(config.revocations.file) == f"{mounts['config']}/revoked.jsonl"
    assert config.server.tls is not None
    for name in ("certificate", "private_key", "client_ca"):
        assert str(getattr(config.server.tls, name)).startswith(f"{mounts['tls']}/")
    (generator,) = yaml.safe_load((BASE / "kustomization.yaml").read_text())["configMapGenerator"]
    assert {*generator["files"]} == {f"config/{path.name}" for path in (BASE / "config").iterdir()}


def test_the_names_agree() -> None:
    """One label finds the pods, and everything has the name agent-authz in its namespace."""
    label = {"app.kubernetes.io/name": "agent-authz"}
    deployment, service = of_base("Deployment"), of_base("Service")

    assert deployment["spec"]["selector"] == {"matchLabels": label}
    assert deployment["spec"]["template"]["metadata"]["labels"] == label
    assert service["spec"]["selector"] == label
    assert of_base("NetworkPolicy")["spec"]["podSelector"] == {"matchLabels": label}
    assert of_base("PodDisruptionBudget")["spec"]["selector"] == {"matchLabels": label}
    target = of_base("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "agent-authz"}
    kinds = ("Namespace", "ServiceAccount", "Service", "Deployment", "NetworkPolicy")
    assert {of_base(kind)["metadata"]["name"] for kind in kinds} == {"agent-authz"}
    assert pod()["serviceAccountName"] == "agent-authz"


def test_the_pod_is_confined_as_the_image() -> None:
    """It runs as the image's user, may write nowhere but in memory, and passes `restricted`."""
    context, own = pod()["securityContext"], container()["securityContext"]

    user = f"{context['runAsUser']}:{context['runAsGroup']}"
    assert user in {step.rest for step in steps() if step.word == "USER"}
    assert context["runAsNonRoot"]
    assert context["fsGroup"] == context["runAsGroup"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    level = of_base("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"


def test_a_stop_has_its_time() -> None:
    """Kubernetes waits for longer than a stop can last, and a proxy may learn late of it."""
    server = load(BASE / "config" / "config.yaml").server

    assert pod()["terminationGracePeriodSeconds"] > server.drain + BEFORE_THE_KERNEL_SECONDS
    assert server.notice == 15.0
    assert "lifecycle" not in container()


def test_the_csi_volume_is_the_users() -> None:
    """csi-driver-spiffe gives its files to the group of the image's user."""
    patch = KUSTOMIZE / "overlays" / "cert-manager" / "certificate.yaml"
    (volume,) = yaml.safe_load(patch.read_text())["spec"]["template"]["spec"]["volumes"]

    group = volume["csi"]["volumeAttributes"]["spiffe.csi.cert-manager.io/fs-group"]
    assert group == str(pod()["securityContext"]["runAsGroup"])


def test_trust_manager_changes_the_ca_alone() -> None:
    """Its config is the base's, with the CA from the folder that it mounts."""
    folder = KUSTOMIZE / "overlays" / "cert-manager-with-trust-manager"
    base = (BASE / "config" / "config.yaml").read_text()
    moved = base.replace("/authz-tls/ca.crt", "/authz-ca/ca.crt")

    assert (folder / "config.yaml").read_text() == moved
    assert "mountPath: /var/run/secrets/authz-ca" in (folder / "ca.yaml").read_text()


def test_the_charts_defaults_are_the_base() -> None:
    """The config, the policies and the version; ``make check-deploy`` compares what is rendered."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    files = {path.name: path.read_text() for path in (BASE / "config").iterdir()}

    assert values["config"] == yaml.safe_load(files.pop("config.yaml"))
    assert values["revoked"] == files.pop("revoked.jsonl")
    assert values["policies"] == {name: yaml.safe_load(text) for name, text in files.items()}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_charts_schema_names_every_value() -> None:
    """A value without a place in the schema would be refused, and one without a default unknown."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    _same_keys(yaml.safe_load((CHART / "values.yaml").read_text()), schema, {"global"})


def _same_keys(values: dict[str, Any], schema: dict[str, Any], more: set[str]) -> None:
    if "properties" not in schema:
        return
    assert schema["additionalProperties"] is False
    assert set(values) <= set(schema["properties"])
    assert set(schema["properties"]) - set(values) <= more
    for name, value in values.items():
        if isinstance(value, dict):
            _same_keys(value, schema["properties"][name], {"claims"})
