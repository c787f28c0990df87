"""Patterns of SPIFFE IDs, and the config's texts of IDs, patterns and trust domains."""

from dataclasses import dataclass
from typing import Annotated, Self

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


def _spiffe_pattern_text(text: str) -> str:
    return SpiffePattern.parse(text).text


def _spiffe_id_text(text: str) -> str:
    return SpiffeId.parse(text).text


def _trust_domain_text(text: str) -> str:
    return TrustDomain.parse(text).name


# Types of the config's texts; the validators have parsed these.
SpiffePatternText = Annotated[str, AfterValidator(_spiffe_pattern_text)]
SpiffeIdText = Annotated[str, AfterValidator(_spiffe_id_text)]
TrustDomainText = Annotated[str, AfterValidator(_trust_domain_text)]
