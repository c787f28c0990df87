"""Signed lines: they read as they were written, and each has one spelling only."""

import json

import pytest

from authz.core.tlog.lines import (
    LEAF_END,
    LineError,
    SignedGap,
    checkpoint_line,
    gap_line,
    leaf_end,
    read_checkpoint,
    read_gap,
    sign_checkpoint,
)
from authz.core.tlog.merkle import CompactRange, leaf_hash
from authz.core.tlog.note import NoteSigner, NoteVerifier
from support.chained_log import private_pem

ORIGIN = "authz-1/0/20261129T164500Z-01234567"
TIME = "2026-11-29T16:45:00.123Z"


@pytest.fixture(params=["ed25519", "p256"], scope="module")
def signer(request: pytest.FixtureRequest) -> NoteSigner:
    """Give a signer with each kind of key."""
    return NoteSigner("authz-1", private_pem(request.param))


def leaves(begin: int, end: int) -> CompactRange:
    """Return a range of leaves."""
    compact = CompactRange(begin)
    for number in range(begin, end):
        compact.append(leaf_hash(str(number).encode()))
    return compact


def lines(signer: NoteSigner) -> tuple[bytes, bytes]:
    """Return the lines of a checkpoint and of a gap."""
    signed = sign_checkpoint(signer, ORIGIN, leaves(0, 13), TIME, 7)
    return checkpoint_line(signed), gap_line(signer, SignedGap(ORIGIN, leaves(5, 12), "siem"))


def test_lines_read_as_they_were_written(signer: NoteSigner) -> None:
    """A checkpoint and a gap say what was signed."""
    verifier = NoteVerifier(signer.public_pem.encode())
    checkpoint, gap = lines(signer)
    read = read_checkpoint(checkpoint[:-1], verifier)

    assert (read.origin, read.tree, read.time, read.after) == (ORIGIN, leaves(0, 13), TIME, 7)
    assert read_gap(gap[:-1], verifier) == SignedGap(ORIGIN, leaves(5, 12), "siem")


def test_one_spelling(signer: NoteSigner) -> None:
    """A line with any byte changed, or the same members in another order or spacing, is refused."""
    verifier = NoteVerifier(signer.public_pem.encode())
    for line, read in zip(lines(signer), (read_checkpoint, read_gap), strict=True):
        members = json.loads(line)
        others = [json.dumps(members), json.dumps(dict(reversed(members.items())))]
        others.append(json.dumps(members | {"more": 1}, separators=(",", ":"), ensure_ascii=False))
        mutants = [other.encode() for other in others]
        mutants += [
            line[:at] + bytes((one ^ 1,)) + line[at + 1 : -1] for at, one in enumerate(line[:-1])
        ]
        for mutant in mutants:
            with pytest.raises(LineError):
                read(mutant, verifier)


def test_a_line_has_one_signature_of_its_own_server(signer: NoteSigner) -> None:
    """A checkpoint with further signatures, or signed in another server's name, is refused."""
    verifier = NoteVerifier(signer.public_pem.encode())
    signed = sign_checkpoint(signer, ORIGIN, leaves(0, 3), TIME, 0)
    members = json.loads(checkpoint_line(signed))
    witness = NoteSigner("w", private_pem()).sign(signed.note.rpartition("\n\n")[0] + "\n")
    members["checkpoint"] += witness.rpartition("\n\n")[2]
    line = json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
    with pytest.raises(LineError, match="one signature"):
        read_checkpoint(line, verifier)
    foreign = checkpoint_line(sign_checkpoint(signer, "other/0/x", leaves(0, 3), TIME, 0))
    with pytest.raises(LineError, match="name is not the first part"):
        read_checkpoint(foreign[:-1], verifier)


def test_a_gap_is_no_checkpoint(signer: NoteSigner) -> None:
    """The note of a gap does not pass for a checkpoint, nor that of a checkpoint for a gap."""
    verifier = NoteVerifier(signer.public_pem.encode())
    checkpoint, gap = (json.loads(line) for line in lines(signer))
    checkpoint["checkpoint"], gap["gap"] = gap["gap"], checkpoint["checkpoint"]
    for members, read in ((checkpoint, read_checkpoint), (gap, read_gap)):
        line = json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()
        with pytest.raises(LineError):
            read(line, verifier)


def test_the_end_of_a_leaf() -> None:
    """A leaf's line ends with its log and index; a text within the line does not pass for that."""
    line = b'{"a":1' + leaf_end(ORIGIN, 7)
    match = LEAF_END.fullmatch(line, line.rfind(b',"log":"'))
    assert match is not None
    assert (match[1].decode(), int(match[2])) == (ORIGIN, 7)
    for other in (
        b'{"a":"\\",\\"log\\":\\"x\\",\\"index\\":7}"}',
        b'{"a":{"log":"x","index":7}}',
        b'{"a":1,"log":"x","index":07}',
        b'{"a":1,"log":"x y","index":7}',
        b'{"a":1,"log":"x","index":7}\r',
        b'{"a":1,"log":"x","index":%d}' % 10**18,
    ):
        at = other.rfind(b',"log":"')
        assert at < 0 or LEAF_END.fullmatch(other, at) is None
