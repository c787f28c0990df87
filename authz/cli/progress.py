"""Shows on a terminal what a verb is doing, if it takes longer than a moment."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

NEWS_SECONDS: Final = 0.5
_CLEAR: Final = "\r\x1b[K"  # to the line's beginning, and erase it (ECMA-48 section 8.3.41)
Tell = Callable[[str], None]


class _Line:
    """The last line of a terminal. A separate thread writes it, since the verb may be waiting."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._since = time.monotonic()
        self._ended = Event()
        self._thread = Thread(target=self._show, name="progress", daemon=True)
        self._thread.start()

    def _show(self) -> None:
        is_shown = False
        while not self._ended.wait(NEWS_SECONDS):
            is_shown = _write(self._words())
        if is_shown:
            _write(_CLEAR)

    def _words(self) -> str:
        seconds = time.monotonic() - self._since
        room = max(1, shutil.get_terminal_size().columns - 1)  # a longer line could not be erased
        text = "".join(one if one.isprintable() else "?" for one in self.text)
        end = f" ({seconds:.0f} s)"
        return f"{_CLEAR}{text[: max(0, room - len(end))]}{end}"

    def end(self) -> None:
        """Clear the line. Returns when it is cleared."""
        self._ended.set()
        self._thread.join()


def _write(text: str) -> bool:
    """Write to the terminal; tell whether that succeeded."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except (OSError, ValueError):  # the terminal is gone, which must not end the verb
        return False
    return True


@contextmanager
def progress(text: str) -> Iterator[Tell]:
    """Show a text after NEWS_SECONDS, if standard error is a terminal, until the context ends.

    Yields a function that takes the next text. Print only outside of the context. A terminal of the
    type "dumb" can't erase a line, and shows nothing.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    line = _Line(text)

    def tell(text: str) -> None:
        line.text = text

    try:
        yield tell
    finally:
        line.end()


def of_files(tell: Tell) -> Callable[[Path, float], None]:
    """Return a function that shows the progress of reading a file, a share from 0.0 to 1.0."""
    return lambda path, share: tell(f"reading {path}: {share:.0%}")


def of_count(tell: Tell, noun: str) -> Callable[[int, int], None]:
    """Return a function that shows how many of all are done, such as "case 7 of 90"."""
    return lambda number, of: tell(f"{noun} {number} of {of}")
