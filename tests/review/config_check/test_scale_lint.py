"""Warnings of ``authz check`` on policies in which nothing can make decisions cheap."""

from datetime import UTC, datetime

from authz.config import load_text
from authz.review.config_check.lint import config_warnings
from authz.review.config_check.scale import MANY

HEAD = """\
server: {listen: ["unix:/run/authz.sock"]}
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys: {jwks_uri: https://as.corp.example/jwks}
    audiences: [https://mcp.corp.example/finance]
    algorithms: [ES256]
"""
NOW = datetime(2026, 3, 25, 12, tzinfo=UTC)


def warned(entries: str, rules: str) -> list[str]:
    """The warnings on a config with these principals and these rules of one grant."""
    agents = "agents: [{id: spiffe://corp.example/a, grants: [read]}]\n"
    text = f"{HEAD}{agents}principals: [{entries}]\ngrants: {{read: [{rules}]}}\n"
    config = load_text(text.encode(), "authz.yaml")
    return [f"{place}: {message}" for place, message in config_warnings(config, NOW)]


def entries(match: str, count: int) -> str:
    """So many entries, in whose match "#" is the entry's number."""
    one = f"{{match: {{issuer: https://as.corp.example{match}}}, grants: [read]}}"
    return ", ".join(one.replace("#", str(number)) for number in range(count))


def rules(path: str, count: int) -> str:
    """So many rules, in whose path "#" is the rule's number."""
    one = f"{{hosts: [a.example], methods: [GET], paths: [{path}], scopes: [s#]}}"
    return ", ".join(one.replace("#", str(number)) for number in range(count))


def test_entries_that_match_the_same() -> None:
    """More than 1,000 entries are doubted if nothing in their match tells them apart."""
    (warning,) = warned(entries(", groups: [g]", MANY + 1), rules("/**", 1))

    assert warning.startswith("('principals', 0, 'match'): 1001 entries match the same as this one")
    assert not warned(entries(", groups: [g]", MANY), rules("/**", 1))
    assert not warned(entries(", groups: [g#]", MANY + 1), rules("/**", 1))


def test_rules_about_the_same() -> None:
    """More than 1,000 rules of one holder are doubted if they are about the same path."""
    warnings = warned(entries("", 1), rules("/x/**", MANY + 1))

    assert [warning.split(":")[0] for warning in warnings] == [
        "('agents', 0, 'grants')",
        "('principals', 0, 'grants')",
    ]
    assert "it holds 1001 rules about GET a.example/x/**" in warnings[0]
    assert not warned(entries("", 1), rules("/x/**", MANY))
    assert not warned(entries("", 1), rules("/x/#/**", MANY + 1))
