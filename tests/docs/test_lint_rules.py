"""Lint rules that are switched off."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("authz", "bench", "docs", "lab", "protos", "tests")
SWITCHED_OFF = re.compile(r"# noqa(?!: [A-Z0-9, ]+ - \S)")


def test_each_says_why() -> None:
    """A rule that is switched off in a line says why beside it."""
    silent = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not path.stem.endswith(("_pb2", "_pb2_grpc")) and path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if SWITCHED_OFF.search(line)
    ]

    assert silent == []
