"""Values found by a SPIFFE ID: under exact IDs, and under patterns of IDs."""

from typing import Generic, TypeVar

from authz.core.pattern_tree import PatternTree
from authz.core.spiffe import SpiffeId, SpiffePattern

Value = TypeVar("Value")


class SpiffeTable(Generic[Value]):
    """A table of values by SPIFFE ID; a look-up costs the same however many there are."""

    __slots__ = ("_exact", "_patterns")

    def __init__(self) -> None:
        """Begin empty."""
        self._exact: dict[str, list[Value]] = {}
        self._patterns: dict[str, PatternTree[Value]] = {}

    def add(self, pattern: SpiffePattern, value: Value) -> None:
        """Add a value under an exact ID or a pattern."""
        if pattern.is_exact:
            self._exact.setdefault(pattern.text, []).append(value)
        else:
            tree = self._patterns.setdefault(pattern.trust_domain.name, PatternTree())
            tree.add(pattern.path, value)

    def find(self, spiffe_id: SpiffeId) -> list[Value]:
        """Return the values that match an ID, those of exact IDs before those of patterns."""
        found = self._exact.get(spiffe_id.text, [])
        tree = self._patterns.get(spiffe_id.trust_domain.name) if self._patterns else None
        return found if tree is None else found + tree.find(spiffe_id.segments)
