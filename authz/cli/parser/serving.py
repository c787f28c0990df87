"""The arguments of the verbs about a running server: serve, health."""

import os
from typing import TYPE_CHECKING, Final

from authz.cli.parser.adding import add_config, add_verb

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def add_serve(verbs: "Verbs") -> None:
    """Add the verb serve."""
    serve = add_verb(verbs, "serve", "serve", "answer a proxy's checks until told to stop")
    add_config(serve)
    serve.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("AUTHZ_LOG_LEVEL", "info"),
        help="the least severe log lines to write (AUTHZ_LOG_LEVEL; default: info)",
    )


def add_health(verbs: "Verbs") -> None:
    """Add the verb health."""
    health = add_verb(verbs, "health", "health", "ask a running server whether it is ready")
    health.add_argument(
        "address", nargs="?", default="127.0.0.1:9192", help="host:port (default: %(default)s)"
    )
