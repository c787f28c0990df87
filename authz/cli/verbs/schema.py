"""``authz schema``: prints the config's JSON Schema."""

import argparse
import json

from authz.cli.common import FINE
from authz.config import schema


def run(_: argparse.Namespace) -> int:
    """Print the schema, and return the exit status."""
    print(json.dumps(schema(), indent=2))
    return FINE
