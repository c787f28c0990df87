"""Reads a file's lines into stretches of logs, and finds what can't stand there.

A file sink writes the lines of a log in order, and several workers write into one file. So in one
file the leaves of each log follow each other by their index, and a checkpoint stands directly
behind its last leaf. All else is an error, also where sorting would mend it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from authz.core.tlog.lines import (
    LEAF_END,
    LineError,
    SignedGap,
    SignedTree,
    read_checkpoint,
    read_gap,
)
from authz.core.tlog.merkle import leaf_hash
from authz.core.tlog.note import NoteVerifier
from authz.core.tlog.own_lines import OWN
from authz.review.audit_chain.clerk_lines import (
    ClerkLineError,
    kind_of,
    read_closed,
    read_dropped,
    read_opened,
)
from authz.review.audit_chain.findings import Findings, Place
from authz.review.audit_chain.fragments import Fragments, TornParts
from authz.review.audit_chain.stretch import Stretch

_LOG: Final = b',"log":"'
_NO_RECORD: Final = (
    "no record of a log: the line does not end with a log and an index, so no checkpoint covers it"
)


@dataclass(frozen=True, slots=True)
class Reader:
    """What the readings of all files share.

    Attributes:
        verifier: the public keys.
        findings: takes what is found.
        sink: the name of the sink that wrote the files; gaps of another are errors. None for any.
        strict: gaps and losses are errors.
        seen: is called with each checkpoint.
        torn: what crashes left of lines.
    """

    verifier: NoteVerifier
    findings: Findings
    seen: Callable[[SignedTree, Place], None]
    torn: TornParts
    sink: str | None = None
    strict: bool = False


@dataclass(slots=True)
class _Log:
    """A log in this file.

    Attributes:
        stretch: the last one.
        line: the bytes of the last line, if that is a checkpoint.
    """

    stretch: Stretch
    line: bytes = b""


@dataclass(slots=True)
class FileReading:
    """The lines of one file, which ``feed`` takes; at the end, ``finish`` returns the stretches."""

    reader: Reader
    file: str
    lines: int = 0
    records: int = 0
    checkpoints: int = 0
    _logs: dict[bytes, _Log] = field(default_factory=dict)
    _done: list[Stretch] = field(default_factory=list)
    _is_cut: bool = False
    _fragments: Fragments = field(init=False)

    def __post_init__(self) -> None:
        """Let what is found of fragments go where all else goes."""
        self._fragments = Fragments(self.reader.torn)

    def feed(self, number: int, line: bytes) -> None:
        """Take a line with its line feed."""
        self.lines = number
        self._is_cut = not line.endswith(b"\n")
        if self._is_cut:  # the last line, or a piece of one that is too long
            self._fragments.add(line, Place(self.file, number))
            return
        at = line.rfind(_LOG)
        end = LEAF_END.fullmatch(line, at, len(line) - 1) if at >= 0 else None
        if end is None:
            self._signed(line[:-1], Place(self.file, number))
            return
        if self._fragments:
            self._fragments.resolve(line, number)
        self._leaf(line[:-1], end[1], int(end[2]), Place(self.file, number))

    def _leaf(self, line: bytes, origin: bytes, index: int, place: Place) -> None:
        log = self._logs.get(origin)
        if log is None or log.stretch.end != index:
            if log is None:
                self.reader.torn.begin(line, place)
            log = self._begun(origin, index, log, place)
        log.stretch.add(leaf_hash(line), place)
        log.line = b""
        self.records += 1
        if log.stretch.closed is not None:
            self._error(place, "a record behind the last one of its log")
        elif line.startswith(OWN) or not index:
            self._clerk_line(log.stretch, line, index, place)

    def _begun(self, origin: bytes, index: int, log: _Log | None, place: Place) -> _Log:
        """Begin another stretch."""
        name = origin.decode()
        if log is not None:
            self._error(
                place,
                f"record {index} of {name}, where record {log.stretch.end} belongs: lines were"
                " taken out, put in or moved",
            )
            self._done.append(log.stretch)
        begun = _Log(Stretch.from_leaf(name, index, place))
        self._logs[origin] = begun
        return begun

    def _clerk_line(self, stretch: Stretch, line: bytes, index: int, place: Place) -> None:
        try:
            kind = kind_of(line)
            if (kind == "opened") != (index == 0):
                self._error(place, "the first record of a log, and no other, says that it opened")
            elif kind == "opened":
                stretch.opened = read_opened(line, place)
            elif kind == "closed":
                begin = index if stretch.last is None else stretch.rest.begin
                stretch.closed = read_closed(line, place, range(begin, index))
                self.reader.torn.settle(stretch.closed.torn)
            elif kind == "dropped":
                self._dropped(line, place)
        except ClerkLineError as error:
            self._error(place, str(error))

    def _dropped(self, line: bytes, place: Place) -> None:
        lost = read_dropped(line)
        message = f"{lost.count} records were lost from {lost.since} to {lost.until}"
        self.reader.findings.told(place, message, is_error=self.reader.strict)

    def _signed(self, line: bytes, place: Place) -> None:
        """Take a line that is not a leaf."""
        try:
            kind = kind_of(line)
            if kind == "checkpoint":
                self._checkpoint(line, read_checkpoint(line, self.reader.verifier), place)
            elif kind == "gap":
                gap = read_gap(line, self.reader.verifier)
                if gap.origin.encode() not in self._logs:
                    self.reader.torn.begin(line, place)
                self._gap(gap, place)
            else:
                self._other(line, place)
        except (ClerkLineError, LineError) as error:
            # It may also be half of a line, but only a whole one has a signature that is wrong.
            self._fragments.add(line, place, str(error))

    def _other(self, line: bytes, place: Place) -> None:
        if line:
            self._fragments.add(line, place, _NO_RECORD)
        else:
            self._error(place, "an empty line")

    def _checkpoint(self, line: bytes, signed: SignedTree, place: Place) -> None:
        if self._fragments:
            self._fragments.resolve(line, place.line)
        self.checkpoints += 1
        self.reader.seen(signed, place)
        key, size = signed.origin.encode(), signed.tree.end
        log = self._logs.get(key)
        if log is None:  # as after a rotation: the file begins with it
            begun = Stretch.from_tree(signed.origin, signed.tree, place)
            begun.signed_time = signed.time
            self._logs[key] = _Log(begun, line)
            self.reader.torn.begin(line, place)
        elif log.line == line:
            self._error(place, "the same checkpoint a second time")
        elif log.stretch.end != size:
            self._misplaced(log, signed, place)
        else:
            log.stretch.check(signed.tree, signed.after, place, self.reader.findings)
            log.line = line
            log.stretch.signed_time = signed.time

    def _misplaced(self, log: _Log, signed: SignedTree, place: Place) -> None:
        """Say that lines are missing before a checkpoint, and begin another stretch behind it."""
        size = signed.tree.end
        self._error(
            place,
            f"a checkpoint of {size} leaves of {signed.origin}, behind {log.stretch.end}: lines"
            " were taken out, put in or moved",
        )
        if size >= log.stretch.end:
            self._done.append(log.stretch)
            log.stretch = Stretch.from_tree(signed.origin, signed.tree, place)
            log.stretch.signed_time = signed.time
            log.line = b""

    def _gap(self, gap: SignedGap, place: Place) -> None:
        missing, key = gap.missing, gap.origin.encode()
        findings = self.reader.findings
        log = self._logs.get(key)
        if missing.begin == missing.end:
            self._error(place, "a gap without records")
            return
        if log is None or log.stretch.end != missing.begin:
            log = self._begun(key, missing.begin, log, place)
        log.stretch.miss(missing, place)
        log.line = b""
        what = f"records {missing.begin} to {missing.end - 1} of {gap.origin}"
        if self.reader.sink not in {None, gap.sink}:
            self._error(place, f"a gap of another sink, {gap.sink}, which does not excuse this one")
        findings.told(place, f"the sink {gap.sink} misses {what}", is_error=self.reader.strict)

    def _error(self, place: Place, message: str) -> None:
        self.reader.findings.error(place, message)

    def finish(self, *, is_running: bool) -> list[Stretch]:
        """End the file, and return its stretches."""
        self._fragments.finish(self.lines if self._is_cut and is_running else 0)
        return [*self._done, *(log.stretch for log in self._logs.values())]
