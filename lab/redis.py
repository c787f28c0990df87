"""Finds a Redis or Valkey server's program: unpacked beside the project, or installed."""

import os
import shutil
from pathlib import Path
from typing import Final

_PROJECT: Final = Path(__file__).parents[1]
_PLACES: Final = (".venv-redis/usr/bin/redis-server", ".venv-valkey/usr/bin/valkey-server")


class RedisMissingError(RuntimeError):
    """There is no such program; the message says how to get one."""


def redis_command() -> tuple[list[str], dict[str, str]]:
    """Return the command of a server, and its environment. Raises RedisMissingError.

    With AUTHZ_VALKEY in the environment it is Valkey's.
    """
    places = _PLACES[1:] if "AUTHZ_VALKEY" in os.environ else _PLACES[:1]
    for place in places:
        program = _PROJECT / place
        if program.exists():
            libraries = (_PROJECT / Path(place).parts[0]).glob("usr/lib/*-linux-gnu")
            # It may be a link to redis-check-rdb, which does another thing by another name.
            return [str(program)], {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
            return [installed], {}
    raise RedisMissingError("no redis-server: install Debian's redis-server, or see .ci/run")
