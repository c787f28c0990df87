"""The verbs for changing a policy: test, replay, suggest.

Exit status: 0 success, 1 something needs a look.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.cli.common import FAILED, FINE, add_config, answer, complain, progress
from authz.config import load
from authz.review.audit_files import AuditLogs
from authz.review.patch import patch
from authz.review.policy_tests import run_cases
from authz.review.replay import replay_logs
from authz.review.suggest import suggest

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

NO_RECORDS: Final = "no record was read, so there is nothing to judge by"
_ALL_PERCENT: Final = 100.0


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs test, replay and suggest."""
    test = verbs.add_parser(
        "test",
        help="test a policy with cases that it must allow or deny",
        description="Test a policy with the cases in a YAML file, and list the rules that no case "
        "covers. This tests policy (step 3) only: not tokens, not revocations, and not the "
        "modes and step-up of routes.",
        epilog="exit status: 1 when a case came out differently, or too few rules are covered",
    )
    test.set_defaults(verb=_test)
    add_config(test)
    test.add_argument("cases", metavar="CASES", type=Path, help="the YAML file of cases")
    test.add_argument(
        "--min-coverage",
        metavar="PERCENT",
        type=_percent,
        default=0.0,
        help="the percentage of rules that must have decided a case (default: 0)",
    )
    test.add_argument("--json", action="store_true", help="print JSON")

    replay = verbs.add_parser(
        "replay",
        help="show what a new policy would have changed for the requests in an audit log",
        description="Decide the recorded requests again by the new policy, CONFIG, each at the "
        "time when it was recorded, and show which decisions differ. A request that something "
        "other than policy refused stays refused.",
        epilog="exit status: 1 when a request is newly allowed or can't be decided, a line is "
        "invalid, or there is no record; with --strict also when one is newly denied",
    )
    replay.set_defaults(verb=_replay)
    add_config(replay)
    _add_audit(replay)
    replay.add_argument(
        "--old",
        metavar="CONFIG",
        type=Path,
        help="the config that decided then: it tells absent claims and headers from those that "
        "were not recorded",
    )
    replay.add_argument(
        "--strict", action="store_true", help="exit 1 for newly denied requests too"
    )
    replay.add_argument("--json", action="store_true", help="print JSON")

    less = verbs.add_parser(
        "suggest",
        help="propose a narrower policy from the requests in an audit log",
        description="List rules that were never used or are wider than their use, and propose the "
        "smallest rules for requests that a policy in shadow would have refused. This changes "
        "no file: it prints YAML with comments, for review.",
        epilog="exit status: 1 when there is no record",
    )
    less.set_defaults(verb=_suggest)
    add_config(less)
    _add_audit(less)
    less.add_argument(
        "--denied",
        action="store_true",
        help="propose rules for requests that policy refused in earnest",
    )
    less.add_argument(
        "--diff", action="store_true", help="print a unified diff of the config's files, for review"
    )


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--audit",
        metavar="FILE",
        type=Path,
        action="append",
        required=True,
        help="an audit log, plain or gzip'd; - for standard input; repeatable",
    )


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= _ALL_PERCENT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value


def _test(options: argparse.Namespace) -> int:
    outcome = run_cases(load(options.config), options.cases, time.time())
    answer(options, outcome.lines(), outcome.members)
    is_covered = outcome.coverage_percent >= options.min_coverage
    if not is_covered:
        complain(f"too few rules are covered: --min-coverage asks for {options.min_coverage:g}%")
    return FINE if is_covered and not outcome.failures else FAILED


def _replay(options: argparse.Namespace) -> int:
    old = None if options.old is None else load(options.old)
    with progress() as news, AuditLogs(options.audit, news) as logs:
        report = replay_logs(load(options.config), logs, old)
    answer(options, report.lines(), report.members)
    if not report.records:
        complain(f"authz: {NO_RECORDS}")
    return FAILED if report.needs_a_look(is_strict=options.strict) else FINE


def _suggest(options: argparse.Namespace) -> int:
    with progress() as news, AuditLogs(options.audit, news) as logs:
        found = suggest(load(options.config), logs, denied=options.denied)
    if not found.records:
        complain(f"authz: {NO_RECORDS}")
        return FAILED
    for line in patch(options.config, found) if options.diff else found.lines:
        print(line)
    return FINE
