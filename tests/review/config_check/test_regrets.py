"""Warnings of `authz check` on what a server starts with, and its operator would regret."""

from pathlib import Path
from typing import Final

import pytest

from authz.cli import main

# "@" stands for the test's folder.
CONFIG: Final = """\
server: {listen: "unix:@/a.sock"}
trust_domains: [corp.example]
issuers:
  - issuer: https://as.corp.example
    keys: {jwks_uri: https://as.corp.example/jwks}
    audiences: [https://mcp.corp.example/finance]
routes:
  - {name: tools, hosts: [mcp.corp.example], paths: [/mcp], protocol: mcp}
agents:
  - {id: spiffe://corp.example/ns/agents/sa/travel, grants: [read]}
principals:
  - match: {issuer: https://as.corp.example}
    grants: [read]
grants:
  read:
    - {hosts: [mcp.corp.example], methods: [GET], paths: [/read], scopes: []}
"""
FIRST: Final = "server: "
AUDIENCE: Final = "    audiences: [https://mcp.corp.example/finance]\n"
SPIRE: Final = "workload_api: 'unix:/run/spire.sock'"
SPIRES: Final = "    kind: spire\n"
# All until then.
HEAD: Final = CONFIG[: CONFIG.index(AUDIENCE) + len(AUDIENCE)]
SHORT: Final = "##    one_time: true\n    max_lifetime: 5m\n"
MATCH: Final = "{issuer: https://as.corp.example}"
AZP: Final = (
    f"{AUDIENCE}    actor: {{claim: azp, map: {{a: spiffe://corp.example/ns/agents/sa/a}}}}\n"
)
# A file of TLS is not looked at by what warns here.
TLS: Final = "tls: {workload_api: 'unix:/run/spire.sock', allowed_callers: ['spiffe://%s/gw/*']}"
OTHER_CALLERS: Final = "##profiles: {p: {callers: ['spiffe://corp.example/other']}}"
DIRECT: Final = "identity: xfcc, direct: true"
AGENT: Final = "spiffe://corp.example/ns/agents/sa/travel"
STRIPS: Final = "{upstream_token: strip}"
NONCE_SECRET: Final = 'token: {dpop: {nonce: required, nonce_secret: "@/nonce"}}'
LITERAL: Final = "it is taken letter by letter"
# What is replaced, by what, and what is said of it; "##" marks the line of the warning.
REGRETS: Final = {
    "shadow": (FIRST, f"##shadow: true\n{FIRST}", "shadow: every request that the rules refuse"),
    "admin": (
        FIRST,
        f"##admin: {{listen: '0.0.0.0:9192'}}\n{FIRST}",
        "admin.listen: others may reach it",
    ),
    "TLS on a unix socket": (
        '"unix:@/a.sock"',
        f'##"unix:@/a.sock", {TLS % "corp.example"}',
        "server.tls: unix sockets have no TLS",
    ),
    "a caller's domain misspelt": (
        '"unix:@/a.sock"',
        f'##"127.0.0.1:9191", {TLS % "crop.example"}',
        "allowed_callers[0]: crop.example is not one of trust_domains; did you mean corp.example?",
    ),
    "a profile for a proxy that can't ask": (
        '"unix:@/a.sock"}',
        f'"127.0.0.1:9191", {TLS % "corp.example"}}}\n{OTHER_CALLERS}',
        "profiles.p.callers[0]: server.tls.allowed_callers lets no such proxy ask",
    ),
    "a profile for a proxy without a name": (
        FIRST,
        f"##profiles: {{p: {{callers: ['spiffe://corp.example/gw']}}}}\n{FIRST}",
        "profiles.p.callers[0]: only server.tls shows which proxy calls",
    ),
    "agents that may ask as proxies do": (
        '"unix:@/a.sock"',
        '##"127.0.0.1:9191", ' + (TLS % "corp.example").replace("/gw/*", "/ns/*/sa/*"),
        "allowed_callers[0]: agents such as spiffe://corp.example/ns/agents/sa/travel match it",
    ),
    "agents that may write xfcc": (
        FIRST,
        f"##profiles: {{p: {{identity: xfcc, trusted_proxies: ['spiffe://corp.example/**']}}}}\n{FIRST}",
        "profiles.p.trusted_proxies[0]: agents such as",
    ),
    "an agent that is a proxy where it connects directly": (
        FIRST,
        f"##profiles: {{p: {{{DIRECT}, trusted_proxies: ['{AGENT}']}}}}\n{FIRST}",
        "profiles.p.trusted_proxies[0]: it is an agent as well: where it connects directly, the",
    ),
    "a route's word on the token that no profile leaves to it": (
        "protocol: mcp}",
        f"##protocol: mcp, upstream_token: forward}}\nprofiles: {{default: {STRIPS}, p: {STRIPS}}}",
        "routes[0].upstream_token: it has no effect: each profile has its own upstream_token",
    ),
    "a default for the token that no profile leaves to it": (
        FIRST,
        f"profiles: {{default: {STRIPS}}}\n##token: {{forward: true}}\n{FIRST}",
        "token.forward: it has no effect: each profile has its own upstream_token",
    ),
    "nonces of each worker": (
        '"unix:@/a.sock"}',
        '"unix:@/{worker}.sock", workers: 2}\n##token: {dpop: {nonce: required}}',
        "token.dpop.nonce: each of the 2 workers makes nonces that the others refuse",
    ),
    "one-time tokens of each worker": (
        HEAD,
        HEAD.replace("/a.sock", "/{worker}.sock").replace('"}', '", workers: 2}') + SHORT,
        "issuers[0].one_time: each of the 2 workers lets a token pass once: set store",
    ),
    "one-time tokens that last": (
        AUDIENCE,
        f"{AUDIENCE}##    one_time: true\n",
        "issuers[0].one_time: each used token is remembered until its end: set max_lifetime",
    ),
    "one-time tokens that workloads have": (
        f"{{jwks_uri: https://as.corp.example/jwks}}\n{AUDIENCE}",
        f"{{spiffe_bundle: {{trust_domain: corp.example, {SPIRE}}}}}\n{AUDIENCE}{SPIRES}{SHORT}",
        "issuers[0].one_time: most JWT-SVIDs have no jti and no iat: each without is refused",
    ),
    "one-time tokens that can't be named": (
        AUDIENCE,
        f"{AUDIENCE}{SHORT}    kind: entra\n    actor: {{claim: azp, map: {{a: '{AGENT}'}}}}\n",
        "issuers[0].one_time: tokens of entra have no jti: all are refused",
    ),
    "a word on an absent store, without a store": (
        FIRST,
        f"##replay: {{when_away: local}}\n{FIRST}",
        "replay.when_away: it has no effect without store",
    ),
    "revocations while a store is away, without a store": (
        FIRST,
        f"##revocations: {{when_away: serve}}\n{FIRST}",
        "revocations.when_away: it has no effect without store",
    ),
    "revocations after a store is away, without a store": (
        FIRST,
        f"##revocations: {{away_after: 5m}}\n{FIRST}",
        "revocations.away_after: it has no effect without store",
    ),
    **{
        f"the placeholder {placeholder}": (
            AUDIENCE,
            f"##    audiences: ['https://{placeholder}/']\n",
            f"issuers[0].audiences[0]: nothing fills in {placeholder}: {LITERAL}",
        )
        for placeholder in ("${HOST}", "${env:HOST}", "$HOST", "{{ .host }}", "$(HOST)", "<host>")
    },
    "a placeholder in a key's URL": (
        "https://as.corp.example/jwks",
        "##'https://as.corp.example/$TENANT/jwks'",
        "issuers[0].keys.jwks_uri: nothing fills in $TENANT",
    ),
    "a placeholder in a path": (
        "[/read]",
        "##[/$TENANT/read]",
        "grants.read[0].paths[0]: nothing fills in $TENANT",
    ),
    "a placeholder in a claim": (
        MATCH,
        f"##{MATCH[:-1]}, claims: {{tid: ['${{TENANT}}']}}}}",
        "principals[0].match.claims.tid[0]: nothing fills in ${TENANT}",
    ),
    "a pattern of audiences": (
        AUDIENCE,
        "##    audiences: ['https://*.corp.example/']\n",
        "issuers[0].audiences[0]: audiences are compared byte for byte",
    ),
    "an issuer of no principal": (
        "routes:",
        "##  - {issuer: b, keys: {jwks_uri: https://b.example/}, audiences: [b]}\nroutes:",
        "issuers[1].issuer: no entry of principals has it in match",
    ),
    "any principal of a mapped issuer": (
        AUDIENCE,
        AZP,
        "principals[0].match: it matches any subject of an issuer without act",
    ),
    "a person shown by an issuer": (
        AUDIENCE,
        f"{AZP}##    person_shown_by: {{iss: [https://as.corp.example]}}\n",
        "issuers[0].person_shown_by.iss: a client's own token has an iss too",
    ),
    "a person shown by any scope": (
        AUDIENCE,
        f"{AZP}##    person_shown_by: {{scope: ['*']}}\n",
        "issuers[0].person_shown_by.scope: a client's own token has a scope too",
    ),
    "a whole host beside a route of MCP": (
        "[GET], paths: [/read]",
        "##['*'], paths: [/**]",
        "grants.read[0].paths[0]: it allows plain requests beside the route tools",
    ),
}
FINE: Final = {
    "as it is": ("", ""),
    "a domain of the proxies": (
        '"unix:@/a.sock"',
        f'"127.0.0.1:9191", {TLS % "infra.example"}',
    ),
    "an agent that is a proxy where nobody connects directly": (
        FIRST,
        f"profiles: {{p: {{identity: xfcc, trusted_proxies: ['{AGENT}']}}}}\n{FIRST}",
    ),
    "a route's word on the token that one profile leaves to it": (
        "protocol: mcp}",
        f"protocol: mcp, upstream_token: forward}}\nprofiles: {{p: {STRIPS}}}",
    ),
    "a shared secret of nonces": (
        '"unix:@/a.sock"}',
        f'"unix:@/{{worker}}.sock", workers: 2}}\n{NONCE_SECRET}',
    ),
    "paths of OData": ("[/read]", "[/$metadata, '/{id}/$value', '/a/{id}']"),
    "a note": ("scopes: []", "scopes: [], description: 'as in ${HOST}, {{ host }} or <host>'"),
    "a condition": (
        "routes:",
        "conditions: {claims: [plan]}\nroutes:",
    ),
    "a person shown by scopes of persons": (
        AUDIENCE,
        f"{AZP}    person_shown_by: {{scope: [p]}}\n",
    ),
    "reading all beside a route of MCP": ("[GET], paths: [/read]", "[GET], paths: [/**]"),
    "another host whole": (
        "[mcp.corp.example], methods: [GET], paths: [/read]",
        "[a.corp.example], methods: ['*'], paths: [/**]",
    ),
}


