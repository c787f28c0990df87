"""The token service that token requests are fuzzed with, and its rules as plain data besides."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from authz.core.decision import Agent
from authz.core.reason import Denied, Reason
from authz.core.revocations import Revocation
from authz.core.sts.consent import ConsentAsked, ConsentFound, ConsentToCall
from authz.core.sts.errors import TokenRequestDenied
from authz.core.sts.outcome import Outcome, TokenFacts
from authz.core.sts.request import read_request
from authz.core.sts.service import TokenService, refusal
from authz.edge.token_form import read_form
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    HOTEL,
    IDP,
    ORCHESTRATOR,
    PARTNER,
    STS,
    TRAVEL,
    WEBAPP,
    Service,
    tenants,
)

Ask = Callable[[TokenService, bytes, str | None, Agent, float], Outcome]

CALL: Final = "https://corp.example/call"  # details that restrict a token
APPROVAL: Final = "https://corp.example/approval"  # details that add to it
SUSPENDED: Final = "spiffe://corp.example/ns/agents/sa/suspended"
REVOKED: Final = "spiffe://corp.example/ns/agents/sa/revoked"
REVOKED_ID: Final = "revoked-id"
PREFIXES: Final = {IDP: "a:", PARTNER: "b:"}
TOKEN_ID: Final = "id-of-the-new-token"
CONSENT_SECONDS: Final = 90
EVERY: Final = frozenset({"trips:plan", "trips:book", "hotels:book"})
# What agents' own grants name.
GRANTED: Final = {
    ORCHESTRATOR: EVERY,
    TRAVEL: frozenset({"trips:plan", "hotels:book"}),
    HOTEL: frozenset({"hotels:book"}),
}


@dataclass(frozen=True)
class Rule:
    """A rule of the config below: who, for which tokens, and what for."""

    agent: str
    subject_audiences: frozenset[str]
    via: frozenset[str]
    audiences: tuple[str, ...]
    scopes: frozenset[str]
    seconds: int = 300
    details: frozenset[str] = frozenset()
    needs_consent: bool = False
    issuers: frozenset[str] = frozenset({IDP, PARTNER})


RULES: Final = (
    Rule(
        ORCHESTRATOR,
        frozenset({WEBAPP}),
        frozenset(),
        (AT_TRAVEL, STS),
        EVERY,
        details=frozenset({CALL, APPROVAL}),
    ),
    Rule(
        ORCHESTRATOR,
        frozenset(),
        frozenset(),
        (AT_ORDERS, AT_HOTEL),
        frozenset({"trips:plan"}),
        60,
        issuers=frozenset({PARTNER}),
    ),
    Rule(TRAVEL, frozenset({AT_TRAVEL}), frozenset({ORCHESTRATOR}), (AT_HOTEL,), EVERY),
    Rule(
        HOTEL,
        frozenset({AT_HOTEL}),
        frozenset({TRAVEL}),
        (AT_ORDERS,),
        frozenset({"hotels:book"}),
        60,
        needs_consent=True,
    ),
)
_PARTNERS: Final = f"""    - name: partners
      agents: [{ORCHESTRATOR}]
      principals: [{{issuer: {PARTNER}}}]
      audiences: [{AT_ORDERS}, {AT_HOTEL}]
      scopes: [trips:plan]
      lifetime: 1m
    - name: second
"""
_CHANGES: Final = (
    (
        "    typ: [at+jwt, JWT]",
        (
            "    typ: [at+jwt, JWT]\n    accept_unchecked: [authorization_details]\n"
            f"    approval_types: [{APPROVAL}]"
        ),
    ),
    (f"jwks_uri: {PARTNER}/jwks}}", f"jwks_uri: {PARTNER}/jwks}}\n    one_time: true"),
    ("agents:\n", f"agents:\n  - {{id: {SUSPENDED}, grants: [travel], suspended: true}}\n"),
    (
        f"      subject_audiences: [{WEBAPP}]",
        f"      subject_audiences: [{WEBAPP}]\n      authorization_details: [{CALL}, {APPROVAL}]",
    ),
    ("    - name: second\n", _PARTNERS),
)


def config(*changes: tuple[str, str]) -> str:
    """Return the config, with further texts replaced, each of which it must have."""
    text = tenants(PREFIXES[IDP], PREFIXES[PARTNER]).rstrip() + "\n      consent: required\n"
    for old, new in (*_CHANGES, *changes):
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def covers(asked: Mapping[str, Any]) -> bool:
    """Whether there is consent: alice's alone, to small calls, and never to all scopes."""
    amounts = [detail.get("amount") for detail in asked["details"]]
    return (
        asked["subject"] == "alice"
        and set(asked["scopes"]) <= {"hotels:book", "trips:plan"}
        and all(type(amount) is int and amount < 100 for amount in amounts)
    )


def consent_name(detail: Mapping[str, Any]) -> str:
    """The name of the consent to a call: the same for all tokens."""
    return sha256(json.dumps(detail, sort_keys=True).encode()).hexdigest()


class Consents:
    """The consents of principals, until some time after each question."""

    def require(self, asked: ConsentAsked, now: float) -> ConsentFound:
        """Return the consent, or raise Denied(APPROVAL_REQUIRED)."""
        given = {"subject": asked.subject, "scopes": asked.scopes, "details": asked.details}
        if not covers(given):
            raise Denied(Reason.APPROVAL_REQUIRED, "no consent")
        until = now + CONSENT_SECONDS
        calls = [ConsentToCall(consent_name(detail), now, until) for detail in asked.details]
        return ConsentFound("consent", until, calls=tuple(calls))


def revoked() -> Iterable[Revocation]:
    """Yield what is revoked: an agent, a principal, and a token of each of two issuers."""
    yield Revocation(agent=REVOKED)
    yield Revocation(issuer=IDP, subject="mallory")
    yield Revocation(issuer=IDP, token_id=REVOKED_ID)
    yield Revocation(issuer=STS, token_id=REVOKED_ID)


@lru_cache(1)
def service() -> Service:
    """Return the service with its issuers' keys, made once."""
    return Service(config(), consents=Consents(), revoked=revoked())


def ask(core: TokenService, form: bytes, proof: str | None, client: Agent, now: float) -> Outcome:
    """Answer the bytes of a form, as the server does before it signs."""
    try:
        request = read_request(read_form(form), proof)
    except TokenRequestDenied as denied:
        return refusal(denied, TokenFacts(client))
    return core.decide(client, request, TOKEN_ID, now)
