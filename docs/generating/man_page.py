"""Makes the man page of the command from its parser; without a date, so that it is reproducible."""

import argparse
import os
from collections.abc import Iterator
from typing import Final

from argparse_manpage.manpage import Manpage

from authz.cli.parser import command_parser

ENVIRONMENT: Final = """\
.TP
.B AUTHZ_CONFIG
The config file, for the verbs that take CONFIG, if it is not among the arguments.
.TP
.B AUTHZ_LOG_LEVEL
The least severe log lines that the server writes."""


def man_page() -> str:
    """The page ``authz(1)``, in the macros of man."""
    os.environ["COLUMNS"] = "80"
    os.environ.pop("AUTHZ_CONFIG", None)
    os.environ.pop("AUTHZ_LOG_LEVEL", None)
    parser = command_parser()
    page = Manpage(parser, {"date": " "}, format="single-commands-section")
    page.date, page.manual = "", "User Commands"
    page.description = "external authorization of AI agents, for Envoy"
    status = parser.epilog or ""
    parser.epilog = None
    parser._manpage = [  # type: ignore[attr-defined] # noqa: SLF001 - read by Manpage
        {"heading": "examples", "content": "\n".join(_examples("authz", parser))},
        {"heading": "exit status", "content": _safe(status.removeprefix("exit status: "))},
        {"heading": "environment", "content": ENVIRONMENT},
    ]
    return f"{str(page).rstrip()}\n"


def _examples(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the end of each verb's help, which the page's maker leaves out."""
    if parser.epilog:
        formatter = parser._get_formatter()  # noqa: SLF001 - it wraps as the help does
        formatter.add_text(parser.epilog)
        yield f".SS {_safe(name)}\n.nf\n{_safe(formatter.format_help().strip())}\n.fi"
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for verb, inner in action.choices.items():
                yield from _examples(f"{name} {verb}", inner)


def _safe(text: str) -> str:
    r"""Return a text that man prints as it is: ``\`` and ``-`` escaped, no line a request."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)
