"""``authz suggest --diff`` changes the list that is meant, and nothing that only looks like it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from authz.config import load
from support.verbs import run

ISSUER = "https://as.corp.example"
ONE, TWO = "spiffe://corp.example/one", "spiffe://corp.example/two"
CONFIG = """\
server: {listen: "unix:/tmp/authz.sock"}
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys: {jwks_uri: "https://as.corp.example/jwks"}
    audiences: [a]
    algorithms: [ES256]
    typ: [at+jwt]
principals:
  - {match: {issuer: "https://as.corp.example", subjects: [alice]}, grants: [wide]}
grants:
  g:
    - {hosts: [h.example], methods: [GET], paths: [/a], scopes: []}
  wide:
    - {hosts: [h.example], methods: [GET], paths: [/**], scopes: []}
"""


def denied(**members: object) -> dict[str, Any]:
    """The audit record of a request of the first agent that policy refused."""
    texts = ("detail", "rule", "principal_rule", "policy_version")
    return {
        **dict.fromkeys(texts, ""),
        "decision": "deny",
        "reason": "policy_denied",
        "agent": ONE,
        "principal": "alice",
        "issuer": ISSUER,
        "actors": [{"iss": ISSUER, "sub": ONE}],
        "mode": "act",
        "scopes": [],
        "method": "GET",
        "host": "h.example",
        "path": "/b",
        "time": "2026-11-25T10:00:00Z",
        "by_policy": True,
        **members,
    }


def suggested(
    folder: Path, agents: str, records: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> str:
    """The diff that is suggested for a config with these agents."""
    path, log = folder / "authz.yaml", folder / "log"
    path.write_text(CONFIG + agents)
    load(path)
    log.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert run("suggest", str(path), "--audit", str(log), "--denied", "--diff") == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "agents",
    [
        f'agents: [{{id: "{ONE}", "grants": [g]}}, {{id: "{TWO}", grants: [g]}}]\n',
        f'agents:\n  - {{id: "{ONE}", description: "grants: [g]", "grants": [g]}}\n',
        f'agents:\n  - {{id: "{ONE}", "grants": [g]}} # was: grants: [g]\n',
    ],
    ids=["another agent's", "a text", "a comment"],
)
def test_what_only_looks_like_the_list_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], agents: str
) -> None:
    """No text, comment or list of another agent is changed: the change is told, with its place."""
    told, _, diff = suggested(tmp_path, agents, [denied()], capsys).partition("---")
    assert re.match(r'# .*authz\.yaml:\d+: grants could be \["g", "suggested-1"\]\n', told)
    assert "authz.yaml" not in diff


def test_nothing_to_change_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a change the diff is empty: `patch` takes that, and refuses a blank line."""
    agents = f'agents:\n  - {{id: "{ONE}", grants: [g]}}\n'
    assert suggested(tmp_path, agents, [denied(reason="scope")], capsys) == ""


@pytest.mark.parametrize("scope", ["a\u2028b", "a\\b", 'a"b', "a\x7fb", "ä"])
def test_a_scope_that_no_rule_can_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scope: str
) -> None:
    """No rule is proposed for it, as the file with all the others could not be loaded."""
    agents = f'agents:\n  - {{id: "{ONE}", grants: [g]}}\n'
    records = [denied(scopes=[scope]), denied(path="/c")]
    diff = suggested(tmp_path, agents, records, capsys)
    assert '+      paths: ["/c"]' in diff
    assert '"/b"' not in diff
