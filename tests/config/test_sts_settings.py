"""The ``sts`` section: configs by which two people could become one, or nobody gets a token."""

import pytest

from authz.config import Config, ConfigError, load_text
from support.token_service import AT_TRAVEL, CONFIG, IDP, ORCHESTRATOR, PARTNER, STS, tenants

RULES = "  rules:\n"
SUBJECT = f"  subjects: [{{issuer: {IDP}}}]\n"


def load(text: str) -> Config:
    """Load a config."""
    return load_text(text.encode(), "authz.yaml")


def problems(text: str) -> str:
    """Return what is said of a config that is refused."""
    with pytest.raises(ConfigError) as refused:
        load(text)
    return str(refused.value)


def test_good() -> None:
    """One issuer needs no subjects, two need prefixes; the token endpoint is below the issuer."""
    found = load(CONFIG).sts
    assert found is not None
    assert found.token_endpoint == f"{STS}/token"
    assert found.tls.client_ca == "ca.pem"
    load(tenants("corp:", "partner:"))
    load(tenants("a:", "ab:"))
    load(CONFIG.replace(RULES, SUBJECT + RULES))


def _passed_on(claim: str, own: str) -> str:
    """Return the config with a claim that is passed on, and a line in our own entry of issuers."""
    subject = SUBJECT.replace("}]", f", claims: [{claim}]}}]")
    return CONFIG.replace(RULES, subject + RULES).replace(
        f"  - issuer: {STS}\n", f"  - issuer: {STS}\n    {own}\n"
    )


MERGED = {
    "two issuers without subjects": (
        tenants("corp:", "partner:")
        .replace(f'    - {{issuer: {IDP}, prefix: "corp:", claims: [groups]}}\n', "")
        .replace(f'    - {{issuer: {PARTNER}, prefix: "partner:"}}\n', "")
        .replace("  subjects:\n", ""),
        "subjects is required with 2 issuers beside the token service",
    ),
    "no prefixes": (tenants("", ""), "neither may be the beginning of the other"),
    "one prefix": (tenants("", "partner:"), "neither may be the beginning of the other"),
    "the same prefix": (tenants("x:", "x:"), "neither may be the beginning of the other"),
    "a prefix without an end": (tenants("corp", "partner:"), "prefix"),
    "a prefix within another": (tenants("x:", "x:y:"), "prefix"),
    "agents' names": (tenants("spiffe:", "partner:"), "could pass for agents"),
    "one claim of two issuers": (
        tenants("corp:", "partner:").replace('"partner:"}', '"partner:", claims: [groups]}'),
        "nobody could tell whose it is",
    ),
    "a claim that the service writes": (
        tenants("corp:", "partner:").replace("[groups]", "[sub]"),
        "the token service writes this claim itself",
    ),
    "a claim that is about the subject token": (
        tenants("corp:", "partner:").replace("[groups]", "[nonce]"),
        "the token service writes this claim itself",
    ),
    "scopes of another issuer": (
        _passed_on("permissions", "scope_claim: permissions"),
        "sts.subjects[0].claims[0]: servers read permissions in our own tokens",
    ),
    "an actor by another issuer": (
        _passed_on("agent", "actor: {claim: agent}"),
        "servers read agent in our own tokens",
    ),
    "an actor claim of a wrong type": (
        _passed_on("agent", "actor: {claim: {agent: x}}"),
        "actor.claim",
    ),
    "one of several actors by another issuer": (
        _passed_on("agent", "actor: {claim: [azp, agent]}"),
        "servers read agent in our own tokens",
    ),
    "an actor by another issuer, by the kind of product": (
        _passed_on("cid", "kind: okta"),
        "servers read cid in our own tokens",
    ),
    "its own issuer as another": (
        CONFIG.replace(RULES, f"  subjects: [{{issuer: {STS}}}]\n{RULES}"),
        "tokens of our own are taken in any case",
    ),
    "an unknown issuer": (
        CONFIG.replace(RULES, f"  subjects: [{{issuer: {IDP}/}}]\n{RULES}"),
        "is not one of the issuers",
    ),
    "ID tokens of an issuer whose users are unknown": (
        tenants("corp:", "partner:").replace(
            f'    - {{issuer: {IDP}, prefix: "corp:", claims: [groups]}}\n', ""
        ),
        "list the issuer in sts.subjects",
    ),
    "a rule for principals of an unknown issuer": (
        CONFIG.replace(
            "      agents: [", "      principals: [{issuer: https://x.example}]\n      agents: [", 1
        ),
        "is not one of the issuers",
    ),
    "an issuer listed twice": (
        CONFIG.replace(RULES, f"  subjects: [{{issuer: {IDP}}}, {{issuer: {IDP}}}]\n{RULES}"),
        "is listed twice",
    ),
    "a rule's name twice": (CONFIG.replace("name: second", "name: first"), "is listed twice"),
    "no rules": (CONFIG[: CONFIG.index("  rules:\n")] + "  rules: []\n", "rules"),
    "no issuer's URL": (
        CONFIG.replace(f"sts:\n  issuer: {STS}", "sts:\n  issuer: http://sts.corp.example"),
        "must be an https:// URL",
    ),
    "an issuer with a query": (
        CONFIG.replace(f"sts:\n  issuer: {STS}", f"sts:\n  issuer: {STS}?x=1"),
        "without a query",
    ),
    "no client_ca": (CONFIG.replace(", client_ca: ca.pem", ""), "client_ca"),
    "CAs for two trust domains": (
        CONFIG.replace("[corp.example]", "[corp.example, partner.example]", 1),
        "one must not vouch for another's agents",
    ),
    "CAs for an unknown trust domain": (
        CONFIG.replace("client_ca: ca.pem", "client_ca: ca.pem, trust_domains: [x.example]"),
        "x.example is not one of trust_domains",
    ),
    "a life without end": (CONFIG.replace(RULES, f"  lifetime: 2d\n{RULES}"), "lifetime"),
    "an audience with a blank": (
        CONFIG.replace(f"      audiences: [{AT_TRAVEL}", '      audiences: ["a b"', 1),
        "audiences",
    ),
    "an agent that is no SPIFFE ID": (
        CONFIG.replace(f"agents: [{ORCHESTRATOR}]", "agents: [orchestrator]"),
        "agents",
    ),
}


@pytest.mark.parametrize("case", MERGED)
def test_refused(case: str) -> None:
    """Each is told, in words that name what would be right."""
    text, words = MERGED[case]
    assert words in problems(text)


def test_several_trust_domains() -> None:
    """With several, the section says whose agents its CAs may vouch for."""
    several = CONFIG.replace("[corp.example]", "[corp.example, partner.example]", 1)
    load(several.replace("client_ca: ca.pem", "client_ca: ca.pem, trust_domains: [corp.example]"))
