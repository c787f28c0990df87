"""The arguments of the verbs for changing a policy: test, replay, suggest."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.types import percent

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs


def add_verbs(verbs: "Verbs") -> None:
    """Add the verbs test, replay and suggest."""
    _add_test(verbs)
    _add_replay(verbs)
    _add_suggest(verbs)


def _add_test(verbs: "Verbs") -> None:
    test = add_verb(
        verbs,
        "test",
        "test",
        "test a policy with cases that it must allow or deny",
        "Test a policy with the cases in a YAML file, and list the rules that no case covers. This "
        "tests policy (step 3) only: not tokens, not revocations, and not the modes and step-up of "
        "routes.",
    )
    end_help(
        test,
        "authz test authz.yaml cases.yaml --min-coverage 90",
        status="0 all cases came out as expected, 1 a case did not, too few rules are covered, or "
        "a file is invalid, 2 usage",
    )
    add_config(test)
    test.add_argument(
        "cases", metavar="CASES", type=Path, help="the YAML file of cases; - for standard input"
    )
    test.add_argument(
        "--min-coverage",
        metavar="PERCENT",
        type=percent,
        default=0.0,
        help="the percentage of rules that must have decided a case (default: 0)",
    )
    add_json(test)


def _add_replay(verbs: "Verbs") -> None:
    replay = add_verb(
        verbs,
        "replay",
        "replay",
        "show what a new policy would have changed for the requests in an audit log",
        "Decide the recorded requests again by the new policy, CONFIG, each at the time when it "
        "was recorded, and show which decisions differ. A request that something other than policy "
        "refused stays refused.",
    )
    end_help(
        replay,
        "authz replay new.yaml --old authz.yaml --audit audit.jsonl --audit audit.jsonl.1.gz",
        status="0 nobody may do more, 1 a request is newly allowed or can't be decided, a line is "
        "invalid, there is no record, or the config is invalid; with --strict also a request is "
        "newly denied, 2 usage",
    )
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


def _add_suggest(verbs: "Verbs") -> None:
    less = add_verb(
        verbs,
        "suggest",
        "suggest",
        "propose a narrower policy from the requests in an audit log",
        "List rules that were never used or are wider than their use, and propose the smallest "
        "rules for requests that a policy in shadow would have refused. This changes no file: it "
        "prints YAML with comments, for review.",
    )
    end_help(
        less,
        "authz suggest authz.yaml --audit audit.jsonl",
        "authz suggest authz.yaml --audit audit.jsonl --denied --diff > narrower.patch",
        status="0 it was printed, 1 there is no record, or the config or a log can't be used, "
        "2 usage",
    )
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
    add_json(less)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--audit",
        metavar="FILE",
        type=Path,
        action="append",
        required=True,
        help="an audit log, plain or gzip'd; - for standard input; repeatable",
    )
