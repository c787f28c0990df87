"""A tree of segment patterns: a match visits a few nodes, however many patterns there are."""

from collections.abc import Iterable
from typing import Generic, TypeVar

from authz.core.patterns import SegmentPattern

Value = TypeVar("Value")


class PatternTree(Generic[Value]):
    """Values found by patterns of segments, such as those of paths and SPIFFE IDs.

    Attributes:
        ends, rest: values of patterns that end here, and of those with "**" from here.
        literal, any_one: the nodes of the next segment: by its text, and for "*".
    """

    __slots__ = ("any_one", "ends", "literal", "rest")

    def __init__(self) -> None:
        """Begin empty. Values are in tuples: there are many nodes, and nearly all hold nothing."""
        self.ends: tuple[Value, ...] = ()
        self.rest: tuple[Value, ...] = ()
        self.literal: dict[str, PatternTree[Value]] | None = None
        self.any_one: PatternTree[Value] | None = None

    def add(self, pattern: SegmentPattern, value: Value) -> None:
        """Add a value under its pattern."""
        node = self
        for segment in pattern.segments:
            node = node.next(segment)
        if pattern.rest:
            node.rest += (value,)
        else:
            node.ends += (value,)

    def next(self, segment: str | None) -> "PatternTree[Value]":
        """Return the node below for a segment (None: "*"), created if missing."""
        if segment is None:
            if self.any_one is None:
                self.any_one = PatternTree()
            return self.any_one
        if self.literal is None:
            self.literal = {}
        return self.literal.setdefault(segment, PatternTree())

    def find(self, segments: tuple[str, ...]) -> list[Value]:
        """Return the values whose patterns match the segments."""
        return find_in_each((self,), segments)


def find_in_each(trees: Iterable[PatternTree[Value]], segments: tuple[str, ...]) -> list[Value]:
    """Return the values of several trees whose patterns match the segments, in the trees' order."""
    found: list[Value] = []
    for tree in trees:
        node = tree
        for at, segment in enumerate(segments):
            found += node.rest
            named = None if node.literal is None else node.literal.get(segment)
            other = node.any_one if segment else None
            if named is not None and other is not None:
                # A node may match by name and by "*": few trees have both, and few paths reach such
                # a node.
                found += _find_in([named, other], segments[at + 1 :])
                break
            below = named or other
            if below is None:
                break
            node = below
        else:
            found += node.rest
            found += node.ends
    return found


def _find_in(nodes: "list[PatternTree[Value]]", segments: tuple[str, ...]) -> list[Value]:
    """Return the values that match from any of these nodes on."""
    found: list[Value] = []
    for segment in segments:
        below: list[PatternTree[Value]] = []
        for node in nodes:
            found += node.rest
            if node.literal is not None and segment in node.literal:
                below.append(node.literal[segment])
            if node.any_one is not None and segment:
                below.append(node.any_one)
        if not below:
            return found
        nodes = below
    for node in nodes:
        found += node.rest
        found += node.ends
    return found
