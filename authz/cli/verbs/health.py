"""``authz health``: asks a running server whether it is ready."""

import argparse

from authz.cli.asking import OK, ask
from authz.cli.common import FAILED, FINE, complain


def run(options: argparse.Namespace) -> int:
    """Print the server's status, and return the exit status."""
    try:
        status, body = ask(options.address, "/readyz")
    except (OSError, ValueError) as error:
        complain(f"authz: http://{options.address}/readyz: {error}")
        return FAILED
    text = body.decode("utf-8", "replace").strip()
    print("".join(c if c.isprintable() else "?" for c in text))  # perhaps another program answered
    return FINE if status == OK else FAILED
