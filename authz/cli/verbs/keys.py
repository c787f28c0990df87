"""``authz keys``: fetches every issuer's keys once."""

import argparse

from authz.cli.common import FAILED, FINE
from authz.config import load
from authz.review.keys import fetch_all


def run(options: argparse.Namespace) -> int:
    """Show which keys are trusted, and return the exit status. Raises ConfigError."""
    found = fetch_all(load(options.config))
    for issuer in found:
        print("\n".join(issuer.lines()))
    return FAILED if any(issuer.error for issuer in found) else FINE
