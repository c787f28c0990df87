"""Walks over the verbs of the command's parser, and reads the examples in their help."""

import argparse
import re
import shlex
from collections.abc import Iterator

from authz.cli.parser import command_parser

_COMMAND = re.compile(r"\bauthz [^|#)]*")
_REDIRECTION = re.compile(r"[<>] \S+")


def verbs(
    name: str = "authz", parser: argparse.ArgumentParser | None = None
) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Yield name, parser and summary of each verb that does something."""
    for action in (parser or command_parser())._actions:
        if isinstance(action, argparse._SubParsersAction):
            summaries = {one.dest: one.help for one in action._choices_actions}
            for verb, inner in action.choices.items():
                yield from verbs(f"{name} {verb}", inner)
                if inner.get_default("verb"):
                    yield f"{name} {verb}", inner, summaries[verb] or ""


def examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Return the words of each example in a verb's help, without what the shell takes."""
    text = (parser.epilog or "").replace("\\\n", " ")
    _, _, listed = re.split(r"\n?(examples?:)\n", text, maxsplit=1)
    lines = listed.partition("\n\n")[0].splitlines()
    commands = [match[0] for line in lines for match in [_COMMAND.search(line)] if match]
    assert len(commands) == len(lines), text
    return [shlex.split(_REDIRECTION.sub(" ", command)) for command in commands]
