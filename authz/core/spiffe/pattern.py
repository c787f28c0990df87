"""Patterns of SPIFFE IDs, and the config's texts of IDs, patterns and trust domains."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import AfterValidator

from authz.core.patterns import ANY, SegmentPattern, segment_pattern
from authz.core.spiffe.spiffe_id import SCHEME, SpiffeId, SpiffeIdError, TrustDomain


@dataclass(frozen=True, slots=True)
class SpiffePattern:
    """A pattern such as ``spiffe://corp.example/ns/agents/sa/*``: a trust domain and segments."""

    text: str
    trust_domain: TrustDomain
    path: SegmentPattern

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an exact ID or a pattern. Raises ValueError."""
        if ANY not in text:
            spiffe_id = SpiffeId.parse(text)
            return cls(
                text,
                spiffe_id.trust_domain,
                SegmentPattern(spiffe_id.segments, rest=False),
            )
        authority, _, path = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME):
            raise SpiffeIdError(f"the pattern does not start with {SCHEME}")
        trust_domain = TrustDomain.parse(authority)
        return cls(text, trust_domain, segment_pattern(path.split("/"), _literal_id_segment))

    @property
    def is_exact(self) -> bool:
        """Tell whether it matches a single ID."""
        return ANY not in self.text

    def matches(self, spiffe_id: SpiffeId) -> bool:
        """Tell whether an ID matches."""
        same_domain = self.trust_domain == spiffe_id.trust_domain
        return same_domain and self.path.matches(spiffe_id.segments)

    def covers(self, other: "SpiffePattern") -> bool:
        """Tell whether every ID that matches the other pattern matches this one."""
        return self.trust_domain == other.trust_domain and self.path.covers(other.path)

    def overlaps(self, other: "SpiffePattern") -> bool:
        """Tell whether any ID can match both patterns."""
        is_same = self.trust_domain == other.trust_domain
        return is_same and self.path.intersection(other.path) is not None


def _literal_id_segment(segment: str) -> str:
    return SpiffeId.parse(f"{SCHEME}x/{segment}").segments[0]


_OTHER_SCHEME: Final = re.compile(r"[A-Za-z]*:/*")
_EXAMPLE: Final = f"{SCHEME}corp.example/ns/agents/sa/travel"


def _parsed(text: str, parse: Callable[[str], object], example: str) -> str:
    """Return the text if it can be parsed. Raises SpiffeIdError with a text that could be."""
    try:
        parse(text)
    except ValueError as error:
        better = _respelt(text) if example.startswith(SCHEME) else _domain_of(text)
        try:
            parse(better)
        except ValueError:
            raise SpiffeIdError(f"{error}, as in {example}") from None
        raise SpiffeIdError(f"{error}: write {better}") from None
    return text


def _respelt(text: str) -> str:
    """Return an ID with the usual mistakes corrected: scheme, capitals, port, needless slashes."""
    _, _, path = _OTHER_SCHEME.sub("", text, count=1).partition("/")
    segments = [segment for segment in path.split("/") if segment]
    return SCHEME + "/".join([_domain_of(text), *segments])


def _domain_of(text: str) -> str:
    """Return the trust domain that an ID, or a domain with a scheme or port, may mean."""
    return _OTHER_SCHEME.sub("", text, count=1).partition("/")[0].partition(":")[0].lower()


def _spiffe_pattern_text(text: str) -> str:
    return _parsed(text, SpiffePattern.parse, _EXAMPLE)


def _spiffe_id_text(text: str) -> str:
    return _parsed(text, SpiffeId.parse, _EXAMPLE)


def trust_domain_text(text: str) -> str:
    """Return a trust domain as it is written. Raises SpiffeIdError, which shows a valid one."""
    return _parsed(text, TrustDomain.parse, "corp.example")


# Types of the config's texts; the validators have parsed these.
SpiffePatternText = Annotated[str, AfterValidator(_spiffe_pattern_text)]
SpiffeIdText = Annotated[str, AfterValidator(_spiffe_id_text)]
TrustDomainText = Annotated[str, AfterValidator(trust_domain_text)]
