"""The arguments that the verbs about entries of operators share: revocations and consents."""

from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_json
from authz.cli.parser.types import a_count, a_text

if TYPE_CHECKING:
    import argparse


def add_by(parser: "argparse.ArgumentParser") -> None:
    """Add the flag ``--by``."""
    parser.add_argument(
        "--by",
        metavar="WHO",
        type=a_text,
        help="who does this, for people; default: your user and this host",
    )


def add_source(parser: "argparse.ArgumentParser", what: str, default: str = "both") -> None:
    """Add the flag ``--source``."""
    parser.add_argument(
        "--source", choices=("file", "store"), help=f"{what} there alone; default: {default}"
    )


def add_changes(parser: "argparse.ArgumentParser") -> None:
    """Add the flags by which entries are taken back, and their changes listed."""
    add = parser.add_argument
    add(
        "--note",
        metavar="TEXT",
        type=a_text,
        help="with --take-back: why; the history keeps it",
    )
    add_by(parser)
    add(
        "--history",
        action="store_true",
        help="the last changes that the store and the file's history have: who, when and why",
    )
    add(
        "-n",
        "--lines",
        metavar="N",
        type=a_count,
        default=100,
        help="with --history: look at the last N changes (default: 100)",
    )
    add_source(parser, "list or take back")
    add_json(parser)
