"""Reads the files that a verb's arguments name, ``-`` for standard input, and shows long waits."""

import sys
from pathlib import Path

from authz.cli.common import complain
from authz.cli.parser.types import STDIN
from authz.cli.progress import progress
from authz.config import Config, ConfigFiles, load


def read_stdin(what: str, max_bytes: int = -1) -> bytes:
    """Read standard input, and say on a terminal what it waits for."""
    if sys.stdin.isatty():
        complain(f"authz: paste the {what}, then press Return and Ctrl-D")
    return sys.stdin.buffer.read(max_bytes)


def stdin_of_config(path: Path) -> bytes | None:
    """Return the bytes of standard input if that is the config, else None."""
    return read_stdin("config") if path == STDIN else None


def config_files(path: Path) -> ConfigFiles:
    """Return the files of a config; standard input is read at once."""
    return ConfigFiles(path, stdin=stdin_of_config(path))


def load_config(path: Path) -> Config:
    """Read and check a config. Raises ConfigError."""
    files = config_files(path)
    with progress(f"reading {path}"):
        return load(files)
