"""Warnings of ``authz check``: what could be meant, and rarely is, at the line that says it."""

from pathlib import Path

import pytest

from authz.cli import main

CONFIG = """\
server: {listen: ["127.0.0.1:9191", "[::1]:9191", "localhost:9191", "unix:/run/authz.sock"]}
trust_domains: [corp.example, other.example]
issuers:
  - issuer: https://as.corp.example
    keys: {jwks_uri: https://as.corp.example/jwks}
    audiences: [https://mcp.corp.example/finance]
    algorithms: [ES256]
routes:
  - {name: tools, paths: [/tools/**, /old/*], protocol: mcp}
  - {name: late, hosts: [a.example], paths: [/late]}
  - {name: named}
agents:
  - {id: spiffe://corp.example/ns/*/sa/travel, grants: [read]}
principals:
  - match: {issuer: https://as.corp.example}
    agents: [spiffe://corp.example/ns/prod/**]
    grants: [calls]
grants:
  read:
    - {hosts: [a.example], methods: [GET], paths: [/read], scopes: []}
  calls:
    - hosts: [a.example]
      methods: ["*"]
      paths: [/tools/mcp]
      scopes: []
      mcp: {tools: [search]}
"""
AZP = "actor: {claim: azp, map: {p1: spiffe://corp.example/ns/agents/sa/travel}}"
ELSEWHERE = "keys: {jwks_uri: https://a.example/}, audiences: [a]"
LISTS = "status_list: {uris: [https://b.example/lists/*, https://b.example/*]}"
# What is written in the place of what; "@@" marks the line of the warning; what it says.
BUDGET = "budget: {limit: 5, per: agent, window: 1h"
DOUBTS = [
    (
        "      mcp: {tools: [search]}",
        f"      mcp: {{tools: [search]}}\n      @@{BUDGET}, when_away: local}}",
        "grants.calls[0].budget.when_away: without a store there is none to be away",
    ),
    (
        "paths: [/read], scopes: []}",
        "@@paths: [/read], scopes: [], headers: {x-agent-mode: [a]}}",
        "x-agent-mode begins as the identity headers do",
    ),
    (
        "grants:\n  read:",
        "@@conditions: {headers: [x-agent-mode]}\ngrants:\n  read:",
        "conditions.headers[0]: x-agent-mode begins as",
    ),
    ('["127.0.0.1:9191", ', '@@["0.0.0.0:9191", ', "server.listen[0]: any client that reaches it"),
    (
        '"localhost:9191"',
        '@@"authz.corp.example:9191"',
        "server.listen[2]: any client that reaches it",
    ),
    *(
        (
            "trust_domains: ",
            f"@@admin: {{listen: '{host}:9192'}}\ntrust_domains: ",
            "admin.listen: ",
        )
        for host in ("0.0.0.0", "[::]", "192.0.2.1", "authz.corp.example", "0177.0.0.1")
    ),
    *(
        (
            "routes:\n",
            f'@@  - {{issuer: "{issuer}", {ELSEWHERE}}}\nroutes:\n',
            "issuers[1].issuer: it stands for many tenants",
        )
        for issuer in (
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "https://login.microsoftonline.com/common/v2.0",
            "https://login.microsoftonline.us/organizations/v2.0",
            "https://sts.windows.net/consumers/",
        )
    ),
    (
        "    algorithms: [ES256]",
        "    algorithms: [ES256]\n    @@accept_unchecked: [status]",
        "issuers[0].accept_unchecked: a token that its issuer has revoked or suspended",
    ),
    (
        "    algorithms: [ES256]",
        f"    algorithms: [ES256]\n    @@{LISTS}",
        "issuers[0].status_list.uris[1]: any path of the server counts as a list",
    ),
    ("  - {name: named}", "@@  - {name: x, paths: [/tools/a]}", "routes[2]: tools comes first"),
    (
        "  - {name: named}",
        "@@  - {name: x, hosts: [b], paths: [/old/a, /tools]}",
        "tools comes first and matches",
    ),
    (
        "  - {name: late, hosts: [a.example], paths: [/late]}\n  - {name: named}",
        "  - {name: all, hosts: ['**.a.example']}\n@@  - {name: x, hosts: ['*.b.a.example']}",
        "routes[2]: all comes first",
    ),
    (
        "[spiffe://corp.example/ns/prod/**]",
        "@@[spiffe://other.example/ns/**]",
        "no entry of agents",
    ),
    ("[spiffe://corp.example/ns/prod/**]", "@@[spiffe://corp.example/ns/a/sa/b]", "agents[0]: no"),
    (
        "    grants: [calls]",
        "    grants: [read]\n#",
        "grants.calls: no agent and no",
    ),
    (
        "      mcp: {tools: [search]}",
        "@@      models: {names: [m]}",
        "no route has protocol",
    ),
    (
        "      mcp: {tools",
        "@@      during: [{not_after: 2026-01-01T00:00:00Z}]\n      mcp: {tools",
        "grants.calls[0].during: all of its times are past",
    ),
    (
        "    algorithms: [ES256]",
        f"    algorithms: [ES256]\n    {AZP}\n    @@person_shown_by: {{idtyp: [user], sub: ['*']}}",
        "issuers[0].person_shown_by.sub: a client's own token has",
    ),
    (
        "[GET], paths: [/read]",
        "@@[GET, POST], paths: [/read, /**]",
        "grants.read[0].paths[1]: it allows plain requests beside the route tools, so also unread",
    ),
    ("[a.example], methods: [GET], paths: [/read]", "@@['*'], methods: ['*'], paths: [/**]", "mcp"),
    ("[GET], paths: [/read]", "@@['*'], paths: ['/{any}/**']", "beside the route tools"),
    (
        "match: {issuer: https://as.corp.example}\n",
        "match: {issuer: https://as.corp.example, groups: [g]}\n@@    if_absent: deny\n",
        "principals[0].if_absent: the entry is not suspended",
    ),
]
FINE = [
    *(
        ("trust_domains: ", f"admin: {{listen: '{host}:0'}}\ntrust_domains: ")
        for host in ("127.0.0.1", "127.9.9.9", "localhost", "[::1]")
    ),
    ("trust_domains: ", "admin: {listen: '0.0.0.0:9192', exposed: true}\ntrust_domains: "),
    ("  - {name: named}", "  - {name: x, paths: [/tools/a, /new]}"),
    (
        "  - {name: late, hosts: [a.example], paths: [/late]}",
        "  - {name: all, hosts: ['*.corp.example']}\n  - {name: x, hosts: ['**.corp.example']}",
    ),
    ("  - {name: named}", "  - {name: x, paths: [/old/a/b]}"),
    ("  - {name: tools, paths: [/tools/**, /old/*]", "  - {name: tools, hosts: [b], paths: [/**]"),
    ("[spiffe://corp.example/ns/prod/**]", "[spiffe://corp.example/ns/prod/sa/travel]"),
    (
        "      mcp: {tools",
        "      during: [{not_after: 2026-01-01T00:00:00Z}, {days: [mon]}]\n      mcp: {tools",
    ),
    ("[GET], paths: [/read]", "[GET], paths: [/**]"),
    ("[GET], paths: [/read]", "['*'], paths: [/read/**, /tool/**, /tools/a]"),
    ("[GET], paths: [/read]", "['*'], paths: [/tools/**]"),
    ("[a.example], methods: [GET], paths: [/read]", "[b.example], methods: ['*'], paths: [/**]"),
    ("methods: [GET], paths: [/read], scopes: []", "methods: ['*'], paths: [/**], effect: deny"),
]


