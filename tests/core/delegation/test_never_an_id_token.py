"""ID tokens of six vendors stay out, and what has no scopes is an agent's own, however open."""

import random
from collections import Counter
from typing import Final

from authz.core.issuer_kind import IssuerKind
from support.judged import judge
from support.token_kinds import (
    API,
    CLIENT,
    MODES,
    NOW,
    TRAVEL,
    Members,
    id_token,
    issuer,
    token,
)

TOKENS: Final = 3000
ALL: Final[Members] = {"typ": ["JWT", "JOSE", "at+jwt"], "audiences": [API, CLIENT]}
# What a token may say of whoever signed in, by which an operator might take it for a person's.
SHOWN: Final = ("auth_time", "amr", "email", "preferred_username", "name", "sid", "sub", "aud")


def opened(r: random.Random) -> Members:
    """The settings of an issuer, in which most is open that can be."""
    made: Members = issuer(r) | r.choice([{}, ALL])
    if r.random() < 0.3:
        made["kind"] = r.choice([kind.value for kind in IssuerKind])
    if made["actor"]["claim"] != "act" and r.random() < 0.5:
        made["person_shown_by"] = {r.choice(SHOWN): ["*"]}
    if r.random() < 0.2 and made["actor"]["claim"] != "act":
        made["actor"] = made["actor"] | {"claim": r.choice(["iss", ["azp", "sub"], "sub", "email"])}
    return made


def test_no_id_token_is_accepted() -> None:
    """The ID tokens of six vendors are refused, whatever is opened; for many reasons."""
    r = random.Random(65)
    seen: Counter[str] = Counter()
    for _ in range(TOKENS):
        at, made, modes = opened(r), id_token(r), r.choice(MODES)
        reason = judge(at, made, modes, TRAVEL, NOW).reason

        assert reason, (made, at, modes)
        seen[reason] += 1
    assert {"token_audience", "actor_missing", "actor_not_permitted"} <= set(seen), seen
    assert seen["token_typ"] > TOKENS / 3, seen


def test_without_scopes_a_plain_token_is_an_agents_own() -> None:
    """Even of a subject that the config gives to the agent: it acts for itself, or not at all."""
    r = random.Random(66)
    seen: Counter[str] = Counter()
    for _ in range(TOKENS):
        at, modes = opened(r), r.choice(MODES)
        made = id_token(r) if r.random() < 0.5 else token(r, at)
        made.claims.pop(at["scope_claim"], None)
        made.typ = r.choice(["JWT", "JOSE", ""])
        if r.random() < 0.5:
            made.claims["sub"] = r.choice([TRAVEL, *at["actor"]["map"]])
        found = judge(at, made, modes, TRAVEL, NOW)

        if not found.reason:
            assert (found.mode, found.scopes) == ("autonomous", frozenset()), (made, at)
            assert "autonomous" in modes
            assert found.actors == (TRAVEL,)
        seen[found.reason or found.mode] += 1
    assert seen["autonomous"] > TOKENS / 50, seen
