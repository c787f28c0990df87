"""The verb serve, which loads nothing that only the other verbs need."""

import argparse
import os
from typing import Final

from authz.cli.common import FINE, NO_START, add_config, add_verb, complain
from authz.config import ConfigError
from authz.server import StartError, run
from authz.server.json_log import logging_to_stderr

SERVE: Final = "serve"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def add_serve(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb."""
    serve = add_verb(verbs, _serve, SERVE, "answer a proxy's checks until told to stop")
    add_config(serve)
    serve.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("AUTHZ_LOG_LEVEL", "info"),
        help="the least severe log lines to write (AUTHZ_LOG_LEVEL; default: info)",
    )


def _serve(options: argparse.Namespace) -> int:
    with logging_to_stderr(options.log_level):  # also complaints: nobody may be reading them
        try:
            run(options.config)
        except StartError as error:
            complain(f"authz: could not start: {error}")
            return NO_START
        except ConfigError as error:
            complain(*error.lines())
            return NO_START
    return FINE
