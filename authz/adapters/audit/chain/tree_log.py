"""Makes records the leaves of a log, which is a Merkle tree, and signs checkpoints of it.

The line of a leaf ends with the log's name and its index. The tree is that
of RFC 9162 section 2.1, and grows by a batch at a time, as that is cheaper than leaf by leaf.
"""

import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

import msgspec

from authz.adapters.audit.batch import Batch
from authz.adapters.audit.records.line import AuditLine, TailEncoder
from authz.core.tlog.lines import (
    SignedGap,
    SignedTree,
    checkpoint_line,
    gap_line,
    leaf_end,
    sign_checkpoint,
)
from authz.core.tlog.merkle import CompactRange
from authz.core.tlog.note import NoteSigner

VERSION: Final = 1  # of these lines
# Remembered decisions whose hashing is begun: a check that repeats costs only the end of its line.
MAX_BEGUN: Final = 512
_LEAF: Final = b"\x00"
_Encoded = TypeVar("_Encoded")
_encode: Final = msgspec.json.Encoder().encode
_log: Final = logging.getLogger("authz.audit")


class Encodes(Protocol):
    """A line that can be written: an AuditLine, or text."""

    def encode(self) -> bytes:
        """Return the bytes, with the end of line. Called once, by the clerk's thread."""


class Encoding:
    """Encodes lines many at a time, and alone where that fails: one must not cost the others.

    Attributes:
        tails_of: encodes ends of lines.
        unencoded: lines that could not be encoded, and are lost.
    """

    def __init__(self, dropped: Collection[str] = ()) -> None:
        """Begin; ``dropped`` are the fields that ``audit.redact`` drops."""
        self.tails_of = TailEncoder(dropped).tails
        self.unencoded = 0

    def each(
        self, encode: Callable[[Sequence[Encodes]], list[_Encoded]], lines: Sequence[Encodes]
    ) -> list[_Encoded]:
        """Return what ``encode`` makes of the lines, without those that it can't encode."""
        try:
            return encode(lines)
        except Exception:  # noqa: BLE001 - the faulty line is looked for
            return [made for line in lines for made in self._alone(encode, line)]

    def _alone(
        self, encode: Callable[[Sequence[Encodes]], list[_Encoded]], line: Encodes
    ) -> list[_Encoded]:
        try:
            return encode((line,))
        except Exception as error:  # noqa: BLE001 - without this thread all later lines were lost
            self.unencoded += 1
            _log.error("can't encode an audit record: %s", type(error).__name__)
            return []


class PlainLines:
    """In place of a log with a tree: encodes lines, and makes no leaves."""

    room: Final = 1 << 62  # no checkpoint is ever due

    def __init__(self, encoding: Encoding) -> None:
        """Take what encodes lines."""
        self._encoding = encoding

    def seal(self, lines: Sequence[Encodes]) -> Batch:
        """Return the lines' bytes."""
        return Batch(tuple(self._encoding.each(self._encoded, lines)))

    def _encoded(self, lines: Sequence[Encodes]) -> list[bytes]:
        decided = [line for line in lines if isinstance(line, AuditLine)]
        if len(decided) != len(lines):
            return [line.encode() for line in lines]
        join = b"".join
        return [
            join((line.decision, line.operation, b",", tail, b"}\n"))
            for line, tail in zip(decided, self._encoding.tails_of(decided), strict=True)
        ]


