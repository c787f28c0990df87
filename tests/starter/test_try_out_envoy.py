"""The bootstrap that is written for trying: as hardened as the shipped one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.starter.bootstrap import bootstrap_text
from authz.starter.config_text import config_text, yaml_text
from authz.starter.settings import StarterSettings
from authz.starter.template import cut, replace_all, shipped_bootstrap

ODD = StarterSettings(Path("a b/null#1"), trust_domain="other.example", port=9443)


def parts(text: str) -> tuple[Any, Any, Any]:
    """Return a bootstrap's listener, its connection manager and its cluster for the server."""
    resources = yaml.safe_load(text)["static_resources"]
    (listener,) = resources["listeners"]
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    cluster = next(one for one in resources["clusters"] if one["name"] == "authz")
    return chain["transport_socket"]["typed_config"], manager["typed_config"], cluster


def test_hardening_is_that_of_the_shipped_bootstrap() -> None:
    """Nothing differs but files, the trust domain, routes and the server's address."""
    made, shipped = parts(bootstrap_text(ODD)), parts(shipped_bootstrap())
    for tls, manager, cluster in (made, shipped):
        context = tls["common_tls_context"]
        (certificate,) = context.pop("tls_certificates")
        validator = context["validation_context"]["custom_validator_config"]["typed_config"]
        (domain,) = validator.pop("trust_domains")
        assert certificate.keys() == {"certificate_chain", "private_key"}
        assert domain.keys() == {"name", "trust_bundle"}
        manager.pop("route_config")
        cluster.pop("load_assignment")

    assert made == shipped


def test_what_differs() -> None:
    """Addresses are on loopback, odd names are quoted, there is no admin address."""
    text = bootstrap_text(ODD)
    document = yaml.safe_load(text)
    tls, _, cluster = parts(text)
    (domain,) = tls["common_tls_context"]["validation_context"]["custom_validator_config"][
        "typed_config"
    ]["trust_domains"]
    (listener,) = document["static_resources"]["listeners"]

    assert document.keys() == {"static_resources"}
    assert domain == {
        "name": "other.example",
        "trust_bundle": {"filename": "a b/null#1/ca.pem"},
    }
    assert listener["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 9443}}
    assert listener["enable_reuse_port"] is False
    assert "127.0.0.1, port_value: 9191" in text
    assert "corp.example" not in text
    assert cluster["load_assignment"]["cluster_name"] == "authz"


def test_an_upstream() -> None:
    """A host and port become the only route's cluster."""
    text = bootstrap_text(StarterSettings(Path("try"), upstream=("up.example", 8080)))
    (cluster,) = yaml.safe_load(text)["static_resources"]["clusters"][1:]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]

    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "up.example",
        "port_value": 8080,
    }
    assert "direct_response" not in text
    assert "route: {cluster: upstream}" in text


def test_names_in_the_config() -> None:
    """Folders with odd names and other trust domains are written as YAML reads them back."""
    config = yaml.safe_load(config_text(ODD))

    assert config["issuers"][0]["keys"] == {"file": "a b/null#1/jwks.json"}
    assert config["trust_domains"] == ["other.example"]
    assert config["issuers"][0]["audiences"] == ["https://localhost:9443"]


@pytest.mark.parametrize(
    "text",
    [
        "try",
        "null",
        "1",
        "1e5",
        "0x1f",
        "a: b",
        "-",
        "",
        "yes",
        "é",
        "1.2.3.4",
        "::1",
        "~",
        "...",
        ".",
        "---",
    ],
)
def test_texts_stay_texts(text: str) -> None:
    """Whatever a name is, YAML reads it as that text."""
    assert yaml.safe_load(yaml_text(text)) == text


def test_a_changed_template_is_noticed() -> None:
    """A text that the template lacks is an error, not a silent difference."""
    with pytest.raises(KeyError, match="no such text"):
        replace_all("abc", {"no such text": ""})
    for words in (("x", ""), ("a", "x")):
        with pytest.raises(KeyError, match="'x'"):
            cut("a\nb\n", *words)
    assert cut("a\nb\nc\n", "b", "c") == "a\nc\n"
