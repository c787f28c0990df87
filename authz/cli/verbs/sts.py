"""``authz sts``: makes delegation tokens for agents until told to stop."""

import argparse

from authz.cli.verbs.serve import serve
from authz.server import run_token_service


def run(options: argparse.Namespace) -> int:
    """Serve, and return the exit status."""
    return serve(run_token_service, options)
