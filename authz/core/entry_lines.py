"""Entries that operators keep: a line of JSON for each, in a file or in the store, with an id."""

from collections.abc import Callable, Iterator
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, Generic, TypeVar

import msgspec

MAX_BYTES: Final = 64 * 1024 * 1024  # half a million short entries
MAX_LINE_BYTES: Final = 16 * 1024  # of a new entry: names are short, and notes are sentences
_ID_CHARS: Final = 12  # hexadecimal: among half a million entries two are alike once in 2000 cases

EntryTime = Annotated[datetime, msgspec.Meta(tz=True)]


class EntryError(ValueError):
    """The file, or the entry, can't be used; the message says why, with the line of a file."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """An entry: what is left out of its line is None."""

    @property
    def id(self) -> str:
        """A digest that names the entry: line numbers change when other lines are removed."""
        return self.digest[:_ID_CHARS]

    @property
    def digest(self) -> str:
        """The whole digest of which ``id`` is the beginning: no two entries share it."""
        return sha256(self.line).hexdigest()

    @property
    def line(self) -> bytes:
        """The entry as JSON, without a line break."""
        return msgspec.json.encode(self)

    def check(self) -> None:
        """Raise EntryError if the members contradict each other or can't match anybody."""
        raise NotImplementedError

    def is_over(self, now: float) -> bool:
        """Tell whether it counts no more at ``now``, in unix seconds."""
        raise NotImplementedError


E = TypeVar("E", bound=Entry)


class EntryReader(Generic[E]):
    """Reads the entries of a kind."""

    def __init__(self, decode: Callable[[bytes], E], error: type[EntryError]) -> None:
        """Take what decodes a line, or raises ValueError, and the error of this kind."""
        self._decode = decode
        self._error = error

    def read(self, line: bytes) -> E:
        """Return the valid entry of a line. Raises the error of this kind."""
        try:
            entry = self._decode(line)
            entry.check()
        except (ValueError, RecursionError) as error:
            raise self._error(str(error)) from None
        return entry

    def read_all(self, data: bytes) -> Iterator[tuple[int, E | EntryError]]:
        """Yield the number of each line, from 1, with its entry or the reason why it is invalid.

        Blank lines are left out. Raises the error of this kind for a file that is too large.
        """
        if len(data) > MAX_BYTES:
            raise self._error(f"larger than {MAX_BYTES} bytes")
        for number, line in read_lines(data):
            try:
                yield number, self.read(line)
            except EntryError as error:
                yield number, error


def read_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1, one at a time."""
    number, begin = 0, 0
    while begin < len(data):
        end = data.find(b"\n", begin)  # line feeds alone end a line
        end = len(data) if end < 0 else end
        line, number, begin = data[begin:end], number + 1, end + 1
        if line and not line.isspace():
            yield number, line
