"""Adds a verb, and the arguments that several verbs share."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]


def add_verb(verbs: "Verbs", module: str, name: str, summary: str) -> argparse.ArgumentParser:
    """Add a verb, which a module of ``authz.cli.verbs`` runs, and return its parser."""
    parser = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(verb=module)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the argument CONFIG, whose default is AUTHZ_CONFIG of the environment."""
    default = os.environ.get("AUTHZ_CONFIG")
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=Path,
        nargs="?" if default else None,
        default=Path(default) if default else None,
        help="the config file (AUTHZ_CONFIG)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")
