"""Reads files of lines that another process is writing."""

import json
from pathlib import Path
from typing import Any


def whole_lines(path: Path) -> list[str]:
    """Return the lines that a file has so far, without the last one if its end is yet to come.

    A reader may see the first part of a write before the rest.
    """
    *whole, _ = path.read_bytes().split(b"\n")
    return [line.decode() for line in whole]


def whole_records(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of these lines."""
    return [json.loads(line) for line in whole_lines(path)]


def logged(path: Path, key: str) -> list[str]:
    """Return the texts that a server's log has for a key so far, such as "listen"."""
    parts = (line.partition(f'"{key}":"') for line in whole_lines(path))
    return [rest.partition('"')[0] for _, found, rest in parts if found]
