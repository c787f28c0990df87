"""Make the page of the command's help."""

import os
from typing import Final

from authz.cli.parser import help_texts
from generating.marks import MADE

HEAD: Final = (
    "Every verb of the command, its arguments and its exit status, as `--help` prints them.\n"
    "[What `--json` prints](json.md) has a page of its own. The wheel brings the same as a man\n"
    "page: `man authz`, with the virtual environment's `bin` in `PATH`.\n\n"
)


def cli_page() -> str:
    """Return the page: the help of every verb."""
    os.environ["COLUMNS"] = "80"
    os.environ.pop("AUTHZ_CONFIG", None)
    os.environ.pop("AUTHZ_LOG_LEVEL", None)
    lines = ["# The command `authz`\n\n" + MADE + HEAD]
    for name, text in help_texts():
        lines.append(f"## `{name}`\n\n```text\n{text}```\n\n")
    return "".join(lines).rstrip("\n") + "\n"
