"""``authz health``: asks a running server whether it is ready."""

import argparse
from typing import Final

import urllib3

from authz.cli.common import FAILED, FINE, complain

HEALTH_SECONDS: Final = 2.0


def run(options: argparse.Namespace) -> int:
    """Print what the server says of itself, and return the exit status."""
    url = f"http://{options.address}/readyz"
    try:
        response = urllib3.PoolManager().request(
            "GET", url, retries=False, redirect=False, timeout=HEALTH_SECONDS
        )
    except urllib3.exceptions.HTTPError as error:
        complain(f"authz: {url}: {type(error).__name__}")
        return FAILED
    print(response.data.decode("utf-8", "replace").strip())
    return FINE if response.status == 200 else FAILED  # noqa: PLR2004 - HTTP's OK
