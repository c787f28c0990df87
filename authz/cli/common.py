"""The exit statuses and ways to print that the verbs share."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

FINE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_START: Final = 3
INTERRUPTED: Final = 130  # as shells do: 128 plus the number of SIGINT
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
    """Print lines to standard error, with "?" for what a terminal would obey but a line break."""
    for line in lines:
        print("".join(c if c.isprintable() or c == "\n" else "?" for c in line), file=sys.stderr)


def answer(
    options: argparse.Namespace, lines: Iterable[str], members: Callable[[], dict[str, Any]]
) -> None:
    """Print an answer: its lines, or with ``--json`` an object of its members."""
    for line in [json.dumps(members(), indent=2)] if options.json else lines:
        print(line)


def has_token(words: Sequence[str]) -> bool:
    """Tell whether one of the arguments looks like a token, alone or as an option's value."""
    return any(_TOKEN.match(part) for word in words for part in (word, word.partition("=")[2]))


def told_alone(message: str) -> dict[str, Any]:
    """Return the members of a problem that is not about a file."""
    return {"file": None, "line": None, "place": "", "message": message, "severity": "error"}


def refuse(options: argparse.Namespace, message: str, status: int) -> int:
    """Say why a verb can't answer, with ``--json`` also as an object, and return the status."""
    complain(f"authz: {message}")
    tell_problems(options, [told_alone(message)])
    return status


def tell_problems(options: argparse.Namespace, problems: list[dict[str, Any]]) -> None:
    """Print the object of problems that stands for an answer with ``--json``."""
    if getattr(options, "json", False):
        print(json.dumps({"problems": problems}, indent=2))
