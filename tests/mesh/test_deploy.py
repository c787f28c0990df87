"""What deploy/ ships, read by the real programs: kustomize, helm, and kubeconform with the schemas.

Kubernetes' own schemas are the API server's, those of CRDs the projects'. No cluster is needed.
"""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest
import yaml

from mesh.support.kube_schemas import TEMPLATE, schemas_folder
from mesh.support.tools import tool
from support.manifests import (
    BASE,
    CHART,
    DEPLOY,
    Manifest,
    documents,
    kustomizations,
    mounts_of,
    open_ports_of,
)
from support.verbs import run

NAMESPACE: Final = "agent-authz"
STS: Final = "agent-authz-sts"
VALUES: Final = sorted((Path(__file__).parent / "data" / "values").glob("*.yaml"))
REFUSED: Final = sorted((Path(__file__).parent / "data" / "refused").glob("*.yaml"))
HOW_TOS: Final = DEPLOY.parent / "docs" / "howto"
PAGES: Final = [page for page in sorted(HOW_TOS.glob("*.md")) if "apiVersion:" in page.read_text()]
FOR: Final = ("--kube-version", "1.32")  # helm built from source knows of no version
# What helm adds to each object, and kustomize doesn't.
HELMS: Final = {"helm.sh/chart", "app.kubernetes.io/managed-by"}


