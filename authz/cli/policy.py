"""The verbs for who changes a policy: try it on cases.

Exit status: 0 fine, 1 something needs a look.
"""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.config import load
from authz.policytest import run_cases

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

_ALL_PERCENT: Final = 100.0


def add_verbs(verbs: "Verbs") -> None:
    """Add them to the command."""
    test = verbs.add_parser(
        "test",
        help="hold a policy against cases: what it must allow, and what it must not",
        description="Hold a policy against the cases of a YAML file, and tell which rules none "
        "of them covers. Only policy is tested, step 3: routes with their modes and their "
        "step-up, tokens and revocations are not.",
        epilog="exit status: 1 when a case came out otherwise, or too few rules are covered",
    )
    test.set_defaults(verb=_test)
    _add_config(test)
    test.add_argument("cases", metavar="CASES", type=Path, help="the YAML file of cases")
    test.add_argument(
        "--min-coverage",
        metavar="PERCENT",
        type=_percent,
        default=0.0,
        help="of the rules that must have made a case allowed or denied (default: 0)",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("AUTHZ_CONFIG")
    parser.add_argument(
        "config",
        metavar="CONFIG",
        type=Path,
        nargs="?" if default else None,
        default=Path(default) if default else None,
        help="the config file (AUTHZ_CONFIG)",
    )


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= _ALL_PERCENT:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return value


def _test(options: argparse.Namespace) -> int:
    outcome = run_cases(load(options.config), options.cases, time.time())
    lines = outcome.lines()
    is_covered = outcome.coverage_percent >= options.min_coverage
    if not is_covered:
        lines.append(f"too few: --min-coverage asks for {options.min_coverage:g}%")
    print("\n".join(lines))
    return 0 if is_covered and not outcome.failures else 1
