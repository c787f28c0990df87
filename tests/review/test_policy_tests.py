"""``authz test``: cases hold a policy, failures are told with their lines, coverage is counted."""

import json
from pathlib import Path

import pytest

from authz import cli
from lab.config_builder import LAB
from lab.mesh import CONFIG
from support.verbs import edit

CASE = """\
cases:
  - name: travel reads for alice
    agent: spiffe://corp.example/ns/agents/sa/travel
    principal: alice
    scopes: ["balance:read"]
    method: GET
    url: https://mcp.corp.example/finance/balance
    expect: allow
    rule: finance-read/0
"""
PAY = """\
  - name: travel does not pay
    agent: spiffe://corp.example/ns/agents/sa/travel
    principal: alice
    scopes: ["payments:write"]
    method: POST
    url: https://mcp.corp.example/finance/payments/7
    expect: deny
"""
READER = """\
  - name: a reader by group, with a claim that is a list
    agent: spiffe://corp.example/ns/agents/sa/travel
    principal: bob
    groups: [readers]
    claims: {realm: {roles: [a, b]}}
    actors: [spiffe://corp.example/ns/agents/sa/orchestrator]
    scopes: []
    at: 2026-11-25T10:00:00Z
    token_age: 5m
    method: GET
    url: https://mcp.corp.example/finance/balance
    expect: scope
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The lab's config, in a file."""
    path = tmp_path / "authz.yaml"
    path.write_text(
        CONFIG.format(
            socket="/nowhere/authz.sock",
            admin_port=0,
            drain="1s",
            jwks_uri="http://127.0.0.1:1/jwks",
            audit="-",
        )
    )
    return path


def run(config: Path, cases: str, *options: str) -> int:
    """The exit status."""
    path = config.parent / "cases.yaml"
    path.write_text(cases)
    return cli.main(["test", str(config), str(path), *options])


def test_cases_as_expected(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes out as expected is counted, and so are the rules that no case covers."""
    assert run(config, CASE + PAY + READER) == 0
    out = capsys.readouterr().out
    assert "3 of 3 as expected" in out
    assert "1 of 3 rules decided a case (33%)" in out
    assert "no case for finance-pay/0" in out
    assert "no case for finance-read/0" not in out


def test_too_little_coverage(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too few rules with a case are a failure."""
    assert run(config, CASE, "--min-coverage", "33") == 0
    assert run(config, CASE, "--min-coverage", "34") == 1
    assert "--min-coverage asks for 34%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("expect: allow", "expect: deny", "expected deny by finance-read/0, got allow by"),
        ("rule: finance-read/0", "rule: public/0", "expected allow by public/0, got allow by"),
        ('["balance:read"]', "[]", "got scope by finance-read/0"),
        ("sa/travel", "sa/nobody", "got agent_unknown"),
        ("sa/travel", "sa/retired", "got agent_suspended"),
        ("/finance/balance", "/finance/%2e%2e/balance", "got path_ambiguous"),
        ("/finance/balance", "/finance//balance", "got path_ambiguous by no rule"),
    ],
)
def test_a_case_that_fails(
    config: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
) -> None:
    """A case that comes out otherwise is told with file, line, and what came instead."""
    assert run(config, CASE.replace(old, new)) == 1
    out = capsys.readouterr().out
    assert "cases.yaml:2: travel reads for alice: expected " in out
    assert told in out
    assert "0 of 1 as expected" in out


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("principal:", "principle:", 4, "did you mean principal?"),
        ("method: GET", "method: get", 6, "is not a method in capitals"),
        ("https://", "", 7, "must be a URL without a query"),
        ("expect: allow", "expect: alow", 8, "did you mean allow?"),
        ("    expect: allow\n", "", 2, "is required"),
        ("agent: spiffe", "agent: http", 3, "spiffe"),
        (
            "rule: finance-read/0",
            "rule: finance-raed/0",
            9,
            "no rule 'finance-raed/0'; did you mean",
        ),
        ("rule: finance-read/0", "issuer: https://as.corp.exmple", 9, "did you mean https://as"),
        ("rule: finance-read/0", "at: 2026-11-25T10:00:00", 9, "a time with its zone"),
    ],
)
def test_a_bad_file_of_cases(  # noqa: PLR0917 - a table's columns
    config: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, line: int, told: str
) -> None:
    """What is wrong in the cases is told with its line, and nothing is run."""
    assert run(config, CASE.replace(old, new)) == 1
    captured = capsys.readouterr()
    assert f"cases.yaml:{line}: " in captured.err
    assert told in captured.err
    assert not captured.out


def test_a_deny_is_covered_by_what_it_denies(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deny covers itself only; a rule that came nearest to an allow is not covered by that."""
    deny = "[{name: no-pay, effect: deny, hosts: ['*'], methods: [POST], paths: [/**]}]"
    edit(config, LAB.with_rules("public", deny))
    assert run(config, "cases:\n" + PAY + "    rule: public/no-pay\n" + READER) == 0
    out = capsys.readouterr().out
    assert "1 of 4 rules decided a case" in out
    assert "no case for finance-read/0" in out
    assert "no case for public/no-pay" not in out


def test_several_issuers(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With several issuers a case says which: subjects are unique only within one."""
    second = """\
- issuer: https://other.example
  keys: {jwks_uri: "https://other.example/jwks"}
  audiences: [https://mcp.corp.example/finance]
  algorithms: [ES256]
"""
    edit(config, LAB.with_items(("issuers",), second, before=1))
    assert run(config, CASE) == 1
    assert "cases.yaml:2: cases[0]: name the issuer" in capsys.readouterr().err
    assert run(config, CASE + "    issuer: https://as.corp.example\n") == 0


def test_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For machines each failure has its place, what was expected and what came."""
    assert run(config, CASE.replace('["balance:read"]', "[]"), "--json") == 1
    told = json.loads(capsys.readouterr().out)
    (failure,) = told.pop("failures")
    assert failure["where"].endswith("cases.yaml:2")
    assert (failure["expected"], failure["got"]) == (
        "allow by finance-read/0",
        "scope by finance-read/0",
    )
    assert told == {
        "cases": 1,
        "rules": 3,
        "uncovered": ["finance-read/0", "finance-pay/0", "public/0"],
        "coverage_percent": 0.0,
    }
