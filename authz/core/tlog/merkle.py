"""Hashes the Merkle tree of RFC 9162 section 2.1, in memory for the logarithm of its leaves."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, Self

HASH_BYTES: Final = 32
MAX_LEAVES: Final = 10**18  # far more than any log has; bounds what a hostile size costs
EMPTY_ROOT: Final = sha256().digest()  # section 2.1.1: the hash of an empty list
LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"


class TreeError(ValueError):
    """Hashes do not belong to the tree that they are said to belong to."""


def leaf_hash(data: bytes) -> bytes:
    """Return a leaf's hash (section 2.1.1)."""
    return sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children (section 2.1.1)."""
    return sha256(NODE_PREFIX + left + right).digest()


class CompactRange:
    """The hashes of the largest full subtrees that cover the leaves ``begin`` to ``end - 1``.

    A subtree of 2**k leaves begins at a multiple of 2**k. A range that begins at 0 is all that a
    tree needs in order to grow: its subtrees become smaller to the right.
    """

    __slots__ = ("begin", "end", "hashes")

    def __init__(
        self, begin: int = 0, end: int | None = None, hashes: Iterable[bytes] = ()
    ) -> None:
        """Make a range; without ``end``, an empty one.

        Raises TreeError for a range that can't be, or another number of hashes than it has.
        """
        self.begin = begin
        self.end = begin if end is None else end
        self.hashes = list(hashes)
        if not 0 <= self.begin <= self.end <= MAX_LEAVES:
            raise TreeError("a range of leaves begins and ends at numbers, in this order")
        expected = sum(1 for _ in subtrees(self.begin, self.end))
        if len(self.hashes) != expected:
            raise TreeError(f"leaves {begin} to {end} need {expected} hashes")
        if any(len(each) != HASH_BYTES for each in self.hashes):
            raise TreeError(f"a hash has {HASH_BYTES} bytes")

    def copy(self) -> Self:
        """Return an independent copy."""
        return type(self)(self.begin, self.end, self.hashes)

    def __eq__(self, other: object) -> bool:
        """Tell whether another range has the same leaves with the same hashes."""
        if not isinstance(other, CompactRange):
            return NotImplemented
        mine, others = (self.begin, self.end), (other.begin, other.end)
        return mine == others and self.hashes == other.hashes

    __hash__ = None  # type: ignore[assignment]  # a range grows

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        hashes, index, begin = self.hashes, self.end, self.begin
        self.end = index + 1
        size = 1
        # An odd subtree completes its parent, if the sibling to the left is in the range.
        while index & size and (index & -size) - size >= begin:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            size <<= 1
        hashes.append(leaf)

    def extend(self, other: "CompactRange") -> None:
        """Add the range that follows. Raises TreeError for one that begins elsewhere."""
        if other.begin != self.end:
            raise TreeError(f"leaf {self.end} is next, and not {other.begin}")
        for (start, size), each in zip(subtrees(other.begin, other.end), other.hashes, strict=True):
            self._add(start, size, each)
        self.end = other.end

    def _add(self, start: int, size: int, subtree: bytes) -> None:
        while start & size and start - size >= self.begin:
            subtree = node_hash(self.hashes.pop(), subtree)
            start -= size
            size <<= 1
        self.hashes.append(subtree)

    def root(self) -> bytes:
        """Return the tree's root. Raises TreeError for a range that does not begin at 0."""
        if self.begin:
            raise TreeError("only leaves from 0 on have a root")
        return _folded(self.hashes) if self.hashes else EMPTY_ROOT

    def fold(self, begin: int, end: int) -> bytes:
        """Return the hash over some of the range's subtrees. Raises TreeError for none."""
        pairs = zip(subtrees(self.begin, self.end), self.hashes, strict=True)
        parts = [each for (start, _), each in pairs if begin <= start < end]
        if not parts:
            raise TreeError(f"leaves {begin} to {end} are not in the range")
        return _folded(parts)


def subtrees(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield first leaf and size of the largest full subtrees that cover the leaves."""
    while begin < end:
        most = 1 << ((end - begin).bit_length() - 1)
        size = min(begin & -begin, most) if begin else most
        yield begin, size
        begin += size


def _folded(hashes: list[bytes]) -> bytes:
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def inclusion_proof(before: CompactRange, after: CompactRange) -> tuple[bytes, ...]:
    """Return the proof of the leaf between two ranges (RFC 9162 section 2.1.3), nearest first.

    Args:
        before: the leaves from 0 on.
        after: the leaves that follow the proven one, to the end of the tree.

    Raises TreeError for ranges with other than one leaf between them.
    """
    if before.begin or after.begin != before.end + 1:
        raise TreeError("one leaf is proven, between those before and those behind")
    return tuple(
        (before if end <= before.end else after).fold(begin, end)
        for begin, end in _siblings(before.end, after.end)
    )


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Iterable[bytes]) -> bytes:
    """Return the root that a proof of inclusion leads to (RFC 9162 section 2.1.3.2).

    Raises TreeError for an index beyond the tree, or a proof of another length than the tree's.
    """
    if not 0 <= index < size <= MAX_LEAVES:
        raise TreeError(f"a tree of {size} leaves has no leaf {index}")
    hashes, siblings = list(proof), _siblings(index, size)
    if len(hashes) != len(siblings) or any(len(each) != HASH_BYTES for each in hashes):
        raise TreeError(f"leaf {index} of {size} is proven by {len(siblings)} hashes")
    for (begin, _), each in zip(siblings, hashes, strict=True):
        leaf = node_hash(each, leaf) if begin < index else node_hash(leaf, each)
    return leaf


def _siblings(index: int, size: int) -> list[tuple[int, int]]:
    """Return the leaves of each sibling on the way from a leaf to the root."""
    begin, end, found = 0, size, []
    while end - begin > 1:
        middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((begin, middle))
            begin = middle
    return found[::-1]
