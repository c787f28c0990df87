"""The command ``authz``: a verb for each task of an operator.

Exit status: 0 success or allowed, 1 the check failed or the request is denied, 2 usage, 3 could not
start, 130 if Ctrl-C ended it.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from authz.cli.common import (
    FAILED,
    INTERRUPTED,
    NO_TOKENS,
    USAGE,
    complain,
    has_token,
    tell_problems,
)
from authz.cli.interrupts import interruptible
from authz.cli.parser import read_arguments
from authz.cli.told import members_of, words_of

TOKEN = "token"  # the verb to which people may try to give a token as an argument


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, and return the exit status."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions, and reads no other output
        from authz.cli.completing import complete  # noqa: PLC0415 - no other start needs it

        complete()
    words = sys.argv[1:] if arguments is None else arguments
    if list(words[:1]) == [TOKEN] and has_token(words):
        complain(NO_TOKENS)
        return USAGE
    options = read_arguments(words)
    try:
        status = _run(options)
        sys.stdout.flush()  # so that a closed reader is noticed here, and not at exit
    except BrokenPipeError:  # the reader of our output has closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(options: argparse.Namespace) -> int:
    """Run the verb, and print the errors that have words for operators."""
    try:
        run = _load(options.verb)
        with interruptible():
            return run(options)
    except BrokenPipeError:
        raise
    except Exception as error:
        lines = words_of(error)
        if not lines:
            raise
        complain(*lines)
        tell_problems(options, members_of(error))
        return FAILED


def _load(verb: str) -> Callable[[argparse.Namespace], int]:
    """Load a verb's modules, and return its function."""
    run: Callable[[argparse.Namespace], int]
    run = import_module(f"authz.cli.verbs.{verb}").run
    if not gc.isenabled():  # ``authz.__main__`` has disabled it: loaded modules are never garbage
        gc.freeze()
        gc.enable()
    return run
