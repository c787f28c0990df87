"""The verbs about tokens: token check, preset.

A token is never taken from the arguments: other users of the machine can read these, and shells
remember them.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.cli.common import (
    FAILED,
    FINE,
    USAGE,
    add_config,
    add_verb,
    answer,
    complain,
    parse_time,
)
from authz.config import ConfigError, ConfigFiles, load
from authz.core.delegation.presets import PRESETS, IssuerKind
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.presets import preset_lines, preset_members
from authz.review.token_check import TokenQuestion, UnknownRouteError, check_token
from authz.wiring import BuildError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

MAX_BYTES: Final = 1024 * 1024  # of the file: no token is that long, but another file may be


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs token check and preset."""
    token = verbs.add_parser(
        "token",
        help="check a token: say all that is wrong with it, and what would take it",
        description="Check a token by a config.",
    )
    _add_check(token.add_subparsers(title="verbs", required=True, metavar="VERB"))
    preset = add_verb(
        verbs, _preset, "preset", "print what each kind of issuer stands for, as YAML"
    )
    preset.epilog = "each line can be set otherwise in the issuer's block"
    preset.add_argument(
        "kind",
        metavar="KIND",
        nargs="?",
        choices=[kind.value for kind in IssuerKind],
        help="default: all of them",
    )
    preset.add_argument("--json", action="store_true", help="print JSON")


def _add_check(verbs: "Verbs") -> None:
    check = verbs.add_parser(
        "check",
        help="say all that is wrong with a token, and what would take it",
        description="Say for each issuer of the config all that is wrong with a token, and which "
        "line would take it, or why none should. No part of the token's text is printed. The "
        "token is read from a file or standard input, never from the arguments.",
        epilog="exit status: 0 a configured issuer accepts the token, 1 it is refused or its "
        "signature was not verified, 2 a mistake in the arguments or the config",
    )
    check.set_defaults(verb=_check)
    add_config(check)
    check.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help='a file with the token, which may begin with "Bearer "; - for standard input '
        "(default)",
    )
    add = check.add_argument
    add("--agent", metavar="ID", help="the caller's SPIFFE ID; default: the agent that it names")
    add("--route", default="", metavar="NAME", help="look at this route alone; default: at each")
    add("--offline", action="store_true", help="fetch no keys: read those in files alone")
    add("--at", type=parse_time, metavar="TIME", help="check as of this time; default: now")
    add(
        "--show-claims",
        action="store_true",
        help="show the values of all claims, which may name people",
    )
    add(
        "--suggest",
        action="store_true",
        help="print the smallest issuer block that accepts it, or why none should",
    )
    add("--json", action="store_true", help="print JSON")


def _check(options: argparse.Namespace) -> int:
    try:
        question = TokenQuestion(
            now=time.time() if options.at is None else options.at.timestamp(),
            agent=None if options.agent is None else SpiffeId.parse(options.agent),
            route=options.route,
            offline=options.offline,
            shows_claims=options.show_claims,
            suggests=options.suggest,
        )
        files = ConfigFiles(options.config)
        config = load(files)
        report = check_token(config, files.read(), _token(options.file), question)
    except ConfigError as error:
        complain(*error.lines())
        return USAGE
    except (UnknownRouteError, BuildError) as error:
        complain(f"authz: {error}")
        return USAGE
    except SpiffeIdError as error:
        complain(f"authz: --agent: {error}")
        return USAGE
    except OSError as error:
        complain(f"authz: FILE can't be read: {error.strerror}")  # its name may be a token
        return USAGE
    answer(options, report.lines(), report.members)
    return FINE if report.is_accepted else FAILED


def _token(path: str) -> str:
    """Read a token; bytes that no token has stand for themselves. Raises OSError."""
    if path == "-":
        if sys.stdin.isatty():
            complain("authz: paste the token, then press Return and Ctrl-D")
        data = sys.stdin.buffer.read(MAX_BYTES)
    else:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES)
    return data.decode("utf-8", "replace")


def _preset(options: argparse.Namespace) -> int:
    kinds = [IssuerKind(options.kind)] if options.kind else list(PRESETS)
    if options.json:
        print(json.dumps({str(kind): preset_members(kind) for kind in kinds}, indent=2))
        return FINE
    print("\n\n".join("\n".join(preset_lines(kind)) for kind in kinds))
    return FINE
