"""Writes and reads the signed lines of an audit log: checkpoints, and gaps of a sink.

They are no leaves. Each has one spelling: reading writes the line again and compares the bytes, so
that nothing in it can be changed, not even what no signature covers.
"""

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import msgspec

from authz.core.tlog.checkpoint import Checkpoint, CheckpointError
from authz.core.tlog.merkle import MAX_LEAVES, CompactRange, TreeError
from authz.core.tlog.note import NoteError, NoteSigner, NoteVerifier, OpenedNote, decoded

GAP_TITLE: Final = "authz audit gap"
# The end of a leaf's line. A text in a line has no quotes of its own, so nothing else matches.
LEAF_END: Final = re.compile(rb',"log":"([!#-\[\]-~]{1,512})","index":(0|[1-9][0-9]{0,17})\}')
_TIME: Final = re.compile(r"time ([0-9T:.Z+-]{1,40})")
_AFTER: Final = re.compile(r"after (0|[1-9][0-9]{0,17})")
_Kind = TypeVar("_Kind")
_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_LEAVES)]


class LineError(ValueError):
    """A line is not what it says, or was not signed by a key given; the text says why."""


class _CheckpointLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    audit: str
    time: str
    log: str
    size: _Number
    tree: tuple[str, ...]
    checkpoint: str


class _GapLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    audit: str
    log: str
    begin: _Number = msgspec.field(name="from")
    end: _Number = msgspec.field(name="to")
    hashes: tuple[str, ...]
    sink: str
    gap: str


_encode: Final = msgspec.json.Encoder().encode
_read_checkpoint: Final = msgspec.json.Decoder(_CheckpointLine).decode
_read_gap: Final = msgspec.json.Decoder(_GapLine).decode


@dataclass(frozen=True, slots=True)
class SignedTree:
    """What a line of a checkpoint proves.

    Attributes:
        origin: the log's name.
        tree: all its leaves up to here.
        time: when it was signed, as RFC 3339 writes it.
        after: the size of the checkpoint before it in this log; 0 for the first.
        note: the signed checkpoint, for witnesses and proofs.
    """

    origin: str
    tree: CompactRange
    time: str
    after: int
    note: str


@dataclass(frozen=True, slots=True)
class SignedGap:
    """What a line of a gap proves: a sink misses these leaves of a log."""

    origin: str
    missing: CompactRange
    sink: str


def leaf_end(origin: str, index: int) -> bytes:
    """Return what the line of a leaf ends with, without its line feed."""
    return b',"log":"%s","index":%d}' % (origin.encode(), index)


def sign_checkpoint(
    signer: NoteSigner, origin: str, tree: CompactRange, time: str, after: int
) -> SignedTree:
    """Sign a checkpoint of a log's leaves from 0 on; the arguments are ``SignedTree``'s.

    Raises CheckpointError and NoteError for an origin or a time that can't stand in a note.
    """
    extensions = (f"time {time}", f"after {after}")
    text = Checkpoint(origin, tree.end, tree.root(), extensions).text()
    return SignedTree(origin, tree.copy(), time, after, signer.sign(text))


def checkpoint_line(signed: SignedTree) -> bytes:
    """Return the line of a checkpoint, with its line feed."""
    line = _CheckpointLine(
        audit="checkpoint",
        time=signed.time,
        log=signed.origin,
        size=signed.tree.end,
        tree=_texts(signed.tree),
        checkpoint=signed.note,
    )
    return _encode(line) + b"\n"


def gap_line(signer: NoteSigner, gap: SignedGap) -> bytes:
    """Sign a gap, and return its line with its line feed. Raises NoteError."""
    return _gap_line(gap, signer.sign(_gap_text(gap)))


def _gap_line(gap: SignedGap, note: str) -> bytes:
    missing = gap.missing
    line = _GapLine(
        audit="gap",
        log=gap.origin,
        begin=missing.begin,
        end=missing.end,
        hashes=_texts(missing),
        sink=gap.sink,
        gap=note,
    )
    return _encode(line) + b"\n"


def _gap_text(gap: SignedGap) -> str:
    numbers = f"{gap.missing.begin} {gap.missing.end}"
    return "\n".join((GAP_TITLE, gap.origin, numbers, gap.sink, *_texts(gap.missing))) + "\n"


def read_checkpoint(line: bytes, verifier: NoteVerifier) -> SignedTree:
    """Read the line of a checkpoint, without its line feed, and check its signature.

    Raises LineError.
    """
    try:
        read = _read_checkpoint(line)
        opened = _opened(read.checkpoint, read.log, verifier)
        checkpoint = Checkpoint.parse(opened.text)
        tree = CompactRange(0, read.size, map(decoded, read.tree))
    except (msgspec.MsgspecError, CheckpointError, NoteError, TreeError, UnicodeError) as error:
        raise LineError(f"not a checkpoint that counts: {error}") from None
    time, after = _extensions(checkpoint)
    if checkpoint.size != read.size or checkpoint.root != tree.root():
        raise LineError("the tree is not the one that the checkpoint was signed for")
    signed = SignedTree(checkpoint.origin, tree, time, after, read.checkpoint)
    return _in_one_spelling(line, checkpoint_line(signed), signed)


def read_gap(line: bytes, verifier: NoteVerifier) -> SignedGap:
    """Read the line of a gap, without its line feed, and check its signature. Raises LineError."""
    try:
        read = _read_gap(line)
        opened = _opened(read.gap, read.log, verifier)
        missing = CompactRange(read.begin, read.end, map(decoded, read.hashes))
    except (msgspec.MsgspecError, NoteError, TreeError, UnicodeError) as error:
        raise LineError(f"not a gap that counts: {error}") from None
    gap = SignedGap(read.log, missing, read.sink)
    if opened.text != _gap_text(gap):
        raise LineError("the gap is not the one that was signed")
    return _in_one_spelling(line, _gap_line(gap, read.gap), gap)


def _opened(note: str, origin: str, verifier: NoteVerifier) -> OpenedNote:
    opened = verifier.open(note)
    if opened.signatures != 1:
        raise NoteError("a line's note has one signature")
    if opened.signer != origin.partition("/")[0]:
        raise NoteError("the signer's name is not the first part of the log's")
    return opened


def _extensions(checkpoint: Checkpoint) -> tuple[str, int]:
    """Return the time of a checkpoint, and the size of the one before. Raises LineError."""
    if len(checkpoint.extensions) == 2:  # noqa: PLR2004 - time and after
        time, after = map(re.fullmatch, (_TIME, _AFTER), checkpoint.extensions)
        if time is not None and after is not None:
            return time[1], int(after[1])
    raise LineError("the checkpoint does not say when it was signed, and which one it follows")


def _in_one_spelling(line: bytes, expected: bytes, read: _Kind) -> _Kind:
    if line + b"\n" != expected:
        raise LineError("the line is spelled otherwise than it was written")
    return read


def _texts(of: CompactRange) -> tuple[str, ...]:
    return tuple(b64encode(each).decode() for each in of.hashes)
