"""``authz serve``: answers a proxy's checks until told to stop."""

import argparse
from collections.abc import Callable
from pathlib import Path

from authz.cli.common import FINE, NO_START, complain
from authz.config import ConfigError
from authz.server import StartError
from authz.server import run as run_server
from authz.server.json_log import logging_to_stderr
from authz.server.unix_signals import END_SECONDS, end_within


def run(options: argparse.Namespace) -> int:
    """Serve, and return the exit status."""
    return serve(run_server, options)


def serve(run_process: Callable[[Path], None], options: argparse.Namespace) -> int:
    """Run a server of the config until it is told to stop, and return the exit status."""
    with logging_to_stderr(options.log_level):  # also complaints: nobody may be reading them
        try:
            run_process(options.config)
        except StartError as error:
            complain(f"authz: could not start: {error}")
            return NO_START
        except ConfigError as error:
            complain(*error.lines())
            return NO_START
        finally:
            end_within(END_SECONDS)
    return FINE
