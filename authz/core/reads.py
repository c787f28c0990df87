"""Declarations of the inputs that a decision reads, made by the part that reads them.

Each requirement, principal match, identity source and token source has ``reads``. Their union alone
determines what a ``Request`` holds (and so the key of the cache), what audit records keep, what a
replay may lack, what a client may not set behind a gateway, and which headers no condition may
read. A part that reads more than it declares fails ``tests/core/policy/test_reads.py``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final

_NO_NAMES: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Reads:
    """The names of inputs that are read, beside those that every request has.

    Attributes:
        headers: lower-case names of headers that hold no secrets; records keep them.
        credentials: headers with a client's credential: never recorded, never read by conditions.
        identities: headers in which a proxy names the caller: treated as ``credentials``, and no
            client may set them.
        claims: top-level claims of the token.
        namespaces: namespaces of the request's metadata.
    """

    headers: frozenset[str] = _NO_NAMES
    credentials: frozenset[str] = _NO_NAMES
    identities: frozenset[str] = _NO_NAMES
    claims: frozenset[str] = _NO_NAMES
    namespaces: frozenset[str] = _NO_NAMES

    @property
    def all_headers(self) -> frozenset[str]:
        """All the headers, for whatever purpose they are read."""
        return self.headers | self.withheld

    @property
    def withheld(self) -> frozenset[str]:
        """The headers that no record keeps and no condition reads."""
        return self.credentials | self.identities

    @property
    def recorded(self) -> frozenset[str]:
        """The headers that audit records keep; none that any part reads as a credential."""
        return self.headers - self.withheld

    @staticmethod
    def union(parts: Iterable["Reads"]) -> "Reads":
        """Return the inputs that any of the parts reads.

        A policy may have 100,000 parts, nearly all NOTHING or the same object as another.
        """
        distinct = {id(part): part for part in parts if part is not NOTHING}
        if len(distinct) <= 1:
            return next(iter(distinct.values()), NOTHING)
        columns = zip(*map(_members, distinct.values()), strict=True)
        return Reads(*(_NO_NAMES.union(*names) for names in columns))

    def __or__(self, other: "Reads") -> "Reads":
        """Return the inputs that either reads."""
        return Reads.union((self, other))

    def __and__(self, other: "Reads") -> "Reads":
        """Return the inputs that both read."""
        return Reads(*(a & b for a, b in zip(_members(self), _members(other), strict=True)))

    def __sub__(self, other: "Reads") -> "Reads":
        """Return the inputs that the other does not read."""
        return Reads(*(a - b for a, b in zip(_members(self), _members(other), strict=True)))

    def __bool__(self) -> bool:
        """Tell whether anything is read."""
        return any(_members(self))


_members: Final[Callable[[Reads], tuple[frozenset[str], ...]]] = attrgetter(
    *(member.name for member in fields(Reads))
)
NOTHING: Final = Reads()


class UndeclaredReadError(RuntimeError):
    """A part read an undeclared input: a programming error, and a deny at the edge."""
