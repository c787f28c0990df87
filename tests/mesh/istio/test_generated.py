"""Istio's own control plane, on the manifests of deploy: what it sends, and what each trap does.

``AUTHZ_RECORD=1 make test-mesh`` rewrites what ``tests/e2e/test_istio.py`` runs.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from mesh.istio.pilot import FLAG, XFCC, World, shipped
from mesh.istio.recording import essence
from support.istio.recorded import FOLDER, OVERLAY, Sent, recorded
from support.istio.stock import ext_authz_of, filters_of, http_of, nodes

pytestmark = pytest.mark.needs("pilot-generate", "kustomize")

# What the analyzer misses in our cluster, which has no more than pilot needs for what it sends.
MISSED = {
    "IST0101": "the Secret of the gateway's certificate",
    "IST0102": "labels of namespaces where Istio injects",
    "IST0127": "a workload with a sidecar",
    "IST0146": "the injector's webhook",
    "IST0147": "the injector's webhook",
    "IST0162": "the gateway's Service",
}


@pytest.fixture(scope="module")
def world() -> World:
    """The manifests as kustomize builds them, in a cluster."""
    return shipped()


@pytest.fixture(scope="module")
def sent(world: World, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Sent]:
    """What each proxy gets."""
    return world.sent(tmp_path_factory.mktemp("shipped"))


def bare(world: World) -> World:
    """Return a world whose waypoint lacks the annotation."""
    changed = world.copy()
    del changed.find("Gateway", "waypoint")["metadata"]["annotations"][XFCC]
    return changed


def two_providers(world: World) -> World:
    """Return a world where bodies of MCP alone are sent, as the how-to has it."""
    changed = world.copy()
    (provider,) = changed.mesh["extensionProviders"]
    plain = {**provider["envoyExtAuthzGrpc"]}
    del plain["includeRequestBodyInCheck"]
    changed.mesh["extensionProviders"].append(
        {"name": "agent-authz-plain", "envoyExtAuthzGrpc": plain}
    )
    policy = changed.find("AuthorizationPolicy", "agents-of-ledger")
    policy["spec"]["rules"] = [{"to": [{"operation": {"paths": ["/mcp"]}}]}]
    other = yaml.safe_load(yaml.safe_dump(policy))
    other["metadata"]["name"] = "agents-of-ledger-plain"
    other["spec"]["provider"] = {"name": "agent-authz-plain"}
    other["spec"]["rules"] = [{"to": [{"operation": {"notPaths": ["/mcp"]}}]}]
    return World(changed.mesh, [*changed.objects, other], {FLAG: "true"})


def provider(world: World) -> dict[str, object]:
    """Return the settings of the provider, to be changed."""
    settings: dict[str, object] = world.mesh["extensionProviders"][0]["envoyExtAuthzGrpc"]
    return settings


def hold(name: str, found: Sent) -> None:
    """Require that what was sent is what is checked in, or write it."""
    if os.environ.get("AUTHZ_RECORD"):
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(found.text())
    assert found == recorded(name), "AUTHZ_RECORD=1 make test-mesh records it anew"


@pytest.mark.parametrize("name", ["sidecar", "gateway", "waypoint"])
def test_what_is_sent_was_recorded(sent: Mapping[str, Sent], name: str) -> None:
    """The recorded configuration is what Istio sends for the manifests today."""
    hold(name, essence(name, sent[name]))


def test_a_waypoint_without_the_annotation_was_recorded(world: World, tmp_path: Path) -> None:
    """Likewise for a waypoint without the annotation."""
    hold("waypoint-bare", essence("waypoint", bare(world).sent(tmp_path)["waypoint"]))


def test_two_providers_were_recorded(world: World, tmp_path: Path) -> None:
    """Likewise for a sidecar with two providers, and pilot's flag."""
    found = two_providers(world).sent(tmp_path)["sidecar"]
    hold("sidecar-two-providers", essence("sidecar", found))


@pytest.mark.parametrize("name", ["sidecar", "gateway", "waypoint"])
def test_each_proxy_asks_as_the_provider_says(sent: Mapping[str, Sent], name: str) -> None:
    """Timeout, status and bodies arrive in each kind of proxy; nothing passes without an answer."""
    (asked,) = ext_authz_of(essence(name, sent[name]).chain())

    assert asked["grpc_service"]["timeout"] == "1s"
    assert asked["status_on_error"] == {"code": "ServiceUnavailable"}
    assert not asked.get("failure_mode_allow")
    assert asked["with_request_body"] == {
        "max_request_bytes": 65536,
        "allow_partial_message": True,
        "pack_as_bytes": True,
    }


