"""Completes a command line, when a shell sets ``_ARGCOMPLETE`` in the environment.

A person waits for it at each key press. So the modules that read a config are not imported, and
names are looked up in its YAML as it is, valid or not.
"""

import argparse
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import argcomplete
from argcomplete.completers import FilesCompleter, SuppressCompleter

from authz.cli.parser import command_parser
from authz.cli.parser.types import lasting_file

MAX_BYTES: Final = 256 * 1024  # of a config's files that are searched: a tenth of a second's work
MAX_SECONDS: Final = 2.0  # whatever a config holds; then the process ends, and nothing is offered
Names = Callable[[dict[str, Any]], Iterator[str]]


def complete() -> None:
    """Tell the shell the completions of its command line, and end the process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a handler would wait for libyaml to return
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    parser = command_parser()
    _add_completers(parser)
    argcomplete.autocomplete(
        parser, always_complete_options=False, default_completer=SuppressCompleter()
    )


def _add_completers(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for inner in action.choices.values():
                _add_completers(inner)
        elif action.type in (Path, lasting_file):
            action.completer = FilesCompleter()  # type: ignore[attr-defined] # read by argcomplete
        elif (completer := _COMPLETERS.get(action.dest)) is not None:
            action.completer = completer  # type: ignore[attr-defined] # as above


def _of_config(names: Names) -> Callable[..., list[str]]:
    """Return a completer that offers names from the config that the command line names."""

    def complete(parsed_args: argparse.Namespace, **_: object) -> list[str]:
        try:
            documents = list(_documents(Path(parsed_args.config)))
            found = {name for document in documents for name in names(document)}
            return sorted(filter(_is_one_word, found))
        except Exception:  # noqa: BLE001 - a config may hold anything; then nothing is offered
            return []

    return complete


def _is_one_word(name: str) -> bool:
    """Tell whether a shell can offer a name: not as several, as an option, or to the terminal."""
    return name.isprintable() and not name.startswith("-")


def _documents(main: Path) -> Iterator[dict[str, Any]]:
    """Yield the data of a config's files, MAX_BYTES of them at most."""
    import yaml  # noqa: PLC0415 - only when names are asked for

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # texts only, and no merge keys
    pending, left = [main], MAX_BYTES
    while pending and left > 0:
        path = pending.pop(0)
        if not path.is_file():  # a pipe would never end
            continue
        with path.open("rb") as file:
            text = file.read(left + 1)
        left -= len(text)
        document = yaml.load(text, loader) if left >= 0 else None  # noqa: S506 - it makes texts
        if isinstance(document, dict):
            yield document
            if path == main:
                patterns = document.get("include") or ()
                pending += [one for text in patterns for one in sorted(main.parent.glob(text))]


def _methods(**_: object) -> list[str]:
    return ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


def _routes(document: dict[str, Any]) -> Iterator[str]:
    yield from (route["name"] for route in document.get("routes") or () if "name" in route)


def _agents(document: dict[str, Any]) -> Iterator[str]:
    """Yield the IDs of agents, without patterns."""
    ids = (agent["id"] for agent in document.get("agents") or ())
    yield from (text for text in ids if not {"*", "{"} & set(text))


def _issuers(document: dict[str, Any]) -> Iterator[str]:
    yield from (issuer["issuer"] for issuer in document.get("issuers") or ())


def _subjects(document: dict[str, Any]) -> Iterator[str]:
    for principal in document.get("principals") or ():
        yield from principal.get("match", {}).get("subjects") or ()


def _tools(document: dict[str, Any]) -> Iterator[str]:
    """Yield the names of tools in rules, without patterns."""
    rules = (rule for rules in (document.get("grants") or {}).values() for rule in rules or ())
    names = (tool for rule in rules for tool in (rule.get("mcp") or {}).get("tools") or ())
    yield from (name for name in names if "*" not in name)


_COMPLETERS: Final[dict[str, Callable[..., Any]]] = {
    "actor": _of_config(_agents),
    "agent": _of_config(_agents),
    "asked": _methods,
    "issuer": _of_config(_issuers),
    "method": _methods,
    "principal": _of_config(_subjects),
    "route": _of_config(_routes),
    "subject": _of_config(_subjects),
    "tool": _of_config(_tools),
}
