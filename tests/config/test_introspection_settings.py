"""The settings of introspection: each mistake has its line, and says what would be right."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from authz.config import ConfigError, load_text
from authz.review.config_check.check import check_config
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import AUDIENCE, CONFIG

URL = "https://as.corp.example/introspect"
TLS = "{certificate: /c, private_key: /k}"


def text_of(changes: ConfigBuilder) -> str:
    """The lab's config with changes."""
    return changes.edit(
        CONFIG.format(
            socket="/nowhere/authz.sock",
            admin_port=1,
            drain="1s",
            jwks_uri="http://127.0.0.1:1/jwks",
            audit="/dev/null",
        )
    )


def with_introspection(text: str) -> ConfigBuilder:
    """The lab's issuer with introspection, in YAML, and without keys."""
    return LAB.without(("issuers", 0, "keys")).with_yaml(("issuers", 0, "introspection"), text)


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
        "{url: 'https://as.corp.example/introspect'}",
        "{url: 'https://as.corp.example/i', client_id: a, client_secret_file: /secret}",
        "{url: 'https://as.corp.example/i', client_id: a, private_key_jwt: {key_file: /key}}",
        "{url: 'https://as.corp.example/i', client_id: a, tls: {certificate: /c, private_key: /k}}",
        "{url: 'http://127.0.0.1:1/i', insecure: true, prefixes: [ory_at_, 'a+b/']}",
    ],
)
def test_good(keys: str) -> None:
    """Keys may be left out or empty then."""
    assert problems(with_introspection(keys)) == []
    assert problems(with_introspection(keys).with_(("issuers", 0, "keys"), {})) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("{}", "introspection.url: is required"),
        ("{url: 'http://as.example/i'}", "introspection.url: over plain http"),
        ("{url: 'ftp://as.example/i'}", "introspection.url: must be an https:// URL"),
        ("{url: U, client_id: a}", "client_id needs one of client_secret_file, private_key_jwt"),
        ("{url: U, client_secret_file: /s}", "with client_secret_file, client_id is required"),
        (
            "{url: U, client_id: a, client_secret_file: /s, private_key_jwt: {key_file: /k}}",
            "introspection.private_key_jwt: only one of",
        ),
        ("{url: U, client_id: a, private_key_jwt: {}}", "private_key_jwt.key_file: is required"),
        (
            "{url: U, client_id: a, private_key_jwt: {key_file: /k, algorithm: HS256}}",
            "private_key_jwt.algorithm: HS256 signs with a shared secret",
        ),
        ("{url: U, client_id: a, tls: {certificate: /c}}", "tls.private_key: is required"),
        ("{url: U, signed: required}", "introspection.signed: a signed answer names client_id"),
        (
            "{url: U, signed: required, client_id: a, client_secret_file: /s}",
            "introspection.signed: signed answers are verified with the issuer's keys",
        ),
        ("{url: U, signed: yes}", "introspection.signed: must be 'optional' or 'required'"),
        ("{url: U, max_age: 2h}", "introspection.max_age: must be at most 1h"),
        ("{url: U, max_age: 0s}", "introspection.max_age: must be at least 1s"),
        ("{url: U, timeout: 1m}", "introspection.timeout: must be at most 10s"),
        ("{url: U, prefixes: ['a b']}", "must be the first characters of a token"),
        ("{url: U, prefixes: [a, a]}", "the prefix a is already listed on line"),
        ("{url: U, secret: s}", "introspection.secret: unknown key"),
        (
            "{url: 'http://a.example/i', insecure: true, client_id: a, tls: TLS}",
            "introspection.url: a client certificate is shown over https only",
        ),
    ],
)
def test_bad(keys: str, words: str) -> None:
    """Each mistake is told with file and line."""
    found = problems(
        with_introspection(keys.replace("url: U", f"url: '{URL}'").replace("TLS", TLS))
    )
    assert any(words in problem for problem in found), found
    assert all(problem.startswith("test.yaml:") for problem in found)
    assert len(found) == 1


def test_keys_are_required_without_it() -> None:
    """An issuer without introspection needs keys, left out or empty."""
    for changes in (
        LAB.without(("issuers", 0, "keys")),
        LAB.with_(("issuers", 0, "keys"), {}),
    ):
        (problem,) = problems(changes)
        assert "issuers[0].keys: keys are required" in problem


def test_two_without_prefixes() -> None:
    """Between two issuers an opaque token must be told by its beginning."""
    second = (
        f"[{{issuer: 'https://b.example', audiences: ['{AUDIENCE}'],"
        f" introspection: {{url: '{URL}'}}}}]"
    )
    (problem,) = problems(
        with_introspection(f"{{url: '{URL}'}}").with_items(("issuers",), second, before=1)
    )
    assert "issuers[1].introspection: it has no prefixes" in problem
    assert "on line" in problem


def test_check_warns_and_reads_the_files(tmp_path: Path) -> None:
    """``authz check`` warns of an endpoint that answers everybody, and reads the credential."""
    path = tmp_path / "authz.yaml"
    path.write_text(text_of(with_introspection(f"{{url: '{URL}'}}")))
    warnings = check_config(path, datetime.now(UTC)).warnings
    assert any("must know who asks" in str(warning) for warning in warnings)
    secret = tmp_path / "secret"
    secret.write_text("\n")
    given = f"{{url: '{URL}', client_id: a, client_secret_file: '{secret}'}}"
    path.write_text(text_of(with_introspection(given)))
    with pytest.raises(ConfigError, match="introspection: client_secret_file must hold"):
        check_config(path, datetime.now(UTC))
    secret.write_text("secret")
    warnings = check_config(path, datetime.now(UTC)).warnings
    assert not any("must know who asks" in str(warning) for warning in warnings)
