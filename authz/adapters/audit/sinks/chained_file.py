"""A file of a chained log: it is left for another file only behind a checkpoint.

So each file ends with a checkpoint, and the next one begins with the same one: cutting off the end
of a file shows, and a file can be checked without those before it.
"""

from collections.abc import Callable
from typing import Final

from authz.adapters.audit.sinks.output import Output
from authz.core.tlog.own_lines import CHECKPOINT, CLOSED

_END: Final = b"\n"


class ChainedFile:
    """A file, or a pipe: a ``Sink``. One thread uses it, except for ``reopen``."""

    rejected: Final = 0

    def __init__(self, output: Output, want_checkpoint: Callable[[], None]) -> None:
        """Take the file; ``want_checkpoint`` asks for a checkpoint of all leaves so far."""
        self._output = output
        self._want_checkpoint = want_checkpoint
        self._rest = b""  # lines that the output has not taken yet
        self._page_end = b""  # the last line that the output was given
        self._last = b""  # the last checkpoint that the file has
        self._is_covered = True  # whether nothing follows it
        self._is_ended = False  # whether the log is closed: nothing is left for another file
        self._is_repeating = False  # whether the output has the checkpoint that begins a file

    @property
    def waiting(self) -> int:
        """Return the number of lines that are not yet written."""
        behind = self._rest.count(_END)
        return behind if self._is_repeating else behind + self._output.waiting

    def reopen(self) -> None:
        """Open the file anew, behind the next checkpoint."""
        self._output.reopen()

    def follow(self) -> None:
        """Open the file; leave it for another once a checkpoint ends it. Raises OSError."""
        if not self._output.is_left():
            self._output.follow()
        elif self._is_covered and not self._output.waiting:
            self._turn()
        else:
            self._want_checkpoint()

    def _turn(self) -> None:
        """Leave the file, and begin another one with the last checkpoint. Raises OSError."""
        before = self._output.identity()
        self._output.follow()
        if self._last and self._output.identity() != before:
            self._output.take(self._last)
            self._is_repeating = True
            self._flush_repeated()

    def _flush_repeated(self) -> None:
        if self._is_repeating:
            self._output.flush()
            self._is_repeating = False

    def take(self, lines: bytes) -> None:
        """Take complete lines to be written."""
        self._rest = lines

    def flush(self) -> None:
        """Write the rest. Raises OSError: unwritten lines stay."""
        self._flush_repeated()
        while self._rest or self._output.waiting:
            if not self._output.waiting:
                self._take_page()
            self._flush_page()
            if self._is_covered and self._output.is_left() and not self._is_ended:
                self._turn()

    def _take_page(self) -> None:
        """Give the output what belongs into the open file, up to a checkpoint if it is left."""
        end = len(self._rest)
        if self._output.is_left():
            at = 0 if self._rest.startswith(CHECKPOINT) else self._rest.find(_END + CHECKPOINT) + 1
            if at or self._rest.startswith(CHECKPOINT):
                end = self._rest.index(_END, at) + 1
        page, self._rest = self._rest[:end], self._rest[end:]
        begin = page.rfind(_END, 0, -1) + 1
        self._page_end = page[begin:]
        self._is_ended |= page.startswith(CLOSED) or _END + CLOSED in page
        self._output.take(page)

    def _flush_page(self) -> None:
        try:
            self._output.flush()
        except OSError:
            self._is_covered = False
            if self._output.is_left():  # it can't be ended any more: better another file than none
                self._output.follow()
            raise
        self._is_covered = self._page_end.startswith(CHECKPOINT)
        if self._is_covered:
            self._last = self._page_end

    def close(self) -> None:
        """Close the file."""
        self._output.close()
