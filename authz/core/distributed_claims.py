"""Claims that a token says it does not hold itself, or not all of: they are somewhere else.

Distributed and aggregated claims (OpenID Connect Core 1.0 section 5.6.2), and Entra ID's groups
overage. Nothing is fetched: who decides by such a claim knows that it does not know it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_NAMES: Final = "_claim_names"
_SOURCES: Final = "_claim_sources"  # may hold access tokens: records never have its values
_SOURCE: Final = ":src"  # Entra's groups:src1
# Entra ID: what a claim that is there says of others, which a URL or a header had no room for.
_SIGNS: Final[Mapping[str, tuple[str, ...]]] = {
    "hasgroups": ("groups", "wids"),
    "http://schemas.microsoft.com/claims/groups.link": ("groups",),
}
EVERY: Final = ""  # among the names: which claims are elsewhere can't be read, so it may be any
ClaimNames = frozenset[str]
NONE: Final[ClaimNames] = frozenset()


def external_claims(claims: Mapping[str, Any]) -> ClaimNames:
    """Return the top-level claims that are elsewhere; with EVERY among them any may be."""
    return frozenset(_named(claims)) or NONE  # the same object where there is none


def is_external(name: str, names: ClaimNames) -> bool:
    """Tell whether a top-level claim is among ``external_claims``."""
    return bool(names) and (name in names or EVERY in names)


def external_claim_marks(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims by which a token says so, fit for a record: no source's values."""
    marks = {name: value for name, value in claims.items() if _is_mark(name)}
    if _SOURCES in marks:
        sources = marks[_SOURCES]
        marks[_SOURCES] = sorted(sources) if isinstance(sources, dict) else bool(sources)
    return marks


def _is_mark(name: str) -> bool:
    return name in (_NAMES, _SOURCES) or name in _SIGNS or _SOURCE in name


def _named(claims: Mapping[str, Any]) -> Iterator[str]:
    listed = claims.get(_NAMES)
    if isinstance(listed, str):
        listed = [listed]
    if isinstance(listed, dict | list) and all(isinstance(one, str) for one in listed):
        for name in listed:
            yield from _roots(name)
    elif listed is not None:
        yield EVERY
    if not listed and claims.get(_SOURCES):
        yield EVERY  # of which claims is not said
    for sign, names in _SIGNS.items():
        if claims.get(sign) not in (None, False):
            yield from names
    for name in claims:
        if _SOURCE in name:
            yield from _roots(name.partition(_SOURCE)[0])


def _roots(name: str) -> tuple[str, ...]:
    """A claim's name, and where it is a path (``realm_access.roles``) the claim it begins in."""
    bare = name.removeprefix("/")
    return name, bare.partition("/")[0], bare.partition(".")[0]
