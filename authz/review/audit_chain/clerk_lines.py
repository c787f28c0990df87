"""Reads the records that the audit log writes about itself: opened, dropped, closed."""

from typing import Annotated, Final

import msgspec

from authz.core.tlog.own_lines import OWN
from authz.review.audit_chain.findings import Place

MAX_WORKERS: Final = 1 << 16


class Previous(msgspec.Struct, frozen=True):
    """A log of an earlier run, as a later run found it."""

    log: str
    size: int
    root: str


class _OpenedLine(msgspec.Struct, frozen=True):
    time: str
    worker: int
    workers: Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKERS)]
    run: str
    previous: tuple[Previous, ...] = ()


class _ClosedLine(msgspec.Struct, frozen=True):
    reason: str
    time: str = ""
    after: int | None = None
    torn: tuple[str, ...] | str = ()
    recovered_by: str = ""


class Dropped(msgspec.Struct, frozen=True):
    """Records that were lost before they had an index."""

    count: int
    since: str = ""
    until: str = ""


class Opened(msgspec.Struct, frozen=True):
    """The first record of a log, and where it is."""

    place: Place
    time: str
    worker: int
    workers: int
    run: str
    previous: tuple[Previous, ...]


class Closed(msgspec.Struct, frozen=True):
    """The last record of a log.

    Attributes:
        place: where it is.
        is_crash: whether a later run wrote it.
        after: the index from which on records may be missing.
        torn: Base64 of the leaf hashes of lines of which only a part was written.
        recovered_by: the log of the later run; empty without a crash.
        unsigned: the leaves before it that no checkpoint covered until then.
    """

    place: Place
    is_crash: bool
    after: int | None
    torn: tuple[str, ...]
    recovered_by: str
    unsigned: range = range(0)


class _Kind(msgspec.Struct, frozen=True):
    audit: str


class ClerkLineError(ValueError):
    """A line begins as a record of the audit log about itself, and is not."""


_kind: Final = msgspec.json.Decoder(_Kind).decode
_opened: Final = msgspec.json.Decoder(_OpenedLine).decode
_closed: Final = msgspec.json.Decoder(_ClosedLine).decode
_dropped: Final = msgspec.json.Decoder(Dropped).decode


def kind_of(line: bytes) -> str:
    """Return what kind of record a line is; empty for a decision. Raises ClerkLineError."""
    if not line.startswith(OWN):
        return ""
    try:
        return _kind(line).audit
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise ClerkLineError("not a whole line of the log: it was cut or changed") from None


def read_opened(line: bytes, place: Place) -> Opened:
    """Read the first record of a log. Raises ClerkLineError."""
    try:
        read = _opened(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ClerkLineError(f"the first record of the log has a fault: {error}") from None
    return Opened(place, read.time, read.worker, read.workers, read.run, read.previous)


def read_closed(line: bytes, place: Place, unsigned: range = range(0)) -> Closed:
    """Read the last record of a log, before which some were unsigned. Raises ClerkLineError."""
    try:
        read = _closed(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ClerkLineError(f"the last record of the log has a fault: {error}") from None
    torn = (read.torn,) if isinstance(read.torn, str) else read.torn
    is_crash = read.reason != "stopped"
    return Closed(place, is_crash, read.after, torn, read.recovered_by, unsigned)


def read_dropped(line: bytes) -> Dropped:
    """Read a record of lost records. Raises ClerkLineError."""
    try:
        return _dropped(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ClerkLineError(f"the record of lost records has a fault: {error}") from None
