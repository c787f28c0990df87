"""Kinds of tokens fuzzed: what issuers of every kind make, at random settings of theirs.

The reference knows what can't be an access token, or can't be a user's, and where the agent's name
has to stand.
"""

import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from fuzz import reference
from support.judged import Judged, judge
from support.token_kinds import MODES, NOW, TRAVEL, id_token, issuer, token

Draw = Callable[..., Any]
Judge = Callable[..., Judged]

__all__ = ["Judge", "check", "judge"]


def check(judge: Judge, draw: Draw) -> tuple[str, str]:
    """Judge one drawn token: the answer, and what is wrong with it, "" when nothing is."""
    r = random.Random(draw(st.integers(0, 2**64)))  # ten times as fast as to draw each choice
    settings, modes = issuer(r), draw(st.sampled_from(MODES))
    is_id_token = draw(st.integers(0, 4)) == 0
    made = id_token(r) if is_id_token else token(r, settings)
    found = judge(settings, made, modes, TRAVEL, NOW)
    if found.reason:
        return found.reason, ""
    what = f"{found} for {made} at {settings} on a route of {modes}"
    if is_id_token:
        return found.mode, f"an ID token: {what}"
    may_be = reference.kind_may_pass(settings, made.typ, made.claims, TRAVEL)
    is_own = found.mode == "autonomous"
    mode_may_be = may_be == "any" or (may_be == "own" and is_own)
    route_may_be = ("autonomous" if is_own else "delegated") in modes
    return found.mode, "" if mode_may_be and route_may_be else f"at most {may_be!r}: {what}"