def warned(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings about a config, and how often they count."""
    path = folder / "authz.yaml"
    path.write_text(text)
    assert main(["check", str(path)]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert main(["check", "--strict", str(path)]) == bool(warnings)
    capsys.readouterr()
    return warnings


@pytest.mark.parametrize(("old", "new", "words"), DOUBTS)
def test_doubts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    """Each is one warning with its line; it fails only where that is asked."""
    assert CONFIG.count(old) == 1
    text = CONFIG.replace(old, new)
    (warning,) = warned(text.replace("@@", ""), tmp_path, capsys)

    at = text.index("@@") if "@@" in text else text.index("  calls:\n")
    line = text[:at].count("\n") + 1
    assert warning.startswith(f"warning: {tmp_path}/authz.yaml:{line}: ")
    assert words in warning


@pytest.mark.parametrize(("old", "new"), [("", ""), *FINE])
def test_no_doubt(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str) -> None:
    """What is usual is no reason to warn."""
    assert warned(CONFIG.replace(old, new), tmp_path, capsys) == []


def test_budgets_that_workers_count_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a store each worker counts for itself; alone, or with a store, it is no doubt."""
    text = CONFIG.replace("[search]}", f"[search]}}\n      {BUDGET}}}")
    sockets = CONFIG[CONFIG.index("{listen") : CONFIG.index("}") + 1]
    several = text.replace(sockets, '{listen: "unix:/run/{worker}.sock", workers: 3}')
    (warning,) = warned(several, tmp_path, capsys)
    assert "grants.calls[0].budget: each of the 3 workers counts for itself" in warning
    store = "store: {url: 'unix:///run/valkey.sock'}\n"
    assert not warned(text, tmp_path, capsys)
    assert not any("workers" in line for line in warned(store + several, tmp_path, capsys))


def test_clients_that_pass_for_persons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry for any subject of an issuer without act is met by clients' tokens, if any is."""
    mapped = CONFIG.replace("    algorithms: [ES256]", f"    algorithms: [ES256]\n    {AZP}")
    said = f"{AZP}\n    person_shown_by: {{idtyp: [user]}}"
    issuer = "{issuer: https://as.corp.example}"
    (warning,) = warned(mapped, tmp_path, capsys)

    assert "principals[0].match: it matches any subject" in warning
    for text in (
        mapped.replace(AZP, said),
        mapped.replace(AZP, f"{AZP}\n    kind: keycloak"),  # whose tokens tell
        mapped.replace(issuer, issuer.replace("}", ", groups: [staff]}")),
        mapped.replace(issuer, issuer.replace("}", ", subjects: [alice]}")),
    ):
        assert warned(text, tmp_path, capsys) == []


def test_clients_that_no_route_lets_act(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A client's own token is autonomous: to list it means nothing without such a route."""
    text = CONFIG.replace("    algorithms: [ES256]", f"    algorithms: [ES256]\n    {AZP}")
    text = text.replace("as.corp.example}", "as.corp.example, subjects: [alice, p1]}")
    (warning,) = warned(text, tmp_path, capsys)

    assert "principals[0].match.subjects[1]: a client's own token is autonomous" in warning
    text = text.replace("{name: named}", "{name: named, modes: [autonomous], token: required}")
    assert warned(text, tmp_path, capsys) == []


def test_an_agents_own_token_needs_a_route_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An agent that is listed as a principal by its SPIFFE ID acts for itself as well."""
    agent = "spiffe://corp.example/ns/agents/sa/travel"
    text = CONFIG.replace("as.corp.example}", f"as.corp.example, subjects: ['{agent}']}}")
    (warning,) = warned(text, tmp_path, capsys)

    assert "principals[0].match.subjects[0]: a client's own token is autonomous" in warning


def test_agents_without_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A product whose client ids are no SPIFFE IDs needs a map, or all is refused."""
    okta = CONFIG.replace("    algorithms: [ES256]", "    kind: okta")
    okta = okta.replace(
        "{issuer: https://as.corp.example}", "{issuer: https://as.corp.example, subjects: [a]}"
    )
    (warning,) = warned(okta, tmp_path, capsys)
    assert "issuers[0].kind: cid of okta is no SPIFFE ID" in warning
    (warning,) = warned(okta.replace("kind: okta", "kind: spring"), tmp_path, capsys)
    assert "issuers[0].kind: act.sub of spring is no SPIFFE ID" in warning

    actor = "{map: {p1: spiffe://corp.example/ns/agents/sa/travel}}"
    for text in (
        okta.replace("kind: okta", f"kind: okta\n    actor: {actor}"),
        okta.replace("kind: okta", "kind: keycloak"),
        okta.replace("kind: okta", "kind: spire"),
    ):
        assert warned(text, tmp_path, capsys) == []
