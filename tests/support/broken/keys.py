"""Keys that are misspelt, missing, twice, in the wrong place, or of another product."""

from typing import Final

from support.broken.base import Broken

_SCOPES: Final = '      scopes: ["orders:read"]\n'
KEYS: Final = (
    # misspelt, at each depth
    Broken("trust_domains:", "@@trust_domians:", "trust_domians: unknown key", "trust_domains?"),
    Broken("trust_domains:", "@@trustDomains:", "trustDomains: unknown key", "trust_domains?"),
    Broken("trust_domains:", "@@Trust_domains:", "unknown key", "did you mean trust_domains?"),
    Broken("  drain:", "@@  drian:", "server.drian: unknown key", "did you mean drain?"),
    Broken("refresh:", "@@refrehs:", "issuers[0].keys.refrehs: unknown key", "refresh?"),
    Broken("      methods:", "@@      method:", "[0].method: unknown key", "did you mean methods?"),
    Broken("      claim: act", "@@      claims: act", "actor.claims: unknown key", "claim?"),
    Broken("jwks_uri:", "@@jwksUri:", "keys.jwksUri: unknown key", "did you mean jwks_uri?"),
    Broken("audiences:", "@@audience:", "audience: unknown key", "did you mean audiences?"),
    # another product's names
    Broken("issuers:", "@@providers:", "providers: unknown key", "here it is called issuers"),
    Broken("grants:\n  o", "@@rules:\n  o", "rules: unknown key", "here it is called grants"),
    Broken(
        "      groups:", "@@      subject:", "subject: unknown key", "here it is called subjects"
    ),
    Broken(
        "  drain: 5s", "  drain: 5s\n@@  port: 9191", "server.port: unknown key", "part of listen"
    ),
    Broken(
        "jwks_uri: https://as.corp.example/jwks", "@@secret: x", "secret: unknown", "HMAC is never"
    ),
    Broken("admin:", "@@dry_run: true\nadmin:", "dry_run: unknown key", "here it is called shadow"),
    Broken("admin:", "@@log_level: debug\nadmin:", "unknown key", "authz serve --log-level"),
    Broken("server:", "@@apiVersion: v1\nserver:", "apiVersion: unknown key", "leave it out"),
    Broken(_SCOPES, f"{_SCOPES}@@      allow: true\n", "allow: unknown key", "effect says it"),
    Broken(_SCOPES, f"{_SCOPES}@@      condition: x\n", "condition: unknown", "it is called when"),
    # in the wrong place
    Broken(
        "    keys:\n      jwks_uri: https://as.corp.example/jwks\n      refresh: 5m\n",
        "@@    jwks_uri: https://as.corp.example/jwks\n    keys: {file: /dev/null}\n",
        "issuers[0].jwks_uri: unknown key",
        "write keys: {jwks_uri: https://...}",
    ),
    # missing
    Broken("trust_domains: [corp.example]\n", "", "trust_domains: is required", "is required"),
    Broken(
        "    audiences: [https://orders.corp.example]\n    al",
        "    al",
        "audiences: is",
        "required",
    ),
    Broken("      issuer: https://as.corp.example\n", "", "match.issuer: is required", "required"),
    Broken(_SCOPES, "", "scopes: an allow must list the scopes", "[] requires none"),
    Broken(
        "\n    grants: [orders-read]\nprin", "\nprin", "agents[0]: give it grants", "or set unr"
    ),
    Broken(
        "    keys:\n      jwks_uri: https://as.corp.example/jwks\n      refresh: 5m\n",
        "",
        "issuers[0].keys: keys are required",
        "as in keys: {jwks_uri:",
    ),
    # twice, or two that contradict
    Broken("  drain: 5s", "  drain: 5s\n@@  drain: 6s", "server.drain: this key is", "on line 3"),
    Broken(
        "      refresh: 5m",
        "@@      discovery: true",
        "jwks_uri and discovery both say where the keys are",
        "keep one of them",
    ),
    Broken(
        "routes:\n",
        "routes:\n  - name: orders\n    hosts: [a.corp.example]\n    paths: [/a/**]\n",
        "routes[1].name: orders is already defined",
        "on line 28",
    ),
    Broken(
        "principals:\n",
        "@@  - id: spiffe://corp.example/ns/agents/sa/travel\n    suspended: true\nprincipals:\n",
        "sa/travel is already defined",
        "on line 20",
    ),
)
