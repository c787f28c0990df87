"""``authz preset``: prints the settings of each kind of issuer."""

import argparse
import json

from authz.cli.common import FINE
from authz.core.delegation.presets import PRESETS
from authz.core.issuer_kind import IssuerKind
from authz.review.presets import preset_lines, preset_members


def run(options: argparse.Namespace) -> int:
    """Print it, and return the exit status."""
    kinds = [IssuerKind(options.kind)] if options.kind else list(PRESETS)
    if options.json:
        print(json.dumps({str(kind): preset_members(kind) for kind in kinds}, indent=2))
        return FINE
    print("\n\n".join("\n".join(preset_lines(kind)) for kind in kinds))
    return FINE
