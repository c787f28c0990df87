"""``authz check``: lists every error in configs."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authz.cli.common import FAILED, FINE, complain
from authz.cli.progress import progress
from authz.cli.reading import stdin_of_config
from authz.config import Config, ConfigError, Problem
from authz.review.config_check.check import CheckedConfig, check_config
from authz.wiring.policy_version import compute_policy_version


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """The result for a config: the config, or the error that says why it is invalid."""

    path: Path
    found: CheckedConfig | None = None
    policy_version: str | None = None
    error: ConfigError | None = None

    @property
    def is_valid(self) -> bool:
        """Tell whether the config has no error."""
        return self.found is not None

    @property
    def is_warned(self) -> bool:
        """Tell whether there are warnings."""
        return self.found is not None and bool(self.found.warnings)

    def tell(self) -> None:
        """Print the result for a person."""
        complain(*self.error.lines() if self.error else ())
        if self.found is None:
            return
        complain(*(f"warning: {warning}" for warning in self.found.warnings))
        complain(*(f"note: {note}" for note in self.found.notes))
        counts = _counts(self.found.config)
        told = [f"{number} {_noun(name, number)}" for name, number in counts.items()]
        print(
            f"{self.path}: fine: {', '.join(told[:-1])} of {told[-1]}; "
            f"policy version {self.policy_version}"
        )
        if self.found.unchecked:
            print(f"not looked at: {self.found.unchecked}")

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        found = self.found
        return {
            "config": str(self.path),
            "valid": self.is_valid,
            "policy_version": self.policy_version,
            "counts": _counts(found.config) if found else None,
            "problems": [
                problem.members(severity)
                for severity, problems in self._problems()
                for problem in problems
            ],
            "unchecked": found.unchecked if found else "",
        }

    def _problems(self) -> list[tuple[str, Sequence[Problem]]]:
        """Return the problems, by severity."""
        found = self.found
        return [
            ("error", self.error.problems if self.error else ()),
            ("warning", found.warnings if found else ()),
            ("note", found.notes if found else ()),
        ]


def run(options: argparse.Namespace) -> int:
    """Check configs, and return the exit status."""
    now = datetime.now(UTC)
    checked = []
    for path in options.configs:
        checked.append(_check(path, now, is_elsewhere=options.elsewhere))
        if not options.json:
            checked[-1].tell()
    is_valid = all(one.is_valid for one in checked)
    if options.json:
        told = {"valid": is_valid, "configs": [one.members() for one in checked]}
        print(json.dumps(told, indent=2))
    warned = any(one.is_warned for one in checked)
    return FAILED if not is_valid or (warned and options.strict) else FINE


def _check(path: Path, now: datetime, *, is_elsewhere: bool) -> CheckedFile:
    stdin = stdin_of_config(path)
    try:
        with progress(f"checking {path}"):
            found = check_config(path, now, stdin, is_elsewhere=is_elsewhere)
            version = compute_policy_version(found.config)
    except ConfigError as error:
        return CheckedFile(path, error=error)
    return CheckedFile(path, found, version)


def _counts(config: Config) -> dict[str, int]:
    """Return the number of each kind of part.

    The last number counts items within those before it.
    """
    return {
        "issuers": len(config.issuers),
        "agents": len(config.agents),
        "principals": len(config.principals),
        "grants": len(config.grants),
        "rules": sum(map(len, config.grants.values())),
    }


def _noun(plural: str, number: int) -> str:
    return plural.removesuffix("s") if number == 1 else plural
