"""``authz metadata``: prints a route's protected-resource metadata."""

import argparse
import json

from authz.cli.common import FINE, USAGE, complain
from authz.cli.reading import load_config
from authz.review.resource_metadata import NoResourceError, resource_metadata


def run(options: argparse.Namespace) -> int:
    """Print the document, and return the exit status. Raises ConfigError."""
    try:
        document = resource_metadata(load_config(options.config), options.route)
    except NoResourceError as error:
        complain(f"authz: {error}")
        return USAGE
    print(json.dumps(document, indent=2))
    return FINE
