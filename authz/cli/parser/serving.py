"""The arguments of the verbs about a running server: serve, health."""

import os
from typing import TYPE_CHECKING, Final

from authz.cli.parser.adding import add_lasting_config, add_verb, end_help

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def add_serve(verbs: "Verbs") -> None:
    """Add the verb serve."""
    serve = add_verb(verbs, "serve", "serve", "answer a proxy's checks until told to stop")
    end_help(
        serve,
        "authz serve authz.yaml",
        status="0 it was told to stop, 2 usage, 3 it could not start",
        note="The server watches the config's files, and takes a valid change at once.",
    )
    add_lasting_config(serve)
    serve.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("AUTHZ_LOG_LEVEL", "info"),
        help="the least severe log lines to write (AUTHZ_LOG_LEVEL; default: info)",
    )


def add_health(verbs: "Verbs") -> None:
    """Add the verb health."""
    health = add_verb(verbs, "health", "health", "ask a running server whether it is ready")
    end_help(
        health,
        "authz health 127.0.0.1:9192",
        status="0 it is ready, 1 it is not, or does not answer, 2 usage",
    )
    health.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        default="127.0.0.1:9192",
        help="its admin address, host:port (default: %(default)s)",
    )
