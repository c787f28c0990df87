"""Random tokens at random issuers: what the docs say of each, as a slow program, and the server."""

import random
from collections import Counter
from typing import Any, Final

from support.docs_model import Refused, Token
from support.docs_model.tokens import is_mapped, is_own, read_actors, read_token
from support.judged import Judged, judge
from support.token_kinds import MODES, NOW, TRAVEL, id_token, issuer, token

TOKENS: Final = 4000


def by_docs(
    settings: dict[str, Any], made: Token, modes: list[str]
) -> tuple[frozenset[str], Judged]:
    """The reasons that the docs allow, none for an allow; and what an allow then is."""
    config = {"issuers": [settings], "trust_domains": ["corp.example"]}
    route = {"modes": modes}
    try:
        scopes = read_token(config, made, route, NOW)
        actors = read_actors(config, made, TRAVEL, route)
    except Refused as refused:
        return refused.reasons, Judged()
    mode = "mapped" if is_mapped(settings) else "act"
    mode = "autonomous" if is_own(config, made.claims, TRAVEL) else mode
    return frozenset(), Judged("", mode, tuple(actors), scopes)


def test_docs_and_server_agree() -> None:
    """Each token is refused for the reason of the docs, or is what the docs say it is."""
    r = random.Random(16)
    seen: Counter[str] = Counter()
    for _ in range(TOKENS):
        settings, modes = issuer(r), r.choice(MODES)
        made = id_token(r) if r.random() < 0.1 else token(r, settings)
        found = judge(settings, made, modes, TRAVEL, NOW)

        reasons, allowed = by_docs(settings, made, modes)
        assert found.reason in (reasons or {""}), f"{settings} {modes} {made} {reasons}"
        assert found.reason or found == allowed, f"{settings} {modes} {made} {allowed}"
        seen[found.reason or found.mode] += 1
    assert {"act", "mapped", "autonomous"} <= set(seen), seen
    assert sum(seen[mode] for mode in ("act", "mapped", "autonomous")) > TOKENS / 10, seen
    assert len(seen) > 12, seen
