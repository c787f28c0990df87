"""``authz token check``: says all that is wrong with a token."""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from authz.cli.common import FAILED, FINE, USAGE, answer, complain
from authz.config import ConfigError, ConfigFiles, load
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.token_check import TokenQuestion, UnknownRouteError, check_token
from authz.wiring.files import BuildError

MAX_BYTES: Final = 1024 * 1024  # of the file: no token is that long, but another file may be


def run(options: argparse.Namespace) -> int:
    """Check a token, and return the exit status."""
    try:
        question = TokenQuestion(
            now=time.time() if options.at is None else options.at.timestamp(),
            agent=None if options.agent is None else SpiffeId.parse(options.agent),
            route=options.route,
            offline=options.offline,
            shows_claims=options.show_claims,
            suggests=options.suggest,
        )
        files = ConfigFiles(options.config)
        config = load(files)
        report = check_token(config, files.read(), _token(options.file), question)
    except ConfigError as error:
        complain(*error.lines())
        return USAGE
    except (UnknownRouteError, BuildError) as error:
        complain(f"authz: {error}")
        return USAGE
    except SpiffeIdError as error:
        complain(f"authz: --agent: {error}")
        return USAGE
    except OSError as error:
        complain(f"authz: FILE can't be read: {error.strerror}")  # its name may be a token
        return USAGE
    answer(options, report.lines(), report.members)
    return FINE if report.is_accepted else FAILED


def _token(path: str) -> str:
    """Read a token; bytes that no token has stand for themselves. Raises OSError."""
    if path == "-":
        if sys.stdin.isatty():
            complain("authz: paste the token, then press Return and Ctrl-D")
        data = sys.stdin.buffer.read(MAX_BYTES)
    else:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES)
    return data.decode("utf-8", "replace")
