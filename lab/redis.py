"""Finds a Redis or Valkey server's program: unpacked beside the project, or installed."""

import os
import shutil
from pathlib import Path
from typing import Final

UNPACKED: Final = Path(__file__).parents[1] / ".venv-redis"


class RedisMissingError(RuntimeError):
    """There is no such program; the message says how to get one."""


def redis_command() -> tuple[list[str], dict[str, str]]:
    """Return the command of a server, and its environment. Raises RedisMissingError."""
    program = UNPACKED / "usr/bin/redis-server"
    if program.exists():
        folders = ":".join(str(folder) for folder in UNPACKED.glob("usr/lib/*-linux-gnu"))
        # It may be a link to redis-check-rdb, which does another thing by another name.
        return [str(program)], {"LD_LIBRARY_PATH": folders}
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
            return [installed], {}
    raise RedisMissingError("no redis-server: install Debian's redis-server, or see .ci/run")
