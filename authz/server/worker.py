"""Runs a worker: ``python -m authz.server.worker CONFIG NUMBER ADMIN LEVEL RUN``.

The supervisor starts it, and holds the other end of its standard input: when the supervisor is
gone, that closes, and the worker stops too.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from authz.config import ConfigError
from authz.server import StartError, run_worker
from authz.server.json_log import logging_to_stderr
from authz.server.unix_signals import END_SECONDS, end_within

NO_START: Final = 3
_log: Final = logging.getLogger("authz.server")


def main(arguments: list[str]) -> int:
    """Serve until told to stop, and return the exit status."""
    config, number, admin, level, run = arguments
    threading.Thread(target=_stop_with_supervisor, name="supervised", daemon=True).start()
    with logging_to_stderr(level):
        try:
            run_worker(Path(config), int(number), admin, run)
        except (ConfigError, StartError) as error:
            for line in str(error).splitlines():
                _log.error("worker %s could not start: %s", number, line)
            return NO_START
    return 0


def _stop_with_supervisor() -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    exit_status = main(sys.argv[1:])
    end_within(END_SECONDS)
    sys.exit(exit_status)