def said(name: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program, and return what became of it."""
    command = [str(tool(name)), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def output(name: str, *arguments: str, text: str = "") -> str:
    """Run a program that has to end well, and return what it printed."""
    done = said(name, *arguments, text=text)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_schemas(manifests: str) -> None:
    """Hold manifests to the schemas of their kinds; a kind without one is an error too."""
    where = f"{schemas_folder()}/{TEMPLATE}"
    output("kubeconform", "-strict", "-schema-location", where, text=manifests)


def rendered(*values: Path) -> str:
    """Return what the chart makes of files of values."""
    files = [word for path in values for word in ("--values", str(path))]
    return output("helm", "template", "mesh", str(CHART), *FOR, "-n", NAMESPACE, *files)


def comparable(manifests: str) -> dict[tuple[str, str], Manifest]:
    """Return manifests by kind and name, without helm's labels, texts of YAML as data."""
    found = {}
    for one in documents(manifests):
        labels = one["metadata"].get("labels", {})
        one["metadata"]["labels"] = {k: v for k, v in labels.items() if k not in HELMS}
        if one["kind"] == "ConfigMap":
            one["data"] = {name: yaml.safe_load(text) for name, text in one["data"].items()}
        found[one["kind"], one["metadata"]["name"]] = one
    return found


@pytest.mark.needs("kustomize", "kubeconform", "go")
@pytest.mark.parametrize("folder", kustomizations(), ids=lambda path: path.name)
def test_kustomize_builds_what_kubernetes_reads(folder: Path) -> None:
    """Each kustomization, overlays of every system included, makes valid objects."""
    check_schemas(output("kustomize", "build", str(folder)))


@pytest.mark.needs("kustomize", "kubeconform", "go")
def test_a_component_goes_with_the_base(tmp_path: Path) -> None:
    """Each component, put on the base, makes valid objects."""
    # The token service before what is mounted into its pods too.
    parts = sorted(kustomizations("Component"), key=lambda part: part.name != "sts")
    names = [f"../../{part.relative_to(DEPLOY)}" for part in parts]
    copy = tmp_path / "deploy"
    whole = copy / "overlays" / "all"
    shutil.copytree(DEPLOY, copy)
    whole.mkdir(parents=True)
    content = {"resources": ["../../kustomize/base"], "components": names}
    (whole / "kustomization.yaml").write_text(json.dumps(content))

    manifests = output("kustomize", "build", str(whole))

    check_schemas(manifests)
    found = comparable(manifests)
    places = {one["metadata"].get("namespace") for one in found.values()}
    assert places == {None, NAMESPACE}  # None of the Namespace itself
    assert {"ServiceMonitor", "PrometheusRule"} <= {kind for kind, _name in found}
    open_ports = {name: open_ports_of(found["NetworkPolicy", name]) for name in (NAMESPACE, STS)}
    assert open_ports == {
        NAMESPACE: ({9191, 9192, 9193, 9194}, {53, 443, 6379, 9443}),
        STS: ({9443, 9195}, {53, 443, 6379}),
    }
    mounts = {name: mounts_of(found["Deployment", name]) for name in (NAMESPACE, STS)}
    assert mounts == {
        NAMESPACE: {"config", "tls", "run", "store", "signals", "assertions", "issuers"},
        STS: {"config", "sts", "run", "store", "issuers"},
    }


@pytest.mark.needs("helm", "kustomize")
def test_the_chart_makes_what_the_components_add(tmp_path: Path) -> None:
    """With the configs in place, the chart renders what all components add to the base."""
    copy, values = tmp_path / "deploy", tmp_path / "values.yaml"
    shutil.copytree(DEPLOY, copy)
    names = ("sts", "store", "signals", "assertions", "issuers")
    parts = [f"../kustomize/components/{name}" for name in names]
    content: dict[str, Any] = {"resources": ["../kustomize/base"], "components": parts}
    content["images"] = [{"name": "envoy-agent-authz", "newTag": "latest"}]
    (copy / "all").mkdir()
    (copy / "all" / "kustomization.yaml").write_text(json.dumps(content))
    example: dict[str, Any] = {}
    for path in VALUES:
        if path.stem in {"store-and-signals", "on-behalf"}:
            more = yaml.safe_load(path.read_text())
            example |= more | {"config": example.get("config", {}) | more["config"]}
    del example["networkPolicy"], example["store"]["secretName"]
    values.write_text(json.dumps(example))

    ours = comparable(output("kustomize", "build", str(copy / "all")))
    theirs = comparable(rendered(values))

    for kind in ("Deployment", "Service", "NetworkPolicy"):
        for name in (NAMESPACE, STS):
            assert _sorted(theirs[kind, name]["spec"]) == _sorted(ours[kind, name]["spec"])
    assert theirs["PodDisruptionBudget", STS] == ours["PodDisruptionBudget", STS]


def _sorted(value: Any) -> Any:
    """Return data with its lists in an order: a patch puts what it adds elsewhere."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=partial(json.dumps, sort_keys=True))
    return value


@pytest.mark.needs("kustomize", "kubeconform", "go")
def test_a_kustomization_of_ones_own(tmp_path: Path) -> None:
    """The how-to's kustomization, beside deploy/ and a config, has its image and its config."""
    page = (HOW_TOS / "kubernetes.md").read_text()
    block = re.search(
        r"^ *```yaml\n( *# kustomization.yaml\n.*?)^ *```", page, re.MULTILINE | re.DOTALL
    )
    assert block is not None
    (tmp_path / "kustomization.yaml").write_text(dedent(block[1]))
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "config.yaml").write_text("# of one's own\n")
    (tmp_path / "team-travel.yaml").touch()
    (tmp_path / "revoked.jsonl").touch()

    manifests = output("kustomize", "build", str(tmp_path))

    check_schemas(manifests)
    found = {one["kind"]: one for one in documents(manifests)}
    data = found["ConfigMap"]["data"]
    assert data["config.yaml"] == "# of one's own\n"
    assert set(data) == {"config.yaml", "team-travel.yaml", "revoked.jsonl"}  # no example of ours
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.corp.example/envoy-agent-authz@sha256:")
    assert "PrometheusRule" in found


@pytest.mark.needs("kubeconform", "go")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_kubernetes_reads_what_the_docs_show(page: Path) -> None:
    """Each block of a how-to that is a whole manifest is a valid one."""
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    check_schemas(
        "\n---\n".join(dedent(each) for each in blocks if re.search("(?m)^ *(spec|data):", each))
    )


@pytest.mark.needs("kubeconform", "go")
def test_a_wrong_key_is_found() -> None:
    """The schemas are strict: a key that Kubernetes would ignore is an error."""
    text = (BASE / "disruption-budget.yaml").read_text()
    check_schemas(text)
    where = f"{schemas_folder()}/{TEMPLATE}"

    wrong = text.replace("maxUnavailable", "maxUnavailabel")
    done = said("kubeconform", "-strict", "-schema-location", where, text=wrong)

    assert done.returncode == 1
    assert "maxUnavailabel" in done.stdout


