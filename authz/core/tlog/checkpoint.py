"""Writes and reads a checkpoint: a log's size and the root of its tree (C2SP tlog-checkpoint)."""

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import Final, Self

from authz.core.tlog.merkle import HASH_BYTES, MAX_LEAVES
from authz.core.tlog.note import NoteError, decoded

MAX_LINE_CHARS: Final = 1024
_ORIGIN: Final = re.compile(r"[!-~]{1,512}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")


class CheckpointError(ValueError):
    """A text is not a checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A statement about a log: it has so many leaves, and this root.

    Attributes:
        origin: the log's name.
        size: how many leaves it has.
        root: the hash of its tree.
        extensions: further lines; ours say when it was signed, and which checkpoint came before.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what has no text. Raises CheckpointError."""
        if not _ORIGIN.fullmatch(self.origin):
            raise CheckpointError("an origin is a short text of ASCII without spaces")
        if not 0 <= self.size <= MAX_LEAVES or len(self.root) != HASH_BYTES:
            raise CheckpointError("a checkpoint has a size, and a hash of 32 bytes")
        if not all(
            0 < len(each) <= MAX_LINE_CHARS and "\n" not in each for each in self.extensions
        ):
            raise CheckpointError("an extension is a line that is not empty")

    def text(self) -> str:
        """Return the note's text, for a signature."""
        lines = (self.origin, str(self.size), b64encode(self.root).decode(), *self.extensions)
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a note's text. Raises CheckpointError."""
        origin, *rest = text.split("\n")
        if len(rest) < 3 or rest.pop() or not _SIZE.fullmatch(rest[0]):  # noqa: PLR2004 - size, root, the end
            raise CheckpointError("a checkpoint has lines for origin, size and root")
        try:
            root = decoded(rest[1])
        except NoteError as error:
            raise CheckpointError(f"the root is {error}") from None
        return cls(origin, int(rest[0]), root, tuple(rest[2:]))
