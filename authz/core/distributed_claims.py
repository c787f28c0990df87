"""Claims that a token declares to be elsewhere, in whole or in part.

Distributed and aggregated claims (OpenID Connect Core 1.0 section 5.6.2), and Entra ID's groups
overage. Nothing is fetched: rules that read such a claim treat it as unknown.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_NAMES: Final = "_claim_names"
_SOURCES: Final = "_claim_sources"  # may hold access tokens: records never have its values
_SOURCE: Final = ":src"  # Entra's groups:src1
# Entra ID: claims whose presence means that others were left out for lack of room.
_SIGNS: Final[Mapping[str, tuple[str, ...]]] = {
    "hasgroups": ("groups", "wids"),
    "http://schemas.microsoft.com/claims/groups.link": ("groups",),
}
_MARKS: Final = frozenset({_NAMES, _SOURCES, *_SIGNS})
EVERY: Final = ""  # stands for all names: the list can't be read, so any claim may be elsewhere
ClaimNames = frozenset[str]
NONE: Final[ClaimNames] = frozenset()


def external_claims(claims: Mapping[str, Any]) -> ClaimNames:
    """Return the top-level claims that are elsewhere; EVERY among them means any may be."""
    if not _may_have_marks(claims):
        return NONE
    return frozenset(_named(claims)) or NONE  # the same empty object each time


def is_external(name: str, names: ClaimNames) -> bool:
    """Tell whether a top-level claim is among ``external_claims``."""
    return bool(names) and (name in names or EVERY in names)


def external_claim_marks(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims that declare external claims, for a record: without the sources' values."""
    if not _may_have_marks(claims):
        return {}
    marks = {name: value for name, value in claims.items() if _is_mark(name)}
    if _SOURCES in marks:
        sources = marks[_SOURCES]
        marks[_SOURCES] = sorted(sources) if isinstance(sources, dict) else bool(sources)
    return marks


def _may_have_marks(claims: Mapping[str, Any]) -> bool:
    """Tell whether any name could be a mark, by one search: hardly any token has a mark."""
    return not _MARKS.isdisjoint(claims) or _SOURCE in " ".join(claims)


def _is_mark(name: str) -> bool:
    return name in _MARKS or _SOURCE in name


def _named(claims: Mapping[str, Any]) -> Iterator[str]:
    listed = claims.get(_NAMES)
    if isinstance(listed, str):
        listed = [listed]
    if isinstance(listed, dict | list) and all(isinstance(name, str) for name in listed):
        for name in listed:
            yield from _roots(name)
    elif listed is not None:
        yield EVERY
    if not listed and claims.get(_SOURCES):
        yield EVERY  # the mark does not name the claims
    for sign, names in _SIGNS.items():
        if claims.get(sign) not in (None, False):
            yield from names
    for name in claims:
        if _SOURCE in name:
            yield from _roots(name.partition(_SOURCE)[0])


def _roots(name: str) -> tuple[str, ...]:
    """Return a claim's name, and the top-level claims that it may be a path into.

    Such a path is written ``realm_access.roles``, or with slashes.
    """
    bare = name.removeprefix("/")
    return name, bare.partition("/")[0], bare.partition(".")[0]