@pytest.mark.needs("helm", "kustomize")
def test_the_chart_is_the_base() -> None:
    """With its defaults the chart renders what the base has, but for the namespace."""
    base = comparable(output("kustomize", "build", str(BASE)))
    del base["Namespace", NAMESPACE]  # helm --create-namespace makes it

    assert comparable(rendered()) == base


@pytest.mark.needs("helm")
@pytest.mark.parametrize(
    "values", [None, *VALUES], ids=lambda path: path.stem if path else "default"
)
def test_helm_lints_the_chart(values: Path | None) -> None:
    """Helm has nothing to say against it, whatever the values."""
    files = ["--values", str(values)] if values else []
    output("helm", "lint", "--strict", "--quiet", str(CHART), *files)


@pytest.mark.needs("helm", "kubeconform", "go")
@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_chart_makes_what_kubernetes_reads(values: Path, tmp_path: Path) -> None:
    """Valid objects, and a config that passes its check, from each file of values."""
    manifests = rendered(values)

    check_schemas(manifests)
    for one in documents(manifests):
        if one["kind"] == "ConfigMap":
            for name, text in one["data"].items():
                (tmp_path / name).write_text(text)
            config = tmp_path / "config.yaml"
            assert run("check", "--strict", "--elsewhere", str(config)) == 0


@pytest.mark.needs("helm")
@pytest.mark.parametrize("values", REFUSED, ids=lambda path: path.stem)
def test_the_chart_refuses(values: Path) -> None:
    """Values that can't work are refused, in the words of the file's first line."""
    words = values.read_text().splitlines()[0].removeprefix("# ")

    done = said("helm", "template", "mesh", str(CHART), *FOR, "--values", str(values))

    assert done.returncode != 0
    assert re.search(re.escape(words), done.stderr), done.stderr


@pytest.mark.needs("helm")
def test_a_change_of_the_config_starts_no_new_pods(tmp_path: Path) -> None:
    """The pods' template is the same after it, as a running server takes the change."""
    changed = tmp_path / "values.yaml"
    changed.write_text("config: {trust_domains: [other.example]}\n")

    before, after = comparable(rendered()), comparable(rendered(changed))

    assert before["ConfigMap", NAMESPACE] != after["ConfigMap", NAMESPACE]
    assert before["Deployment", NAMESPACE] == after["Deployment", NAMESPACE]


@pytest.mark.needs("helm")
def test_the_alerts_are_the_components(tmp_path: Path) -> None:
    """The chart's PrometheusRule has the rules of the monitoring component."""
    values = tmp_path / "values.yaml"
    values.write_text("monitoring: {prometheusRule: {enabled: true}}\n")
    part = DEPLOY / "kustomize" / "components" / "monitoring" / "prometheus-rule.yaml"
    rules: dict[str, Any] = yaml.safe_load(part.read_text())

    assert comparable(rendered(values))["PrometheusRule", NAMESPACE]["spec"] == rules["spec"]


@pytest.mark.needs("helm")
def test_runbooks_are_where_the_values_say(tmp_path: Path) -> None:
    """Each alert of the chart links to the given address, with an anchor of its own."""
    values, address = tmp_path / "values.yaml", "https://docs.corp.example/operate"
    rule = f"{{enabled: true, runbooks: '{address}'}}"
    values.write_text(f"monitoring: {{prometheusRule: {rule}}}\n")

    groups = comparable(rendered(values))["PrometheusRule", NAMESPACE]["spec"]["groups"]

    alerts = [each for group in groups for each in group["rules"] if "alert" in each]
    links = {each["annotations"]["runbook_url"] for each in alerts}
    assert links == {f"{address}#{each['alert'].lower()}" for each in alerts}
    assert len(links) == len(alerts) > 0


@pytest.mark.needs("cmd")
def test_compose_reads_its_file(tmp_path: Path) -> None:
    """compose-go, Compose's own loader, takes it; its program is called cmd, and reads no .env."""
    text = re.sub(
        r"\$\{HOMELAB_[UG]ID[^}]*\}", "1000", (DEPLOY / "compose/compose.yaml").read_text()
    )
    file = tmp_path / "compose.yaml"
    file.write_text(text)

    project = yaml.safe_load(output("cmd", str(file)))

    assert {"envoy", "authz", "upstream", "init"} == set(project["services"])
    file.write_text(text.replace("read_only", "raed_only"))
    assert "raed_only" in said("cmd", str(file)).stderr
