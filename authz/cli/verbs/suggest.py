"""``authz suggest``: proposes a narrower policy."""

import argparse
from typing import Any

from authz.cli.common import FAILED, FINE, NO_RECORDS, answer, refuse
from authz.cli.parser.types import STDIN
from authz.cli.progress import of_files, progress
from authz.cli.reading import load_config
from authz.config import Config
from authz.review.audit_files import AuditLogs
from authz.review.suggestion.patch import patch
from authz.review.suggestion.suggest import Suggestions, suggest


def run(options: argparse.Namespace) -> int:
    """Print the proposal, and return the exit status. Raises ConfigError, LogError."""
    if options.diff and options.config == STDIN:
        options.misused("--diff changes files: CONFIG can't be standard input")
    config = load_config(options.config)
    with progress("reading records") as tell, AuditLogs(options.audit, of_files(tell)) as logs:
        found = suggest(config, logs, denied=options.denied)
    if not found.records:
        return refuse(options, NO_RECORDS, FAILED)
    lines = list(patch(options.config, found) if options.diff else found.lines)
    answer(options, lines, lambda: _members(config, found, lines))
    return FINE


def _members(config: Config, found: Suggestions, lines: list[str]) -> dict[str, Any]:
    """Return the members for ``--json``; ``text`` is the output without it."""
    return {
        "records": found.records,
        "narrower": [
            {"grant": grant, "rule": number, "keys": keys}
            for (grant, number), keys in found.narrower.items()
        ],
        "held": [
            {"agent": config.agents[number].id, "grants": grants}
            for number, grants in found.held.items()
        ],
        "missing": "\n".join(found.missing),
        "text": "\n".join(lines),
    }
