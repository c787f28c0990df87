"""Headers that a rule adds for the upstream: their names, and the claims that fill them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from authz.core.policy.claim_names import ClaimValue, claim_values, root_of
from authz.core.reads import Reads
from authz.core.reason import Denied, Reason

MAX_HEADER_CHARS: Final = 1024  # of an added header: it fits into a line of a log


@dataclass(frozen=True, slots=True)
class AddedHeaders:
    """A rule's compiled ``add_headers``.

    Attributes:
        claim_of: the claim that fills each header, by the header's name.
    """

    claim_of: Mapping[str, str]

    @property
    def reads(self) -> Reads:
        """The top-level claims that the headers need."""
        return Reads(claims=frozenset(map(root_of, self.claim_of.values())))

    def values(self, claims: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each header for which the claims have values.

        Raises Denied(TOKEN_CLAIM) for a claim that is too long: cut, it could mean something else.
        """
        for name, claim in self.claim_of.items():
            values = tuple(map(_header_text, claim_values(claims, claim)))
            if sum(map(len, values)) > MAX_HEADER_CHARS:
                raise Denied(Reason.TOKEN_CLAIM, f"the claim {claim} is too long for {name}")
            if values:
                yield name, values


NONE_ADDED: Final = AddedHeaders({})


def _header_text(value: ClaimValue) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
