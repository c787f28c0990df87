"""The arguments of the verbs for changing a policy: test, replay, suggest."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json
from authz.cli.parser.types import percent

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


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
    test.set_defaults(verb="test")
    add_config(test)
    test.add_argument("cases", metavar="CASES", type=Path, help="the YAML file of cases")
    test.add_argument(
        "--min-coverage",
        metavar="PERCENT",
        type=percent,
        default=0.0,
        help="the percentage of rules that must have decided a case (default: 0)",
    )
    add_json(test)

    replay = verbs.add_parser(
        "replay",
        help="show what a new policy would have changed for the requests in an audit log",
        description="Decide the recorded requests again by the new policy, CONFIG, each at the "
        "time when it was recorded, and show which decisions differ. A request that something "
        "other than policy refused stays refused.",
        epilog="exit status: 1 when a request is newly allowed or can't be decided, a line is "
        "invalid, or there is no record; with --strict also when one is newly denied",
    )
    replay.set_defaults(verb="replay")
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
    add_json(replay)

    less = verbs.add_parser(
        "suggest",
        help="propose a narrower policy from the requests in an audit log",
        description="List rules that were never used or are wider than their use, and propose the "
        "smallest rules for requests that a policy in shadow would have refused. This changes "
        "no file: it prints YAML with comments, for review.",
        epilog="exit status: 1 when there is no record",
    )
    less.set_defaults(verb="suggest")
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
