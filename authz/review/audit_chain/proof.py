"""Writes and checks the proof of one record, for a person without the log (C2SP tlog-proof).

The record is the proof's extra data. Its hash, with those of the proof, leads to the root that the
server signed, so the proof needs nothing but the public key.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from authz.core.tlog.checkpoint import Checkpoint, CheckpointError
from authz.core.tlog.lines import LEAF_END
from authz.core.tlog.merkle import TreeError, leaf_hash, root_from_inclusion
from authz.core.tlog.note import NoteError, NoteVerifier, decoded
from authz.core.told_error import ToldError
from authz.review.audit_chain.findings import printable

MAX_PROOF_BYTES: Final = 4 * 1024 * 1024  # a record has 1 MiB at most
TITLE: Final = "c2sp.org/tlog-proof@v1"
_HEAD: Final = re.compile(
    re.escape(TITLE)
    + r"\nextra ([A-Za-z0-9+/=]+)\nindex (0|[1-9][0-9]{0,18})\n((?:[^\n]+\n){0,62})\n"
)
_TIME: Final = "time "


class ProofError(ToldError):
    """A proof does not prove anything; the message says why."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A record, and what proves that it is in a log.

    Attributes:
        record: the line without its line feed.
        index: its place in the log.
        hashes: the siblings on the way to the root, nearest first.
        checkpoint: the signed note with the root.
    """

    record: bytes
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    def text(self) -> str:
        """Return the proof as a file's text."""
        hashes = "".join(f"{b64encode(each).decode()}\n" for each in self.hashes)
        extra = b64encode(self.record).decode()
        return f"{TITLE}\nextra {extra}\nindex {self.index}\n{hashes}\n{self.checkpoint}"

    @classmethod
    def parse(cls, data: bytes) -> "Proof":
        """Read a file. Raises ProofError."""
        try:
            text = data[: MAX_PROOF_BYTES + 1].decode()
            head = _HEAD.match(text)
            if head is None or len(data) > MAX_PROOF_BYTES:
                raise ProofError(f"not a proof of a record: a file that begins with {TITLE}")
            hashes = tuple(map(decoded, head[3].split("\n")[:-1]))
            return cls(decoded(head[1]), int(head[2]), hashes, text[head.end() :])
        except (UnicodeError, NoteError) as error:
            raise ProofError(f"not a proof of a record: {error}") from None


@dataclass(frozen=True, slots=True)
class Proven:
    """What a valid proof says."""

    record: str
    log: str
    index: int
    size: int
    signer: str
    signed_time: str

    def lines(self) -> Iterator[str]:
        """Yield the lines that a person reads."""
        yield printable(self.record, MAX_PROOF_BYTES)
        time = f" at {self.signed_time}" if self.signed_time else ""
        yield (
            f"proven: this is record {self.index} of {self.log}, as {self.signer} signed it{time},"
            f" when the log had {self.size} records"
        )

    def members(self) -> dict[str, Any]:
        """Return the same as members of a JSON object."""
        return {
            "proven": True,
            "record": self.record,
            "log": self.log,
            "index": self.index,
            "size": self.size,
            "signer": self.signer,
            "signed": self.signed_time or None,
        }


def check_proof(proof: Proof, verifier: NoteVerifier) -> Proven:
    """Check a proof with the public key alone. Raises ProofError."""
    try:
        opened = verifier.open(proof.checkpoint)
        checkpoint = Checkpoint.parse(opened.text)
        leaf = leaf_hash(proof.record)
        root = root_from_inclusion(leaf, proof.index, checkpoint.size, proof.hashes)
    except (NoteError, CheckpointError, TreeError) as error:
        raise ProofError(f"the proof is not valid: {error}") from None
    if root != checkpoint.root:
        raise ProofError("the proof is not valid: the record is not in the log that was signed")
    _require_own_place(proof, checkpoint, opened.signer)
    times = [each for each in checkpoint.extensions if each.startswith(_TIME)]
    return Proven(
        record=_text(proof.record),
        log=checkpoint.origin,
        index=proof.index,
        size=checkpoint.size,
        signer=opened.signer,
        signed_time=times[0].removeprefix(_TIME) if times else "",
    )


def _require_own_place(proof: Proof, checkpoint: Checkpoint, signer: str) -> None:
    """Require that the record names the log and the index that the proof has. Raises ProofError."""
    at = max(proof.record.rfind(b',"log":"'), 0)
    end = LEAF_END.fullmatch(proof.record, at)
    if end is None or end[1].decode() != checkpoint.origin or int(end[2]) != proof.index:
        raise ProofError("the proof is not valid: the record is of another log or index")
    if signer != checkpoint.origin.split("/")[0]:
        raise ProofError("the proof is not valid: another server signed it than the log's own")


def _text(record: bytes) -> str:
    try:
        text = record.decode()
    except UnicodeDecodeError:
        raise ProofError("the proof is not valid: the record is not a text in UTF-8") from None
    if "\n" in text or "\r" in text:
        raise ProofError("the proof is not valid: a record is one line")
    return text
