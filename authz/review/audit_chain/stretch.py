"""A stretch: consecutive leaves of a log, with the signatures in between."""

from dataclasses import dataclass
from typing import Final

from authz.core.tlog.merkle import CompactRange
from authz.review.audit_chain.clerk_lines import Closed, Opened
from authz.review.audit_chain.findings import Findings, Place

CHANGED: Final = (
    "changed: {what} not what was signed for the checkpoint of {size} leaves at {at}; a record was"
    " changed, put in, taken out or moved"
)


@dataclass(slots=True)
class Stretch:
    """Consecutive leaves ``begin`` to ``end - 1`` of one log. It grows at its end.

    Attributes:
        origin: the log's name.
        head: leaves before the first signature; None as long as there is none.
        first: the tree of the first checkpoint; the empty tree if the stretch begins at 0.
        last: the tree of the last checkpoint.
        rest: the leaves behind the last checkpoint, or all if there is none.
        begins_at: the place of the first line.
        first_at: the place of the first checkpoint.
        rest_at: the place of the first leaf of ``rest``.
        ends_at: the place of the last line.
        opened: the log's first record.
        closed: its last record.
        gap: the leaves that a sink missed since the last checkpoint, from the first to the last.
        first_follows: the size of the checkpoint before the first one; None if the stretch begins
            with a checkpoint.
        head_gap: ``gap`` before the first checkpoint.
        signed_time: when the last checkpoint was signed.
    """

    origin: str
    begins_at: Place
    ends_at: Place
    rest: CompactRange
    rest_at: Place | None = None
    head: CompactRange | None = None
    first: CompactRange | None = None
    first_at: Place | None = None
    last: CompactRange | None = None
    opened: Opened | None = None
    closed: Closed | None = None
    gap: range | None = None
    first_follows: int | None = None
    head_gap: range | None = None
    signed_time: str = ""

    @classmethod
    def from_leaf(cls, origin: str, index: int, place: Place) -> "Stretch":
        """Begin with the leaf that is about to be added; one with index 0 needs no signature."""
        stretch = cls(origin, place, place, CompactRange(index))
        return stretch if index else stretch.sign(CompactRange(), place)

    @classmethod
    def from_tree(cls, origin: str, tree: CompactRange, place: Place) -> "Stretch":
        """Begin behind a checkpoint."""
        return cls(origin, place, place, CompactRange(tree.end)).sign(tree, place)

    @property
    def begin(self) -> int:
        """Return the index of the first leaf."""
        return (self.rest if self.head is None else self.head).begin

    @property
    def end(self) -> int:
        """Return the index behind the last leaf."""
        return self.rest.end

    @property
    def open_head(self) -> CompactRange:
        """Return the leaves that are proven only by what comes before the stretch."""
        return self.rest if self.head is None else self.head

    def add(self, leaf: bytes, place: Place) -> None:
        """Add a leaf."""
        if self.rest.begin == self.rest.end:
            self.rest_at = place
        self.rest.append(leaf)
        self.ends_at = place

    def miss(self, leaves: CompactRange, place: Place) -> None:
        """Add leaves that a sink missed, whose hashes are known."""
        self.gap = _spanned(self.gap, range(leaves.begin, leaves.end))
        self._extend(leaves, place)

    def _extend(self, leaves: CompactRange, place: Place) -> None:
        if self.rest.begin == self.rest.end:
            self.rest_at = place
        self.rest.extend(leaves)
        self.ends_at = place

    def sign(self, tree: CompactRange, place: Place) -> "Stretch":
        """Add a checkpoint at the end, without a look at the leaves; return the stretch."""
        if self.last is None:
            self.head, self.first, self.first_at, self.head_gap = self.rest, tree, place, self.gap
        self.last, self.rest, self.rest_at = tree.copy(), CompactRange(tree.end), None
        self.ends_at, self.gap = place, None
        return self

    def tree(self) -> CompactRange | None:
        """Return the tree up to the end; None without a signature."""
        if self.last is None:
            return None
        tree = self.last.copy()
        tree.extend(self.rest)
        return tree

    def check(
        self, tree: CompactRange, after: int | None, place: Place, findings: Findings
    ) -> None:
        """Add a checkpoint at the end, and require that it is of the leaves so far.

        ``after`` is the size of the checkpoint that it follows; None if that may be any.
        """
        mine = self.tree()
        if mine is None or self.last is None:
            self.first_follows = after
        else:
            if mine != tree:
                self._tell_changed(place, tree.end, findings)
            if after is not None:
                self._require_before(after, self.last.end, place, findings)
        self.sign(tree, place)

    def _require_before(self, after: int, size: int, place: Place, findings: Findings) -> None:
        """Require that a checkpoint follows the last one, unless a sink missed others."""
        gap = self.gap
        if after == size or (gap is not None and gap.start <= after <= gap.stop):
            return
        findings.error(
            place,
            f"this checkpoint of {self.origin} follows one of {after} leaves, which is missing: the"
            f" last one here has {size}",
        )

    def _tell_changed(self, place: Place, size: int, findings: Findings) -> None:
        """Say that the leaves behind the last checkpoint are not those signed."""
        begin = self.rest_at
        if begin is None:
            message = CHANGED.format(what="the leaves before are", size=size, at=place)
            findings.error(place, message)
            return
        what = "the lines are" if begin.file == place.file else "the lines from here on are"
        last = place.line - 1 if begin.file == place.file else 0
        findings.error(begin, CHANGED.format(what=what, size=size, at=place), last)

    def join(self, other: "Stretch", findings: Findings) -> None:
        """Add the stretch that begins where this one ends."""
        if other.begin < other.end and self.closed is not None:
            findings.error(other.begins_at, f"{self.origin} goes on behind its last record")
        head = other.open_head
        if head.begin < head.end:
            self._extend(head, other.begins_at)
        if other.first is None or other.first_at is None:
            self.gap = _spanned(self.gap, other.gap)
        else:
            self.gap = _spanned(self.gap, other.head_gap)
            self.check(other.first, other.first_follows, other.first_at, findings)
            self.last, self.rest, self.rest_at = other.last, other.rest, other.rest_at
            self.gap = other.gap
        self.ends_at = other.ends_at
        self.opened = self.opened or other.opened
        self.closed = other.closed or self.closed
        self.signed_time = max(self.signed_time, other.signed_time)


def _spanned(one: range | None, other: range | None) -> range | None:
    """Return the range over two, of which each may be none."""
    if one is None or other is None:
        return one or other
    return range(min(one.start, other.start), max(one.stop, other.stop))
