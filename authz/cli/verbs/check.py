"""``authz check``: lists every error in configs."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authz.cli.common import FAILED, FINE, complain, problem_members
from authz.cli.progress import progress
from authz.cli.reading import config_files
from authz.config import Config, ConfigError, Problem
from authz.review.check import check_config
from authz.wiring import compute_policy_version


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """The result for a config: the config, or the error that says why it is invalid."""

    path: Path
    config: Config | None = None
    policy_version: str | None = None
    error: ConfigError | None = None
    warnings: Sequence[Problem] = ()

    def tell(self) -> None:
        """Print the result for a person."""
        if self.error is not None:
            complain(*self.error.lines())
        complain(*(f"warning: {warning}" for warning in self.warnings))
        if self.config is not None:
            counts = _counts(self.config)
            told = [f"{number} {_noun(name, number)}" for name, number in counts.items()]
            print(
                f"{self.path}: fine: {', '.join(told[:-1])} of {told[-1]}; "
                f"policy version {self.policy_version}"
            )

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        problems = [] if self.error is None else self.error.problems
        config = self.config
        return {
            "config": str(self.path),
            "valid": config is not None,
            "policy_version": self.policy_version,
            "counts": None if config is None else _counts(config),
            "problems": [
                *(problem_members(problem, "error") for problem in problems),
                *(problem_members(problem, "warning") for problem in self.warnings),
            ],
        }


def run(options: argparse.Namespace) -> int:
    """Check configs, and return the exit status."""
    now = datetime.now(UTC)
    checked = []
    for path in options.configs:
        checked.append(_check(path, now))
        if not options.json:
            checked[-1].tell()
    is_valid = all(one.config is not None for one in checked)
    if options.json:
        told = {"valid": is_valid, "configs": [one.members() for one in checked]}
        print(json.dumps(told, indent=2))
    warned = any(one.warnings for one in checked)
    return FAILED if not is_valid or (warned and options.strict) else FINE


def _check(path: Path, now: datetime) -> CheckedFile:
    files = config_files(path)
    try:
        with progress(f"checking {path}"):
            found = check_config(files, now)
            version = compute_policy_version(found.config)
    except ConfigError as error:
        return CheckedFile(path, error=error)
    return CheckedFile(path, found.config, version, warnings=found.warnings)


def _counts(config: Config) -> dict[str, int]:
    """Return the number of each kind of part; the last is of those within the one before."""
    return {
        "issuers": len(config.issuers),
        "agents": len(config.agents),
        "principals": len(config.principals),
        "grants": len(config.grants),
        "rules": sum(map(len, config.grants.values())),
    }


def _noun(plural: str, number: int) -> str:
    return plural.removesuffix("s") if number == 1 else plural
