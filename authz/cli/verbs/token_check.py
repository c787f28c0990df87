"""``authz token check``: lists all faults of a token."""

import argparse
import time
from pathlib import Path
from typing import Final

from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse, tell_problems
from authz.cli.parser.types import STDIN
from authz.cli.progress import progress
from authz.cli.reading import config_files, read_stdin
from authz.cli.told import members_of
from authz.config import ConfigError, load
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.token_check import TokenQuestion, UnknownRouteError, check_token
from authz.wiring.files import BuildError

MAX_BYTES: Final = 1024 * 1024  # of the file: no token is that long, but a wrong file may be


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
        files = config_files(options.config)
        with progress(f"reading {options.config}"):
            config, merged = load(files), files.read()
        token = _token(options.file)
        with progress("asking the token's issuer for its keys"):
            report = check_token(config, merged, token, question)
    except ConfigError as error:
        complain(*error.lines())
        tell_problems(options, members_of(error))
        return USAGE
    except (UnknownRouteError, BuildError) as error:
        return refuse(options, str(error), USAGE)
    except SpiffeIdError as error:
        return refuse(options, f"--agent: {error}", USAGE)
    except OSError as error:
        # Without its name, which may be a token.
        return refuse(options, f"FILE can't be read: {error.strerror}", USAGE)
    answer(options, report.lines(), report.members)
    return FINE if report.is_accepted else FAILED


def _token(path: Path) -> str:
    """Read a token; bytes that no token has are kept. Raises OSError."""
    if path == STDIN:
        data = read_stdin("token", MAX_BYTES)
    else:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    return data.decode("utf-8", "replace")
