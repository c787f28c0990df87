"""Adds a verb, the arguments that several verbs share, and the end of its help."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.cli.parser.types import lasting_file

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

FROM_STDIN: Final = (
    "; - for standard input, whose relative paths and includes start at the working directory"
)


class VerbHelp(argparse.HelpFormatter):
    """Wraps the paragraphs of a help text, and leaves a paragraph with indented lines as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(
            paragraph if "\n  " in paragraph else fill(paragraph, width, indent)
            for paragraph in text.split("\n\n")
        )


def add_verb(
    verbs: "Verbs", module: str, name: str, summary: str, description: str = ""
) -> argparse.ArgumentParser:
    """Add a verb, which a module of ``authz.cli.verbs`` runs, and return its parser.

    ``summary`` is shown in the list of verbs, and is the description unless another is given.
    """
    parser = verbs.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=VerbHelp,
    )
    parser.set_defaults(verb=module, misused=parser.error)
    return parser


def end_help(parser: argparse.ArgumentParser, *examples: str, status: str, note: str = "") -> None:
    """End a verb's help with a note, its examples (commands), and its exit status."""
    title = "example:" if len(examples) == 1 else "examples:"
    told = "\n".join([title, *(f"  {example}" for example in examples)])
    parser.epilog = "\n\n".join([*([note] if note else []), told, f"exit status: {status}"])


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument CONFIG, whose default is AUTHZ_CONFIG of the environment."""
    _add_config(parser, Path, FROM_STDIN)


def add_lasting_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument CONFIG for a verb that reads the file again, or writes beside it."""
    _add_config(parser, lasting_file, "")


def _add_config(parser: argparse.ArgumentParser, of_type: Callable[[str], Path], more: str) -> None:
    default = os.environ.get("AUTHZ_CONFIG")
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=of_type,
        nargs="?" if default else None,
        default=Path(default) if default else None,
        help=f"the config file (AUTHZ_CONFIG){more}",
    )


def add_configs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments CONFIG ..., whose default is AUTHZ_CONFIG of the environment."""
    default = os.environ.get("AUTHZ_CONFIG")
    parser.add_argument(
        "configs",
        metavar="CONFIG",
        type=Path,
        nargs="*" if default else "+",
        default=[Path(default)] if default else None,
        help=f"a config file (AUTHZ_CONFIG){FROM_STDIN}",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--json``."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")
