"""The verbs for who changes a policy: try it on cases, and on what was recorded.

Exit status: 0 fine, 1 something needs a look.
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
from authz.review.replay import what_if
from authz.review.suggest import suggest

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Verbs = _SubParsersAction[argparse.ArgumentParser]

NO_RECORDS: Final = "no record was read: that nothing was seen says nothing"
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
    add_config(test)
    test.add_argument("cases", metavar="CASES", type=Path, help="the YAML file of cases")
    test.add_argument(
        "--min-coverage",
        metavar="PERCENT",
        type=_percent,
        default=0.0,
        help="of the rules that must have made a case allowed or denied (default: 0)",
    )
    test.add_argument("--json", action="store_true", help="for machines")

    replay = verbs.add_parser(
        "replay",
        help="say what a new policy would have changed for the requests of an audit log",
        description="Decide the records of audit logs again by CONFIG, the new policy, each at "
        "its own time, and tell what comes out otherwise. What something else than policy "
        "refused stays refused.",
        epilog="exit status: 1 when something is newly allowed or can't be told, a line is no "
        "record or there is none at all, or with --strict something is newly denied",
    )
    replay.set_defaults(verb=_replay)
    add_config(replay)
    _add_audit(replay)
    replay.add_argument(
        "--old",
        metavar="CONFIG",
        type=Path,
        help="the config that decided then: it says what its records would hold if it were there",
    )
    replay.add_argument("--strict", action="store_true", help="exit 1 for what is newly denied too")
    replay.add_argument("--json", action="store_true", help="for machines")

    less = verbs.add_parser(
        "suggest",
        help="propose a narrower policy from the use that an audit log shows",
        description="Tell rules that were never used or are wider than their use, and the "
        "smallest rules for what policy in shadow would have refused. Nothing is changed: the "
        "output is YAML with comments, for review.",
        epilog="exit status: 1 when there is no record",
    )
    less.set_defaults(verb=_suggest)
    add_config(less)
    _add_audit(less)
    less.add_argument(
        "--denied", action="store_true", help="propose rules for what policy really refused"
    )
    less.add_argument(
        "--diff", action="store_true", help="as a unified diff of the config's files, to review"
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
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return value


def _test(options: argparse.Namespace) -> int:
    outcome = run_cases(load(options.config), options.cases, time.time())
    answer(options, outcome.lines(), outcome.members)
    is_covered = outcome.coverage_percent >= options.min_coverage
    if not is_covered:
        complain(f"too few: --min-coverage asks for {options.min_coverage:g}%")
    return FINE if is_covered and not outcome.failures else FAILED


def _replay(options: argparse.Namespace) -> int:
    old = None if options.old is None else load(options.old)
    with progress() as news, AuditLogs(options.audit, news) as logs:
        report = what_if(load(options.config), logs, old)
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
