"""``authz audit schema``: prints the JSON Schema of the audit log's lines."""

import argparse
import json

from authz.adapters.audit.records.schema import line_schema
from authz.cli.common import FINE


def run(_: argparse.Namespace) -> int:
    """Print the schema, and return the exit status."""
    print(json.dumps(line_schema(), indent=2))
    return FINE
