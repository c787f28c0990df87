"""The arguments of the verbs about tokens: token check, token make, preset.

A token is never taken from the arguments: other users of the machine can read these, and shells
remember them.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.starter import add_token_make
from authz.cli.parser.types import STDIN, a_time
from authz.core.issuer_kind import IssuerKind

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs token check, token make and preset."""
    token = verbs.add_parser(
        "token",
        help="check a token: list all its faults; or make a token for trying",
        description="Check a token against a config, or make a token for trying.",
    )
    inner = token.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_check(inner)
    add_token_make(inner)
    preset = add_verb(
        verbs, "preset", "preset", "print the settings of each kind of issuer, as YAML"
    )
    end_help(
        preset,
        "authz preset keycloak",
        status="0 it was printed, 2 usage",
        note="Each line can be overridden in the issuer's block.",
    )
    preset.add_argument(
        "kind",
        metavar="KIND",
        nargs="?",
        choices=[kind.value for kind in IssuerKind],
        help="default: all of them",
    )
    add_json(preset)


def _add_check(verbs: "Verbs") -> None:
    check = add_verb(
        verbs,
        "token_check",
        "check",
        "list all faults of a token, and the settings that would accept it",
        "List, for each issuer of the config, all faults of a token, and the line that would "
        "accept it, or why none should. No part of the token's text is printed. The token is read "
        "from a file or standard input, never from the arguments.",
    )
    end_help(
        check,
        "authz token check authz.yaml token.jwt",
        "authz token check authz.yaml --suggest < token.jwt",
        status="0 a configured issuer accepts the token, 1 it is refused or its signature was not "
        "verified, 2 a mistake in the arguments or the config",
    )
    add_config(check)
    check.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        nargs="?",
        default=STDIN,
        help='a file with the token, which may begin with "Bearer "; - for standard input '
        "(default)",
    )
    add = check.add_argument
    add("--agent", metavar="ID", help="the caller's SPIFFE ID; default: the agent that it names")
    add("--route", default="", metavar="NAME", help="look at this route alone; default: at each")
    add("--offline", action="store_true", help="fetch no keys: read those in files alone")
    add("--at", type=a_time, metavar="TIME", help="check as of this time; default: now")
    add(
        "--show-claims",
        action="store_true",
        help="show the values of all claims, which may name people",
    )
    add(
        "--suggest",
        action="store_true",
        help="print the smallest issuer block that accepts the token, or why none should",
    )
    add_json(check)
