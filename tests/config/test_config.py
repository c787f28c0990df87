"""The config: every error at once, each at its line, with what would be right."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config import ConfigError, load, load_text, schema
from authz.config.yaml_document import parse
from lab.mesh import CONFIG

GOOD = CONFIG.format(
    socket="/run/authz/authz.sock",
    admin_port=9192,
    drain="5s",
    jwks_uri="http://127.0.0.1:1/jwks",
    audit="-",
)


def problems(text: str) -> list[str]:
    """The problems of a config, as ``line: place: message``."""
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "f.yaml")
    return [line.removeprefix("f.yaml:") for line in caught.value.lines()]


def line_of(text: str, part: str) -> int:
    """The number of the first line that holds a text."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def test_the_labs_config_is_good() -> None:
    """The config that demo and tests run is taken."""
    config = load_text(GOOD.encode(), "f.yaml")

    assert config.cache.entries == 50_000
    keys = config.issuers[0].keys
    assert keys is not None
    assert keys.refresh == 60.0


def test_one_address_or_several() -> None:
    """An address stands alone or in a list; what is no address is an error at its line."""
    several = GOOD.replace('"unix:/run/authz/authz.sock"', '["unix:/a", "127.0.0.1:9191"]')
    config = load_text(several.encode(), "f.yaml")

    assert config.server.listen == ("unix:/a", "127.0.0.1:9191")
    assert load_text(GOOD.encode(), "f").server.listen == ("unix:/run/authz/authz.sock",)
    for wrong in ("[]", "5", "nonsense", "[unix:a]", "{a: b}"):
        found = problems(GOOD.replace('"unix:/run/authz/authz.sock"', wrong))
        assert any(problem.startswith("2: server.listen") for problem in found), found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("trust_domains:", "trust_domians:", "unknown key; did you mean trust_domains?"),
        ("algorithms:", "algorithm:", "unknown key; did you mean algorithms?"),
        ("refresh: 60s", "refrehs: 60s", "unknown key; did you mean refresh?"),
        ("refresh: 60s", "refresh: 60", "a duration must be a whole number and a unit"),
        ("cooldown: 1s", "cooldown: 10ms", "must be at least 1s"),
        ("insecure: true", "insecure: false", "use https, or set insecure: true"),
        ("insecure: true", "insecure: yes", "write true, not yes"),
        ("[ES256, RS256, PS256, Ed25519]", "[HS256]", "HS256 is never accepted"),
        ("[ES256, RS256, PS256, Ed25519]", "[]", "must not be empty"),
        ("trust_domains: [corp.example]", "trust_domains: [Corp.example]", "a-z"),
        ("sa/travel\n", "sa/travel/\n", "empty segment or a trailing slash"),
        ("sa/travel\n", "sa/payments\n", "already"),
        ("spiffe://corp.example/ns/agents/sa/travel", "spiffe://evil.example/x", "trust_domains"),
        ("grants: [finance-read, public]", "grants: [finance-raed]", "no grant 'finance-raed'"),
        ("grants: [finance-read, public]", "grants: []", "must not be empty"),
        ("subjects: [alice]", "subjects: []", "an empty list matches nobody"),
        (
            "match: {issuer: https://as.corp.example, groups",
            "match: {issuer: https://x, groups",
            "byte for byte",
        ),
        ("methods: [GET]", "methods: [get]", "a method in capitals"),
        ("paths: [/finance/**]", "paths: [finance]", "must start with '/'"),
        ("paths: [/finance/**]", "paths: [/finance/**/x]", "only at the end"),
        ("paths: [/finance/**]", "paths: [/finance/..]", "dot segment"),
        ("hosts: [mcp.corp.example]", "hosts: [MCP.corp.example]", "lower case"),
        ("hosts: [mcp.corp.example]", "hosts: []", "must not be empty"),
        ('scopes: ["balance:read"]', 'scopes: ["balance read"]', "must be one word"),
        ("suspended: true", "suspended: 1", "must be true or false"),
        ("  drain: 5s\n", "  drain: 5s\n  drain: 6s\n", "is already on line"),
        ("trust_domains: [corp.example]", "trust_domains: &a [corp.example]\nx: *a", "anchors"),
        ("trust_domains: [corp.example]", "trust_domains: !!python/name:os.system", "tags"),
        ("audit: {path:", "audit: {when_full: maybe, path:", "'drop' or 'deny'"),
        ("certificate: required", "certificate: never", "'optional' or 'required'"),
        ("    audiences: [https://mcp.corp.example/finance]\n", "", "audiences: is required"),
    ],
)
def test_one_mistake(old: str, new: str, expected: str) -> None:
    """A mistake is reported at its line, with what would be right."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    found = problems(text)

    assert any(expected in problem for problem in found), found
    at = line_of(text, new.strip().splitlines()[0]) if new else line_of(text, "- issuer:")
    lines = {int(problem.partition(":")[0]) for problem in found}
    assert any(at <= line <= at + 2 for line in lines), (at, found)


def test_all_mistakes_at_once() -> None:
    """Mistakes of different kinds in different places come in one list, in the order of lines."""
    text = GOOD.replace("trust_domains:", "trust_domians:").replace("methods: [POST]", "methods: 5")
    text = text.replace("[finance-read, finance-pay]", "[finance-read, nothing]")
    found = problems(text)
    lines = [int(problem.partition(":")[0]) for problem in found]

    assert len(found) == 3
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("- a\n", "a mapping"),
        ("!", "tags such as !"),
        ("null", "a mapping"),
        ("a: [", "not YAML"),
        ("a: b: c\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("\t", "not YAML"),
        ("? [a]\n: b\n", "plain text"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper"),
    ],
)
def test_no_config(text: str, expected: str) -> None:
    """What is not a config at all is said so."""
    assert any(expected in problem for problem in problems(text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, and bytes that are no text, are errors with the file's name."""
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match="No such file"):
        load(missing)
    missing.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(missing)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("true", True),
        ("null", None),
        ("0o17", "0o17"),
        ("-5", -5),
        ("1.5", 1.5),
        ("9223372036854775808", 2**63),
        ("1e3", "1e3"),
        ("2026-11-24", "2026-11-24"),
        ("'true'", "true"),
        ("'5'", "5"),
    ],
)
def test_yaml_scalars(text: str, value: object) -> None:
    """Words mean what they say: YAML's surprises are text."""
    assert parse(f"a: {text}".encode(), "f").data == {"a": value}


@given(st.text(max_size=80))
def test_any_text(text: str) -> None:
    """Any text is refused with a list of problems, never with another error."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    with pytest.raises(ConfigError) as caught:
        load_text(data, "f")
    assert caught.value.problems


def test_schema_describes_every_section() -> None:
    """The schema names every section, and forbids what is not known."""
    document = schema()

    assert set(document["properties"]) >= {"server", "issuers", "agents", "principals", "grants"}
    assert document["additionalProperties"] is False
    assert all("description" in one or "$ref" in one for one in document["properties"].values())
