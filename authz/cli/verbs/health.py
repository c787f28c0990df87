"""``authz health``: asks a running server whether it is ready."""

import argparse
from typing import Final

from authz.cli.asking import ask
from authz.cli.common import FAILED, FINE, complain

_READY: Final = b"200"


def run(options: argparse.Namespace) -> int:
    """Print the server's status, and return the exit status."""
    try:
        status, body = ask(options.address, "/readyz")
    except (OSError, ValueError) as error:
        complain(f"authz: http://{options.address}/readyz: {error}")
        return FAILED
    text = body.decode("utf-8", "replace").strip()
    print("".join(c if c.isprintable() else "?" for c in text))  # perhaps another program answered
    return FINE if status == _READY else FAILED