def warned(
    old: str, new: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], int]:
    """The warnings about a changed config, and the line of the mark."""
    assert old in CONFIG
    text = CONFIG.replace(old, new, 1)
    path = folder / "authz.yaml"
    path.write_text(text.replace("##", "").replace("@", str(folder)))
    (folder / "nonce").write_bytes(b"n" * 32)
    (folder / "nonce").chmod(0o600)
    assert main(["check", str(path)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "note: " not in line]
    assert main(["check", "--strict", str(path)]) == bool(warnings)
    capsys.readouterr()
    return warnings, text[: text.find("##")].count("\n") + 1 if "##" in text else 0


@pytest.mark.parametrize("name", REGRETS)
def test_regrets(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each is one warning with its line; it fails only where that is asked."""
    old, new, words = REGRETS[name]
    (warning,), line = warned(old, new, tmp_path, capsys)

    assert words in warning
    assert warning.startswith(f"warning: {tmp_path}/authz.yaml:{line or ''}")


@pytest.mark.parametrize("name", FINE)
def test_no_regret(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The nearest that is meant so is no reason to warn."""
    assert warned(*FINE[name], tmp_path, capsys) == ([], 0)


@pytest.mark.parametrize("claims", ["azp: [a]", "iss: [b], scope: [c]"])
def test_claims_of_every_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], claims: str
) -> None:
    """An entry is met by a client's own token too, if that has each claim that the entry names."""
    old = CONFIG[CONFIG.index(AUDIENCE) : CONFIG.index(MATCH) + len(MATCH)]
    new = old.replace(AUDIENCE, AZP).replace(MATCH, f"##{MATCH[:-1]}, claims: {{{claims}}}}}")
    (warning,), line = warned(old, new, tmp_path, capsys)

    assert warning.startswith(f"warning: {tmp_path}/authz.yaml:{line}: principals[0].match: it")
    assert warned(old, new.replace(claims, "dept: [a]"), tmp_path, capsys)[0] == []
