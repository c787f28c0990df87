"""``authz keys``: fetches every issuer's keys once."""

import argparse

from authz.cli.common import FAILED, FINE, answer
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.review.keys import fetch_all


def run(options: argparse.Namespace) -> int:
    """Show which keys are trusted, and return the exit status. Raises ConfigError."""
    config = load_config(options.config)
    with progress("asking for keys") as tell:
        found = fetch_all(
            config, lambda place, done, of: tell(f"asking {place}: {done} of {of} have answered")
        )
    answer(
        options,
        (line for issuer in found for line in issuer.lines()),
        lambda: {"issuers": [issuer.members() for issuer in found]},
    )
    return FAILED if any(issuer.error for issuer in found) else FINE
