"""The exit statuses and ways to print that the verbs share."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from authz.review.audit_files import News

FINE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_START: Final = 3
INTERRUPTED: Final = 130  # as shells do: 128 plus the number of SIGINT
NEWS_SECONDS: Final = 0.5
NO_RECORDS: Final = (
    "no record was read, so there is nothing to judge by: name a file that audit.path of a config"
    " has had written"
)
NO_TOKENS: Final = (
    "authz: an argument looks like a token. Others can read a command's arguments, and the shell "
    "remembers them: put it into a file or on standard input, and revoke it if it is still valid"
)
_TOKEN: Final = re.compile(
    r"(?i:bearer|dpop)(?: |$)|eyJ|[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}$", re.ASCII
)


def complain(*lines: str) -> None:
    """Print lines to standard error."""
    for line in lines:
        print(line, file=sys.stderr)


def answer(
    options: argparse.Namespace, lines: Iterable[str], members: Callable[[], dict[str, Any]]
) -> None:
    """Print an answer: its lines, or with ``--json`` an object of its members."""
    print(json.dumps(members(), indent=2) if options.json else "\n".join(lines))


def has_token(words: Sequence[str]) -> bool:
    """Tell whether one of the arguments looks like a token, alone or as an option's value."""
    return any(_TOKEN.match(part) for word in words for part in (word, word.partition("=")[2]))


@contextmanager
def progress() -> "Iterator[News]":
    """Give a function that shows the progress of reading files, if standard error is a terminal."""
    said = time.monotonic()
    is_shown = False

    def tell(path: Path, share: float) -> None:
        nonlocal said, is_shown
        if time.monotonic() - said >= NEWS_SECONDS and sys.stderr.isatty():
            said, is_shown = time.monotonic(), True
            print(f"\r{path}: {share:.0%}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
