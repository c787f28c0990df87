"""The bootstraps that ask over the network: the shipped one with other certificates."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.starter.envoy_tls import (
    GATEWAY_ID,
    SERVER_ID,
    bootstrap_over_tls,
    bootstrap_with_spire,
    shipped_bootstraps,
)
from authz.starter.template import shipped_bootstrap

MADE = {"tls": bootstrap_over_tls, "spire": bootstrap_with_spire}


def cluster_of(resources: Any, name: str) -> dict[str, Any]:
    """Return a cluster of the static resources."""
    found: dict[str, Any] = next(one for one in resources["clusters"] if one["name"] == name)
    return found


def without_certificates(text: str) -> dict[str, Any]:
    """Return the static resources without what the three files differ in."""
    resources: dict[str, Any] = yaml.safe_load(text)["static_resources"]
    (chain,) = resources["listeners"][0]["filter_chains"]
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]
    chain["transport_socket"]["typed_config"]["common_tls_context"] = context["alpn_protocols"]
    authz = cluster_of(resources, "authz")
    for key in ("type", "load_assignment", "transport_socket"):
        authz.pop(key, None)
    resources["clusters"] = [one for one in resources["clusters"] if one["name"] != "spire_agent"]
    return resources


@pytest.mark.parametrize("kind", MADE)
def test_the_rest_is_the_same(kind: str) -> None:
    """Nothing differs but the certificates, and how agent-authz is reached."""
    assert without_certificates(MADE[kind]()) == without_certificates(shipped_bootstrap())


@pytest.mark.parametrize("kind", MADE)
def test_the_server_is_pinned(kind: str) -> None:
    """The connection to agent-authz says h2, and takes the one SPIFFE ID of agent-authz alone."""
    authz = cluster_of(yaml.safe_load(MADE[kind]())["static_resources"], "authz")
    context = authz["transport_socket"]["typed_config"]["common_tls_context"]
    validation = (
        context.get("validation_context")
        or (context["combined_validation_context"]["default_validation_context"])
    )

    assert context["alpn_protocols"] == ["h2"]
    assert validation["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": SERVER_ID}}
    ]


def test_spire_gives_every_certificate() -> None:
    """With SPIRE the bootstrap names no file, and every secret is asked for at the agent."""
    text = bootstrap_with_spire()
    document = yaml.safe_load(text)
    resources = document["static_resources"]
    (chain,) = resources["listeners"][0]["filter_chains"]
    ours = chain["transport_socket"]["typed_config"]["common_tls_context"]
    theirs = cluster_of(resources, "authz")["transport_socket"]["typed_config"]

    assert "filename" not in text
    assert document["node"].keys() == {"id", "cluster"}
    assert ours["validation_context_sds_secret_config"]["name"] == "ALL"
    for context in (ours, theirs["common_tls_context"]):
        (certificate,) = context["tls_certificate_sds_secret_configs"]
        assert certificate["name"] == GATEWAY_ID
        service = certificate["sds_config"]["api_config_source"]["grpc_services"]
        assert service == [{"envoy_grpc": {"cluster_name": "spire_agent"}}]


def test_the_folder_has_all_of_them() -> None:
    """The folder envoy holds these files, as they are made, and no other."""
    folder = Path(__file__).parents[2] / "envoy"

    assert {path.name: path.read_text() for path in folder.iterdir()} == shipped_bootstraps()
