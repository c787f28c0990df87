"""The settings of token exchange: each mistake has its line, and says what would be right."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from authz.config import ConfigError, load_text
from authz.review.config_check.check import check_config
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import CONFIG, ISSUER

URL = "https://as.corp.example/token"
GOOD = f"url: '{URL}', client_id: a, client_secret_file: /secret"
ROUTE = f"{{issuer: '{ISSUER}', audience: orders}}"


def with_exchange(text: str, route: str = ROUTE) -> ConfigBuilder:
    """The lab's issuer with exchange, in YAML, and its route."""
    return (
        LAB.with_yaml(("issuers", 0, "exchange"), text)
        .with_(("routes", "finance", "upstream_token"), "exchange")
        .with_yaml(("routes", "finance", "exchange"), route)
    )


def text_of(changes: ConfigBuilder) -> str:
    """The lab's config with changes."""
    places = {"socket": "/nowhere/authz.sock", "jwks_uri": "http://127.0.0.1:1/jwks"}
    return changes.edit(CONFIG.format(admin_port=1, drain="1s", audit="/dev/null", **places))


def problems(changes: ConfigBuilder) -> list[str]:
    """What is wrong, with its line."""
    try:
        load_text(text_of(changes).encode(), "test.yaml")
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "keys",
    [
        GOOD,
        f"url: '{URL}', client_id: a, private_key_jwt: {{key_file: /key}}",
        f"url: '{URL}', client_id: a, tls: {{certificate: /c, private_key: /k}}",
        f"url: '{URL}', spiffe_jwt_file: /token",
        f"url: '{URL}', spiffe_jwt_file: /token, client_id: a",
        f"{GOOD}, actor_token: {{file: /token}}, actor: required, subject_claims: [tid, oid]",
        f"{GOOD}, subject: any, accept_opaque: true, accept_scopes: [profile], max_lifetime: 1h",
        f"{GOOD}, subjects_from: ['{ISSUER}'], accept_audiences: [account]",
    ],
)
def test_good(keys: str) -> None:
    """Each way to authenticate, and each key."""
    assert problems(with_exchange(f"{{{keys}}}")) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("client_id: a, client_secret_file: /s", "exchange.url: is required"),
        ("url: 'http://as.example/t', client_id: a, client_secret_file: /s", "over plain http"),
        (f"url: '{URL}'", "only known clients may exchange tokens"),
        (f"url: '{URL}', client_id: a", "client_id needs one of client_secret_file"),
        (f"url: '{URL}', client_secret_file: /s", "client_id is required"),
        (f"{GOOD}, spiffe_jwt_file: /t", "only one of"),
        (f"{GOOD}, timeout: 1m", "exchange.timeout: must be at most 10s"),
        (f"{GOOD}, max_lifetime: 2d", "exchange.max_lifetime: must be at most 1d"),
        (f"{GOOD}, subject: all", "exchange.subject: must be 'same' or 'any'"),
        (f"{GOOD}, subject_claims: []", "exchange.subject_claims"),
        (f"{GOOD}, actor_token: {{}}", "actor_token.file: is required"),
        (f"{GOOD}, subjects_from: ['https://as.corp.exmple']", "did you mean"),
        (f"{GOOD}, secret: s", "exchange.secret: unknown key"),
    ],
)
def test_bad(keys: str, words: str) -> None:
    """Each mistake is told with file and line."""
    found = problems(with_exchange(f"{{{keys}}}"))
    assert any(words in problem for problem in found), found
    assert all(problem.startswith("test.yaml:") for problem in found)
    assert len(found) == 1


def test_an_issuer_of_opaque_tokens_alone() -> None:
    """Without keys no exchanged token could be verified."""
    without = with_exchange(f"{{{GOOD}}}").without(("issuers", 0, "keys"))
    asked = "{url: 'https://as.corp.example/introspect'}"
    changes = without.with_yaml(("issuers", 0, "introspection"), asked)
    (problem,) = problems(changes)
    assert "exchanged tokens are verified with the issuer's keys" in problem
    opaque = changes.with_(("issuers", 0, "exchange", "accept_opaque"), True)
    assert problems(opaque) == []


def test_the_routes_issuer() -> None:
    """It must be configured, and exchange tokens."""
    other = "{issuer: 'https://as.corp.exmple', audience: orders}"
    (problem,) = problems(with_exchange(f"{{{GOOD}}}", other))
    assert "routes[0].exchange.issuer" in problem
    assert f"did you mean {ISSUER}" in problem
    (problem,) = problems(with_exchange(f"{{{GOOD}}}").without(("issuers", 0, "exchange")))
    assert "has no exchange" in problem


def test_check_warns_and_reads_the_files(tmp_path: Path) -> None:
    """``authz check`` warns of exchanges that trust too much, and reads the credential."""
    path, secret = tmp_path / "authz.yaml", tmp_path / "secret"
    secret.write_text("\n")
    keys = f"url: '{URL}', client_id: a, client_secret_file: '{secret}'"
    path.write_text(text_of(with_exchange(f"{{{keys}}}")))
    with pytest.raises(ConfigError, match="exchange: client_secret_file must hold"):
        check_config(path, datetime.now(UTC))
    secret.write_text("secret")
    assert not told(path)
    path.write_text(text_of(with_exchange(f"{{{keys}, subject: any, accept_opaque: true}}")))
    warned = told(path)
    assert any("the issuer alone decides" in words for words in warned)
    assert any("nobody checks whom an opaque token names" in words for words in warned)
    unused = LAB.with_yaml(("issuers", 0, "exchange"), f"{{{keys}}}")
    path.write_text(text_of(unused))
    assert any("no route exchanges tokens there" in words for words in told(path))
    good = with_exchange(f"{{{keys}}}")
    overruled = good.with_(("profiles", "default", "upstream_token"), "forward")
    path.write_text(text_of(overruled))
    assert any("every profile has an upstream_token" in words for words in told(path, "profile"))
    path.write_text(text_of(overruled.with_profile("other", "{}")))
    assert not told(path)


def told(path: Path, word: str = "exchange") -> list[str]:
    """The warnings about exchange."""
    warnings = map(str, check_config(path, datetime.now(UTC)).warnings)
    return [warning for warning in warnings if word in warning]
