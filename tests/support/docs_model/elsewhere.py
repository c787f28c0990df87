"""Claims that a token says are not in it."""

from collections.abc import Mapping
from typing import Any


def elsewhere(claims: Mapping[str, Any]) -> set[str]:
    """The claims that the token says are not in it."""
    names = set(claims.get("_claim_names", {}))
    names |= {name.split(":src")[0] for name in claims if ":src" in name}
    return names | ({"groups", "wids"} if claims.get("hasgroups") else set())
