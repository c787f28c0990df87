"""The arguments of the verbs for trying: init, token make."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.cli.parser.adding import add_verb, end_help
from authz.cli.parser.types import age, host_and_port, port

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

FOLDER: Final = "try"


def add_init(verbs: "Verbs") -> None:
    """Add the verb init."""
    init = add_verb(
        verbs,
        "init",
        "init",
        "write a folder to try it with: config, certificates, an issuer",
        "Write a folder that runs: a config, a CA with the agents' certificates, a try-out "
        "issuer, an Envoy bootstrap; and print the commands to run next. The keys are for trying "
        "only. A folder that is not empty is left as it is.",
    )
    end_help(
        init,
        "authz init try",
        "authz init try --upstream 127.0.0.1:8080",
        "authz init home --agent cook --agent waiter",
        status="0 it was written, 1 it could not be written, 2 usage",
    )
    add = init.add_argument
    _add_folder(init, "the folder to write")
    add("--trust-domain", default="corp.example", metavar="NAME", help="default: %(default)s")
    add(
        "--agent",
        action="append",
        metavar="NAME",
        help="an agent to make a certificate for, as NAME.pem, instead of travel and payments; "
        "repeatable. The CA's key is not kept: name all agents at once",
    )
    add("--port", type=port, default=8443, help="Envoy's port on 127.0.0.1 (default: %(default)s)")
    add(
        "--upstream",
        type=host_and_port,
        metavar="HOST:PORT",
        help="where Envoy sends allowed requests; default: Envoy answers them itself",
    )


def add_token_make(verbs: "Verbs") -> None:
    """Add the verb token make."""
    make = add_verb(
        verbs,
        "token_make",
        "make",
        "sign a delegation token for trying, with a key that authz init made",
        "Print a delegation token (RFC 9068, RFC 8693) for trying, signed with the key that authz "
        "init made. No other key is used: authz is not an authorization server.",
    )
    end_help(
        make,
        "authz token make try --agent travel --principal alice --scope balance:read",
        status="0 it was printed, 1 there is no key of authz init, 2 usage",
    )
    add = make.add_argument
    _add_folder(make, "the folder that authz init wrote")
    actor = make.add_mutually_exclusive_group(required=True)
    actor.add_argument(
        "--agent",
        metavar="NAME",
        help="the agent that acts: a name such as travel, or a SPIFFE ID",
    )
    actor.add_argument(
        "--no-agent",
        action="store_true",
        help="the user's own token, as a login gives: agents exchange it at authz sts",
    )
    add("--principal", required=True, metavar="SUB", help="the user that it acts for")
    add(
        "--scope",
        default="",
        metavar="SCOPES",
        help="the token's scopes, with spaces between: quote them",
    )
    add("--group", action="append", default=[], help="a group of the user; repeatable")
    add("--audience", default="", metavar="AUD", help="default: the config's")
    add(
        "--lifetime",
        type=age,
        default=600.0,
        metavar="AGE",
        help="such as 90s; 1h at most (default: 10m)",
    )
    add("--header", action="store_true", help="print a header line, for curl -H @-")


def _add_folder(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        default=Path(FOLDER),
        help=f"{what} (default: {FOLDER})",
    )
