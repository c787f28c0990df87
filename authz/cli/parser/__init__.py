"""The command's arguments: a verb for each task of an operator.

Modules that a verb needs only to run are not imported here, so that every command starts quickly,
and a server, which runs long, does not hold the other verbs in memory.
"""

import argparse
from collections.abc import Iterator, Sequence

from authz import __version__
from authz.cli.parser import (
    completion,
    config,
    policy,
    questions,
    revocations,
    serving,
    starter,
    token,
)
from authz.cli.parser.types import STDIN


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the command with all verbs, in the order of the help."""
    parser = argparse.ArgumentParser(
        prog="authz",
        description="Envoy external authorization for AI agents: may this agent, acting for this "
        "principal, do this?",
        epilog="exit status: 0 success or allowed, 1 the check failed or the request is denied, "
        "2 usage, 3 could not start, 130 Ctrl-C",
    )
    parser.add_argument("--version", action="version", version=f"authz {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    starter.add_init(verbs)
    serving.add_serve(verbs)
    config.add_check(verbs)
    questions.add_verbs(verbs)
    policy.add_verbs(verbs)
    config.add_keys(verbs)
    token.add_verbs(verbs)
    config.add_metadata(verbs)
    revocations.add_verbs(verbs)
    config.add_schema(verbs)
    serving.add_health(verbs)
    completion.add_completion(verbs)
    return parser


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments; end with a usage error if they are wrong."""
    parser = command_parser()
    if problem := _problem_of_verb(words[:1], list(_verbs_of(parser))):
        parser.error(problem)
    options, unknown = parser.parse_known_args(words)
    if unknown:  # told by the verb, whose usage lists what it takes
        options.misused(f"unrecognized arguments: {' '.join(unknown)}")
    listed = [value if isinstance(value, list) else [value] for value in vars(options).values()]
    if sum(values.count(STDIN) for values in listed) > 1:
        options.misused("standard input (-) can be read only once: name a file for the others")
    return options


def _problem_of_verb(first: Sequence[str], verbs: Sequence[str]) -> str:
    """Return what is wrong with the first word, of which argparse would only list all verbs."""
    if not first:
        return "name a verb: authz --help lists them"
    if first[0] in verbs or first[0].startswith("-"):
        return ""
    import difflib  # noqa: PLC0415 - a command that is typed well does not need it

    near = difflib.get_close_matches(first[0], verbs, n=1)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"there is no verb {first[0]!r}{meant} authz --help lists the verbs"


def _verbs_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            yield from action.choices


def help_texts() -> list[tuple[str, str]]:
    """Return the help of the command and of each verb, for the reference page."""
    return list(_help_of("authz", command_parser()))


def _help_of(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield name, parser.format_help()
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for verb, inner in action.choices.items():
                yield from _help_of(f"{name} {verb}", inner)
