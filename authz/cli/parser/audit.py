"""The arguments of the verbs about audit logs: the group audit, and the verbs that read."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_config, add_json, add_verb, end_help
from authz.cli.parser.audit_chain import add_chain_verbs
from authz.cli.parser.audit_schema import add_schema_verb
from authz.cli.parser.types import a_count, a_moment

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

PATTERNS = (
    "In the text of a filter, * stands for any characters: quote it. A filter that is given "
    "several times takes any of its texts; different filters must all fit."
)
# The flags of filters, and what each compares.
_TEXTS = {
    "agent": ("ID", "the agent's SPIFFE ID, such as '*/travel'"),
    "principal": ("SUB", "the principal: the token's sub"),
    "reason": ("REASON", "the reason of a refusal, such as policy_denied or 'token_*'"),
    "rule": ("RULE", "a rule that decided, such as finance-read/0 or 'finance-read/*'"),
    "tool": ("NAME", "a called tool"),
    "trace": ("ID", "the trace id"),
}


def add_verbs(verbs: "Verbs") -> None:
    """Add the group audit, with its verbs."""
    audit = verbs.add_parser(
        "audit",
        help="read and verify audit logs, write a report of them, make the key that signs them",
        description="Read and verify audit logs: plain or gzip'd files, and pipes.",
    )
    inner = audit.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_tail(inner)
    _add_show(inner)
    _add_stats(inner)
    _add_report(inner)
    add_chain_verbs(inner)
    add_schema_verb(inner)


def _add_tail(verbs: "Verbs") -> None:
    tail = add_verb(
        verbs,
        "audit_tail",
        "tail",
        "list the last records that fit some filters, and follow the logs",
        "List records, a line each: time (UTC), answer, agent, principal, decision ID, operation. "
        "The records of several logs are put in order of time.",
    )
    end_help(
        tail,
        "authz audit tail audit.jsonl --follow --decision deny",
        "authz audit tail audit.jsonl* --agent '*/travel' --principal alice --since 2h",
        "authz audit tail audit.jsonl --json --reason 'token_*' | jq .detail",
        status="0 it was printed, 1 no record fits, or a log can't be read, 2 usage, "
        "130 Ctrl-C, also with --follow",
        note=PATTERNS,
    )
    _add_files(tail)
    tail.add_argument(
        "-n",
        "--lines",
        metavar="N",
        type=a_count,
        help="list the last N records that fit (default: 10; with --since all, with "
        "--since and --follow 10000)",
    )
    tail.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on with the records that are added, also when a file is rotated or truncated",
    )
    _add_filters(tail)
    tail.add_argument(
        "--json",
        dest="unchanged",
        action="store_true",
        help="print the records unchanged, a JSON object a line",
    )


def _add_show(verbs: "Verbs") -> None:
    show = add_verb(
        verbs,
        "audit_show",
        "show",
        "show one record in full",
        "Show the record of a decision in full; or with filters, in place of the decision's ID, "
        "the latest record that fits.",
    )
    end_help(
        show,
        "authz audit show 1f0c6f6cf2a94f3c8f4e7d1a2b3c4d5e audit.jsonl audit.jsonl.1.gz",
        "authz audit show --agent '*/travel' --decision deny audit.jsonl",
        status="0 it was printed, 1 no record fits, or a log can't be read, 2 usage",
        note=PATTERNS,
    )
    show.add_argument(
        "asked",
        metavar="DECISION_ID FILE",
        type=Path,
        nargs="*",
        help="the decision's ID, unless there are filters; then audit logs, plain or gzip'd; "
        "- for standard input",
    )
    _add_filters(show)
    add_json(show)


def _add_stats(verbs: "Verbs") -> None:
    stats = add_verb(
        verbs,
        "audit_stats",
        "stats",
        "count records by reason, agent, principal, rule and tool",
        "Count records, with the share of the cache and the percentiles of the latency.",
    )
    end_help(
        stats,
        "authz audit stats audit.jsonl",
        "authz audit stats audit.jsonl* --decision deny --since 1d --top 20",
        status="0 it was printed, 1 no record fits, or a log can't be read, 2 usage",
        note=PATTERNS,
    )
    _add_files(stats)
    stats.add_argument(
        "--top",
        metavar="N",
        type=a_count,
        default=10,
        help="list the N most frequent names of each kind (default: 10)",
    )
    _add_filters(stats)
    add_json(stats)


def _add_report(verbs: "Verbs") -> None:
    report = add_verb(
        verbs,
        "audit_report",
        "report",
        "write a report for a reviewer, as one HTML file",
        "Write who acted for whom and through which grants, what was refused and why, and which "
        "grants, rules, agents and principals of the config were not used. The file needs no "
        "network and no script.",
    )
    end_help(
        report,
        "authz audit report authz.yaml audit.jsonl audit.jsonl.1.gz --out report.html",
        "authz audit report authz.yaml audit.jsonl --since 30d --out month.html",
        status="0 it was written, 1 no record fits, or the config, a log or the report's file "
        "can't be used, 2 usage",
    )
    add_config(report)
    _add_files(report)
    report.add_argument("--out", metavar="HTML", type=Path, required=True, help="the file to write")
    report.add_argument(
        "--key",
        metavar="PUBLIC",
        type=Path,
        action="append",
        help="verify the logs' chain too, and say the result in the report: a file with the public "
        "key (repeatable), as for audit verify --running --partial",
    )
    _add_period(report)
    add_json(report)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="audit logs, plain or gzip'd; - for standard input",
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    for name, (metavar, words) in _TEXTS.items():
        parser.add_argument(
            f"--{name}",
            dest=f"of_{name}",
            action="append",
            default=[],
            metavar=metavar,
            help=f"{words}; repeatable",
        )
    parser.add_argument(
        "--decision", dest="of_decision", choices=["allow", "deny"], help="the answer"
    )
    _add_period(parser)


def _add_period(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        metavar="TIME",
        type=a_moment,
        help="records from this time on: such as 2026-11-25T10:00:00Z, or an age such as 2h",
    )
    parser.add_argument(
        "--until", metavar="TIME", type=a_moment, help="records before this time, likewise"
    )
