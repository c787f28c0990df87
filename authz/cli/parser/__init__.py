"""The command's arguments: a verb for each task of an operator.

Modules that a verb needs only to run are not imported here, so that every command starts quickly,
and a server, which runs long, does not hold the other verbs in memory.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from authz import __version__
from authz.cli.parser import (
    audit,
    completion,
    config,
    consents,
    policy,
    questions,
    revocations,
    serving,
    signing,
    starter,
    store,
    token,
)
from authz.cli.parser.types import STDIN

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

# The functions that add verbs, and the verbs that each adds, in the order of the help.
_VERBS: Final[Mapping[Callable[["Verbs"], None], tuple[str, ...]]] = MappingProxyType(
    {
        starter.add_init: ("init",),
        serving.add_serve: ("serve",),
        serving.add_sts: ("sts",),
        config.add_check: ("check",),
        questions.add_verbs: ("explain", "who-can", "what-can"),
        policy.add_verbs: ("test", "replay", "suggest"),
        audit.add_verbs: ("audit",),
        config.add_keys: ("keys",),
        token.add_verbs: ("token", "preset"),
        signing.add_signing_key: ("signing-key",),
        store.add_store: ("store",),
        config.add_metadata: ("metadata",),
        config.add_gateway: ("gateway",),
        revocations.add_verbs: ("revoke", "revocations"),
        consents.add_verbs: ("consent", "consents"),
        config.add_schema: ("schema",),
        serving.add_health: ("health",),
        serving.add_doctor: ("doctor",),
        completion.add_completion: ("completion",),
    }
)
_NAMES: Final = [name for names in _VERBS.values() for name in names]


def command_parser(verb: str = "") -> argparse.ArgumentParser:
    """Return the parser of the command: with all verbs, or with those that come with one.

    Making the arguments of all verbs takes a tenth of a quick command's time.
    """
    parser = argparse.ArgumentParser(
        prog="authz",
        description="Envoy external authorization for AI agents: may this agent, acting for this "
        "principal, do this?",
        epilog="exit status: 0 success or allowed, 1 the check failed or the request is denied, "
        "2 usage, 3 could not start, 130 Ctrl-C",
    )
    parser.add_argument("--version", action="version", version=f"authz {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for add, names in _VERBS.items():
        if not verb or verb in names:
            add(verbs)
    return parser


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the arguments; end with a usage error if they are wrong."""
    if problem := _problem_of_verb(words[:1], _NAMES):
        command_parser().error(problem)
    parser = command_parser(words[0] if words[0] in _NAMES else "")
    options, unknown = parser.parse_known_args(words)
    if unknown:  # told by the verb, whose usage lists what it takes
        options.misused(f"unrecognized arguments: {' '.join(unknown)}{_apart(unknown, options)}")
    listed = [value if isinstance(value, list) else [value] for value in vars(options).values()]
    if sum(values.count(STDIN) for values in listed) > 1:
        options.misused("standard input (-) can be read only once: name a file for the others")
    return options


def _apart(unknown: Sequence[str], options: argparse.Namespace) -> str:
    """Return what is wrong with further files, which argparse takes in one place only."""
    has_files = any(isinstance(value, list) for value in vars(options).values())
    is_flag = any(word.startswith("-") for word in unknown)
    return "; give all files together, not before and after a flag" * (has_files and not is_flag)


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


def help_texts() -> list[tuple[str, str]]:
    """Return the help of the command and of each verb, for the reference page."""
    return list(_help_of("authz", command_parser()))


def _help_of(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield name, parser.format_help()
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for verb, inner in action.choices.items():
                yield from _help_of(f"{name} {verb}", inner)
