"""The components of deploy/kustomize: they agree with the how-tos, the base and the chart."""

import re
import shutil
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import yaml

from authz.config import Config, load
from support.manifests import BASE, CHART, DEPLOY, KUSTOMIZE, container, of_base, pod

HOW_TOS: Final = DEPLOY.parent / "docs" / "howto"


def with_block(folder: Path, page: str, section: str) -> Config:
    """Return the base's config with the block of a how-to that begins with a section."""
    text = (HOW_TOS / page).read_text()
    block = re.search(rf"^ *```yaml\n( *{section}:\n.*?)```", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    shutil.copytree(BASE / "config", folder, dirs_exist_ok=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= yaml.safe_load(dedent(block[1]))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return load(folder / "config.yaml")


def component(name: str, file: str) -> Any:
    """Return what a file of a component has."""
    return yaml.safe_load((KUSTOMIZE / "components" / name / file).read_text())


def mounted(patch: dict[str, Any]) -> str:
    """Where a component's patch of the Deployment mounts its only Secret."""
    spec = patch["spec"]["template"]["spec"]
    (mount,), (volume,) = spec["containers"][0]["volumeMounts"], spec["volumes"]
    assert mount["readOnly"] is True
    assert (mount["name"], volume["secret"]["defaultMode"]) == (volume["name"], 0o440)
    assert spec["containers"][0]["name"] == container()["name"]
    return str(mount["mountPath"])


def test_a_store_and_signals_as_the_how_to_says(tmp_path: Path) -> None:
    """What its config names is mounted, its ports are open, and the chart has the same."""
    config = with_block(tmp_path, "kubernetes.md", "store")
    assert config.store is not None
    assert config.signals is not None
    assert config.signals.tls is not None
    patch, tls = component("signals", "port.yaml"), config.signals.tls
    files = {mounted(component("store", "secret.yaml")): ("password", "ca.crt")}
    files[mounted(patch)] = ("tls.crt", "tls.key")

    named = {config.store.password_file, config.store.tls.ca_file, tls.certificate, tls.private_key}
    assert named == {f"{folder}/{name}" for folder, names in files.items() for name in names}
    (port,) = patch["spec"]["template"]["spec"]["containers"][0]["ports"]
    (service,) = component("signals", "service.yaml")["spec"]["ports"]
    (ingress,) = component("signals", "network-policy.yaml")
    (egress,) = component("store", "network-policy.yaml")
    assert config.signals.listen == f"0.0.0.0:{port['containerPort']}"
    assert (service["port"], service["targetPort"]) == (port["containerPort"], port["name"])
    assert ingress["value"]["ports"][0]["port"] == port["containerPort"]
    assert str(config.store.url).endswith(f":{egress['value']['ports'][0]['port']}")

    values = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]
    assert values["store"]["to"] == egress["value"]["to"]
    assert values["signals"] == ingress["value"]["from"][0]["namespaceSelector"]["matchLabels"]
    for template in ("deployment", "service", "networkpolicy"):
        rendered = (CHART / "templates" / f"{template}.yaml").read_text()
        assert str(port["containerPort"]) in rendered
    pods = (CHART / "templates" / "deployment.yaml").read_text()
    assert all(folder in pods for folder in files)


def test_the_token_service_as_its_how_to_says(tmp_path: Path) -> None:
    """What its config names is mounted, its ports are open, and the chart has the same."""
    page = (HOW_TOS / "run-the-token-service.md").read_text()
    sts = with_block(tmp_path, "run-the-token-service.md", "sts").sts
    assert sts is not None
    spec = component("sts", "deployment.yaml")["spec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in spec["containers"][0]["ports"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    served = component("sts", "service.yaml")["spec"]["ports"]
    policy = component("sts", "network-policy.yaml")["spec"]

    assert spec["containers"][0]["args"] == ["sts", container()["args"][-1]]
    assert sts.listen == f"0.0.0.0:{ports['https-sts']}"
    assert sts.admin.listen == f"0.0.0.0:{ports['http-admin']}"
    assert [port["targetPort"] for port in served] == list(ports)
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == list(ports.values())
    assert policy["egress"] == of_base("NetworkPolicy")["spec"]["egress"]
    files = {sts.tls.certificate, sts.tls.private_key, sts.tls.client_ca, sts.keys[0].file}
    assert {str(Path(file).parent) for file in files} == {mounts["sts"]}
    assert all(f"--from-file={Path(file).name}" in page for file in files)
    for key in ("securityContext", "automountServiceAccountToken", "serviceAccountName"):
        assert spec[key] == pod()[key]
    assert spec["containers"][0]["securityContext"] == container()["securityContext"]
    rendered = (CHART / "templates" / "sts.yaml").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert all(str(port) in rendered for port in ports.values())
    assert values["sts"]["resources"] == spec["containers"][0]["resources"]
    asked = policy["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"]
    assert values["networkPolicy"]["agents"] == asked


def test_the_server_reaches_the_token_services_pods() -> None:
    """Its own NetworkPolicy lets it out to their port: that of the Service is not what counts."""
    (rule,) = component("sts", "keys.yaml")
    labels = component("sts", "deployment.yaml")["spec"]["template"]["metadata"]["labels"]

    assert rule["value"]["to"] == [{"podSelector": {"matchLabels": labels}}]
    (into, *_rest) = component("sts", "network-policy.yaml")["spec"]["ingress"]
    assert rule["value"]["ports"] == into["ports"]
    assert {"podSelector": of_base("NetworkPolicy")["spec"]["podSelector"]} in into["from"]


def test_assertions_and_exchange_as_the_how_to_says(tmp_path: Path) -> None:
    """What its config names is mounted, its port is open, and the chart has the same."""
    config = with_block(tmp_path, "kubernetes.md", "assertions")
    assert config.assertions is not None
    assert config.assertions.tls is not None
    (exchange,) = [issuer.exchange for issuer in config.issuers if issuer.exchange]
    patch, tls = component("assertions", "port.yaml"), config.assertions.tls
    keys = [key.file for key in config.assertions.keys]
    _made_and_mounted("assertions", mounted(patch), [tls.certificate, tls.private_key, *keys])
    secrets = mounted(component("issuers", "secret.yaml"))
    _made_and_mounted("issuers", secrets, [str(exchange.client_secret_file)])
    (port,) = patch["spec"]["template"]["spec"]["containers"][0]["ports"]
    (service,) = component("assertions", "service.yaml")["spec"]["ports"]
    (ingress,) = component("assertions", "network-policy.yaml")
    assert config.assertions.listen == f"0.0.0.0:{port['containerPort']}"
    assert (service["port"], service["targetPort"]) == (port["containerPort"], port["name"])
    assert ingress["value"]["ports"][0]["port"] == port["containerPort"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]
    assert values["upstreams"] == ingress["value"]["from"][0]["namespaceSelector"]["matchLabels"]


def _made_and_mounted(secret: str, folder: str, files: list[str]) -> None:
    """Hold files of a config to the Secret that the how-to makes, and to where it is mounted."""
    page = (HOW_TOS / "kubernetes.md").read_text()
    made = re.search(rf"generic agent-authz-{secret} ((?:.*\\\n)*.*)", page)
    assert made is not None
    assert [*re.findall(r"--from-file=(\S+)", made[1])] == [Path(file).name for file in files]
    assert {str(Path(file).parent) for file in files} == {folder}
