"""Merkle trees: their roots and proofs are those of RFC 9162 section 2.1, however they grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.tlog.merkle import (
    EMPTY_ROOT,
    CompactRange,
    TreeError,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_from_inclusion,
)

LEAVES = [leaf_hash(str(number).encode()) for number in range(130)]
SIZES = st.integers(0, len(LEAVES))


def by_definition(leaves: list[bytes]) -> bytes:
    """Return the root as section 2.1.1 defines it, recursively."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    left = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(by_definition(leaves[:left]), by_definition(leaves[left:]))


def grown(begin: int, end: int) -> CompactRange:
    """Return a range that grew leaf by leaf."""
    compact = CompactRange(begin)
    for leaf in LEAVES[begin:end]:
        compact.append(leaf)
    return compact


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_root(size: int) -> None:
    """A tree that grew leaf by leaf has the root of the definition."""
    assert grown(0, size).root() == by_definition(LEAVES[:size])


@given(SIZES, SIZES, SIZES)
def test_ranges_join(one: int, two: int, three: int) -> None:
    """Two ranges that follow each other are together the range that grew leaf by leaf."""
    begin, middle, end = sorted((one, two, three))
    joined = grown(begin, middle)
    joined.extend(grown(middle, end))

    assert joined == grown(begin, end)
    assert CompactRange(begin, end, joined.hashes) == joined


@given(st.integers(1, len(LEAVES)), st.data())
def test_inclusion(size: int, data: st.DataObject) -> None:
    """Each leaf's proof leads to the root, and no other leaf, index or size does."""
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(grown(0, index), grown(index + 1, size))
    root = by_definition(LEAVES[:size])

    assert root_from_inclusion(LEAVES[index], index, size, proof) == root
    assert root_from_inclusion(leaf_hash(b"other"), index, size, proof) != root
    for other in range(size):
        if other != index:
            try:
                assert root_from_inclusion(LEAVES[index], other, size, proof) != root
            except TreeError:
                continue  # a proof of another length


def test_a_range_that_cannot_be() -> None:
    """Numbers out of order, too many hashes, too few, and hashes of another length are errors."""
    for begin, end, hashes in (
        (2, 1, ()),
        (-1, 1, ()),
        (0, 1, ()),
        (0, 3, LEAVES[:3]),
        (0, 1, (b"short",)),
        (0, 1 << 63, LEAVES[:1]),
    ):
        with pytest.raises(TreeError):
            CompactRange(begin, end, hashes)
    with pytest.raises(TreeError, match="leaf 3 is next"):
        grown(0, 3).extend(grown(4, 5))
    with pytest.raises(TreeError, match="from 0"):
        grown(1, 2).root()


def test_a_proof_that_cannot_be() -> None:
    """A proof of an index beyond the tree, or of another length, is an error."""
    for index, size, proof in ((3, 3, ()), (-1, 3, ()), (0, 3, LEAVES[:1]), (0, 2, (b"short",))):
        with pytest.raises(TreeError):
            root_from_inclusion(LEAVES[0], index, size, proof)
    with pytest.raises(TreeError, match="one leaf"):
        inclusion_proof(grown(0, 3), grown(5, 6))
