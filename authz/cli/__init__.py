"""The command ``authz``: a verb for each task of an operator.

Exit status: 0 success or allowed, 1 the check failed or the request is denied, 2 usage, 3 could not
start, 130 if Ctrl-C ended it.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from authz import __version__
from authz.adapters.tls import TlsError
from authz.cli.common import FAILED, INTERRUPTED, NO_TOKENS, USAGE, complain, has_token
from authz.cli.serve import SERVE, add_serve
from authz.config import ConfigError
from authz.review.audit_files import LogError
from authz.wiring import BuildError

TOKEN = "token"  # the verb whose arguments people may take for the place of a token


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, and return the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if list(words[:1]) == [TOKEN] and has_token(words):
        complain(NO_TOKENS)
        return USAGE
    options = _parser(has_all=list(words[:1]) != [SERVE]).parse_args(words)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        status = verb(options)
        sys.stdout.flush()  # so that a reader that is gone is noticed here, and not at exit
    except ConfigError as error:
        complain(*error.lines())
        return FAILED
    except (BuildError, LogError, TlsError) as error:
        complain(f"authz: {error}")
        return FAILED
    except BrokenPipeError:  # the reader of our output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser(*, has_all: bool) -> argparse.ArgumentParser:
    """Return the command's parser: with all verbs, or with serve alone.

    A server lives long, and the modules of the other verbs would be in its memory for nothing.
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
    add_serve(verbs)
    if has_all:
        from authz.cli.config_verbs import add_verbs  # noqa: PLC0415 - not loaded to serve

        add_verbs(verbs)
    return parser


def help_texts() -> list[tuple[str, str]]:
    """Return the help of the command and of each verb, for the reference page."""
    parser = _parser(has_all=True)
    return list(_help_of("authz", parser))


def _help_of(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield name, parser.format_help()
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for verb, inner in action.choices.items():
                yield from _help_of(f"{name} {verb}", inner)