@pytest.mark.parametrize("name", ["sidecar", "gateway", "waypoint"])
def test_each_proxy_knows_agent_authz(sent: Mapping[str, Sent], name: str) -> None:
    """Each shows its own certificate over HTTP/2, and takes agent-authz's ID alone."""
    cluster = essence(name, sent[name]).authz_cluster()
    text = json.dumps(cluster)

    assert "spiffe://corp.example/ns/agent-authz/sa/agent-authz" in text
    assert "http2_protocol_options" in text
    assert '"h2"' in text


def test_without_the_flag_two_providers_deny_everything(world: World, tmp_path: Path) -> None:
    """Two providers on a workload need a flag of pilot; without it nothing passes."""
    changed = two_providers(world)
    found = World(changed.mesh, changed.objects).sent(tmp_path)["sidecar"]

    assert denies_everything(found)


def test_an_unknown_service_denies_everything(world: World, tmp_path: Path) -> None:
    """A provider whose Service Istio does not know lets nothing pass."""
    changed = world.copy()
    provider(changed)["service"] = "agent-authz.agent-authz"

    assert denies_everything(changed.sent(tmp_path)["sidecar"])


def test_a_port_with_another_name_is_no_grpc(world: World, tmp_path: Path) -> None:
    """Without the name grpc and appProtocol the proxy speaks no HTTP/2, and no check arrives."""
    changed = world.copy()
    (port, *_) = changed.find("Service", "agent-authz")["spec"]["ports"]
    port["name"] = "authz"
    port.pop("appProtocol", None)
    found = essence("sidecar", changed.sent(tmp_path)["sidecar"]).authz_cluster()

    text = json.dumps(found)
    assert "explicit_http_config" not in text
    assert '"h2"' not in text


def test_the_defaults_are_no_choice(world: World, tmp_path: Path) -> None:
    """Left out, a check may take ten minutes, and an outage looks like a refusal."""
    changed = world.copy()
    for key in ("timeout", "statusOnError"):
        del provider(changed)[key]
    (asked,) = ext_authz_of(essence("sidecar", changed.sent(tmp_path)["sidecar"]).chain())

    assert asked["grpc_service"]["timeout"] == "600s"
    assert asked.get("status_on_error", {"code": "Forbidden"}) == {"code": "Forbidden"}


def test_the_injector_adds_an_agent_without_privileges(world: World, tmp_path: Path) -> None:
    """Its agent starts first and takes no traffic; the pod still fits a restricted namespace."""
    pod = world.injected(tmp_path)["spec"]["template"]["spec"]
    agent, server = pod["containers"]
    env = {one["name"]: one.get("value") for one in agent["env"]}
    certificates = Path(env["OUTPUT_CERTS"])
    config = yaml.safe_load((OVERLAY / "config" / "config.yaml").read_text())

    assert (agent["name"], server["name"]) == ("istio-proxy", "authz")
    assert agent["image"] != "auto"
    assert env["DISABLE_ENVOY"] == "true"
    assert "initContainers" not in pod
    for container in (agent, server):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
    mounted = {one["mountPath"] for one in server["volumeMounts"]}
    files = (config["server"]["tls"][key] for key in ("certificate", "private_key", "client_ca"))
    assert str(certificates) in mounted
    assert {Path(file).parent for file in files} == {certificates}


def test_the_analyzer_misses_only_what_a_cluster_has(world: World, tmp_path: Path) -> None:
    """Istio's analyzer finds nothing wrong with the manifests themselves."""
    found = world.analyzed(tmp_path)

    assert [line for line in found if not any(f"[{code}]" in line for code in MISSED)] == []


def test_the_analyzer_reads_the_manifests(world: World, tmp_path: Path) -> None:
    """It notices a route of a Gateway that is not there, so it did read the manifests."""
    changed = world.copy()
    route = changed.find("VirtualService", "ledger")
    route["spec"]["gateways"] = ["no-such-gateway"]

    assert any("no-such-gateway" in line for line in changed.analyzed(tmp_path))


def denies_everything(sent: Sent) -> bool:
    """Tell whether each chain for the workload refuses all requests by a rule of its own."""
    chains = [one for one in sent.chains() if http_of(one)["http_filters"]]
    rules = [one for chain in chains for one in filters_of(chain, "http.rbac.v3.RBAC")]
    denying = [one for one in rules if one.get("rules", {}).get("action") == "DENY"]
    return any(any_request(one) for one in denying) and not any(map(ext_authz_of, chains))


def any_request(rbac: object) -> bool:
    """Tell whether a rule is about all requests."""
    return any(one.get("any") is True for one in nodes(rbac))
