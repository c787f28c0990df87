"""Finds a decision's record in files of an audit log, and makes the proof that it is in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from authz.core.tlog.lines import (
    LEAF_END,
    LineError,
    SignedGap,
    SignedTree,
    read_checkpoint,
    read_gap,
)
from authz.core.tlog.merkle import CompactRange, TreeError, inclusion_proof, leaf_hash
from authz.core.tlog.note import NoteVerifier
from authz.review.audit_chain.clerk_lines import ClerkLineError, kind_of
from authz.review.audit_chain.files import UnreadableError, numbered_lines
from authz.review.audit_chain.findings import Place
from authz.review.audit_chain.proof import Proof, ProofError, check_proof
from authz.review.audit_files import News

_LOG: Final = b',"log":"'


class _Decision(msgspec.Struct, frozen=True):
    decision_id: str = ""


_read: Final = msgspec.json.Decoder(_Decision).decode


@dataclass(slots=True)
class _Found:
    """The record, and what came after it so far."""

    place: Place
    record: bytes
    origin: bytes
    before: CompactRange
    after: CompactRange


class _Search:
    """Reads lines until a checkpoint covers the record."""

    def __init__(self, decision_id: str, verifier: NoteVerifier) -> None:
        self._id = decision_id
        self._mark = msgspec.json.encode(decision_id)
        self._verifier = verifier
        self._trees: dict[bytes, CompactRange] = {}  # of leaves since a checkpoint that counts
        self.found: _Found | None = None
        self._refused = ""

    def feed(self, line: bytes, place: Place) -> Proof | None:
        """Take a line without its line feed. Raises ProofError."""
        at = line.rfind(_LOG)
        end = LEAF_END.fullmatch(line, at) if at >= 0 else None
        if end is None:
            return self._signed(line)
        origin, index = end[1], int(end[2])
        if self.found is None:
            self._before(line, origin, index, place)
        elif origin == self.found.origin:
            self._after(line, index)
        return None

    def _before(self, line: bytes, origin: bytes, index: int, place: Place) -> None:
        tree = self._trees.get(origin)
        if tree is not None and tree.end != index:
            del self._trees[origin]
            tree = None
        if tree is None and not index:
            tree = self._trees[origin] = CompactRange()
        if self._mark in line and self._is_it(line):
            if tree is None:
                raise ProofError(
                    f"{place}: nothing proves this record: its log has no checkpoint before it here"
                    " (authz audit verify says more)"
                )
            self.found = _Found(place, line, origin, tree, CompactRange(index + 1))
        elif tree is not None:
            tree.append(leaf_hash(line))

    def _is_it(self, line: bytes) -> bool:
        try:
            return _read(line).decision_id == self._id
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return False

    def _after(self, line: bytes, index: int) -> None:
        found = self.found
        if found is not None and index == found.after.end:
            found.after.append(leaf_hash(line))

    def _signed(self, line: bytes) -> Proof | None:
        try:
            kind = kind_of(line)
            if kind == "checkpoint":
                return self._checkpoint(read_checkpoint(line, self._verifier))
            if kind == "gap":
                self._gap(read_gap(line, self._verifier))
        except (ClerkLineError, LineError) as error:
            self._refused = str(error)  # what it would have proven stays unproven
        return None

    def why_unproven(self) -> str:
        """Return why no checkpoint proves the record that was found."""
        if self._refused:
            return f"no checkpoint that counts covers this record: {self._refused}"
        return (
            "no checkpoint covers this record yet: the server signs the next one within"
            " audit.chain.interval, or it is in a later file, to be given behind this one"
        )

    def _gap(self, gap: SignedGap) -> None:
        """Take the hashes of leaves that are missing here."""
        origin = gap.origin.encode()
        if self.found is None:
            range_ = self._trees.get(origin)
        else:
            range_ = self.found.after if origin == self.found.origin else None
        if range_ is not None and range_.end == gap.missing.begin:
            range_.extend(gap.missing)

    def _checkpoint(self, signed: SignedTree) -> Proof | None:
        """Raises ProofError."""
        origin, found = signed.origin.encode(), self.found
        if found is None:
            self._trees[origin] = signed.tree
        elif origin == found.origin and signed.tree.end > found.before.end:
            return self._proof(found, signed)
        return None

    def _proof(self, found: _Found, signed: SignedTree) -> Proof:
        """Make the proof, and check it. Raises ProofError."""
        why: str | Exception = "records are missing behind it"
        try:
            if found.after.end == signed.tree.end:
                hashes = inclusion_proof(found.before, found.after)
                proof = Proof(found.record, found.before.end, hashes, signed.note)
                check_proof(proof, self._verifier)
                return proof
        except (TreeError, ProofError) as error:
            why = error
        raise ProofError(
            f"{found.place}: the checkpoint of {signed.tree.end} leaves does not prove this record:"
            f" {why} (authz audit verify says more)"
        )


def prove_record(
    decision_id: str, paths: Sequence[Path], verifier: NoteVerifier, news: News = lambda *_: None
) -> Proof:
    """Return the proof of a decision's record; files are read in the order given, each once.

    Raises ProofError: the record is not there, no checkpoint covers it, or lines were changed.
    """
    search = _Search(decision_id, verifier)
    for path in paths:
        try:
            for number, line in numbered_lines(path, news):
                proof = search.feed(line.removesuffix(b"\n"), Place(str(path), number))
                if proof is not None:
                    return proof
        except UnreadableError as error:
            place = Place(str(path), error.line)
            raise ProofError(f"{place}: {error}") from None
    if search.found is None:
        raise ProofError(f"no record of the decision {decision_id} is in the files")
    raise ProofError(f"{search.found.place}: {search.why_unproven()}")