class TreeLog:
    """A worker's log of a run: its tree, and what was signed of it. One thread uses it.

    Attributes:
        origin: the log's name.
        signed_at: when the last checkpoint was signed, in unix seconds; None before the first.
    """

    def __init__(
        self,
        signer: NoteSigner,
        worker: int,
        encoding: Encoding,
        *,
        records: int,
        interval: float,
    ) -> None:
        """Open a log of a worker; ``records`` and ``interval`` are those of ``audit.chain``.

        ``encoding`` encodes lines.
        """
        start = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.origin = f"{signer.name}/{worker}/{start}-{secrets.token_hex(4)}"
        self.signed_at: float | None = None
        self._signer = signer
        self._records = records
        self._interval = interval
        self._tree = CompactRange()
        self._covered = 0
        self._uncovered_since: float | None = None
        self._encoding = encoding
        self._member = b',"log":"%b","index":' % self.origin.encode()
        self._begun: dict[tuple[bytes, bytes], Any] = {}

    @property
    def size(self) -> int:
        """Return how many leaves the log has."""
        return self._tree.end

    @property
    def uncovered(self) -> int:
        """Return how many leaves no checkpoint covers yet."""
        return self._tree.end - self._covered

    @property
    def room(self) -> int:
        """Return how many leaves may be added before a checkpoint is due; at least one."""
        return max(1, self._records - self.uncovered)

    def seal(self, lines: Sequence[Encodes]) -> Batch:
        """Make leaves of lines."""
        first = index = self._tree.end
        member, begun, join = self._member, self._begun, b"".join
        sealed, leaves = [], []
        for decision, operation, tail in self._encoding.each(self._parts, lines):
            end = b",%b%b%d}" % (tail, member, index)
            index += 1
            leaf = (begun.get((decision, operation)) or self._begin(decision, operation)).copy()
            leaf.update(end)
            leaves.append(leaf.digest())
            sealed.append(join((decision, operation, end, b"\n")))
        self._grow(leaves)
        return Batch(tuple(sealed), first, tuple(leaves))

    def _parts(self, lines: Sequence[Encodes]) -> list[tuple[bytes, bytes, bytes]]:
        """Return decision, operation and end of each line, without commas between."""
        decided = [line for line in lines if isinstance(line, AuditLine)]
        if len(decided) != len(lines):
            raise TypeError("only records of decisions become leaves here")
        tails = self._encoding.tails_of(decided)
        return [
            (line.decision, line.operation, tail) for line, tail in zip(decided, tails, strict=True)
        ]

    def _begin(self, decision: bytes, operation: bytes) -> Any:  # noqa: ANN401 - hashlib's type has no name
        """Begin to hash a leaf, and keep that for lines with the same beginning."""
        if len(self._begun) >= MAX_BEGUN:
            self._begun.clear()
        hashed = self._begun[decision, operation] = sha256(_LEAF + decision + operation)
        return hashed

    def _grow(self, leaves: Sequence[bytes]) -> None:
        """Add leaves to the tree, level by level."""
        if not leaves:
            return
        if self._uncovered_since is None:
            self._uncovered_since = time.monotonic()
        tree, hashed = self._tree, sha256
        level, behind, position = list(leaves), [], tree.end
        while level:
            if position & 1:  # the sibling to the left is there already
                level.insert(0, tree.hashes.pop())
            if len(level) & 1:
                behind.append(level.pop())
            pairs = zip(level[::2], level[1::2], strict=True)
            level = [hashed(b"\x01" + left + right).digest() for left, right in pairs]
            position >>= 1
        tree.hashes.extend(reversed(behind))
        tree.end += len(leaves)

    def note(self, members: Mapping[str, object]) -> Batch:
        """Make a leaf of a line of the log's own."""
        line = _encode(members)[:-1] + leaf_end(self.origin, self._tree.end)
        leaf = sha256(_LEAF + line).digest()
        first = self._tree.end
        self._grow((leaf,))
        return Batch((line + b"\n",), first, (leaf,))

    def is_due(self) -> bool:
        """Tell whether a checkpoint must be signed now."""
        since = self._uncovered_since
        if since is None:
            return False
        return self.uncovered >= self._records or time.monotonic() - since >= self._interval

    def sign(self) -> SignedTree:
        """Sign a checkpoint of all leaves."""
        now = time.time()
        signed = sign_checkpoint(
            self._signer, self.origin, self._tree, time_text(now), self._covered
        )
        self._covered = self._tree.end
        self._uncovered_since, self.signed_at = None, now
        return signed

    def gap(self, missing: CompactRange, sink: str) -> bytes:
        """Return the signed line that says which leaves a sink misses."""
        return gap_line(self._signer, SignedGap(self.origin, missing, sink))


def signed_line(signed: SignedTree) -> Batch:
    """Return the line of a checkpoint, which is no leaf."""
    return Batch((checkpoint_line(signed),))


def time_text(seconds: float) -> str:
    """Return a time as RFC 3339 writes it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
