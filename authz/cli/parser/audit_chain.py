"""The arguments of the verbs about an audit log's chain: audit key, verify, prove, check-proof."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from authz.cli.parser.adding import add_json, add_verb, end_help

if TYPE_CHECKING:
    from authz.cli.parser.adding import Verbs

_FILES = "a file of an audit log, plain or gzip'd; - for standard input"


def add_chain_verbs(inner: "Verbs") -> None:
    """Add the verbs audit key, audit verify, audit prove and audit check-proof."""
    _add_key(inner)
    _add_verify(inner)
    _add_prove(inner)
    _add_check_proof(inner)


def _add_key(verbs: "Verbs") -> None:
    key = add_verb(
        verbs,
        "audit_key",
        "key",
        "make the private key that signs an audit log, and print its public key",
        "Make the private key that audit.chain.key of a config names, an Ed25519 key that only its "
        "owner can read, unless the file exists. Print the public key, which verifies the log.",
    )
    end_help(
        key,
        "authz audit key /etc/authz/audit.key > audit.pub",
        "authz audit key /etc/authz/audit.key --name authz-1",
        status="0 the public key was printed, 1 the file can't be written or has no such key, "
        "2 usage",
        note="A key in PEM verifies logs of servers of any name; one with a name only those of a "
        "server with this audit.chain.name.",
    )
    key.add_argument("file", metavar="PRIVATE", type=Path, help="the file of the private key")
    key.add_argument(
        "--name",
        metavar="NAME",
        help="print the public key for the server of this name alone, as C2SP signed-note writes "
        "it: NAME+HASH+KEY",
    )
    add_json(key)


def _add_verify(verbs: "Verbs") -> None:
    verify = add_verb(
        verbs,
        "audit_verify",
        "verify",
        "prove that audit logs are complete and unchanged, or list each place that is not",
        "Prove offline that the files of audit logs are what the server wrote: no record changed, "
        "put in, taken out or moved, none missing at the end of a file, and the logs of all "
        "workers and earlier runs present. Each place that contradicts it is told as file:line.",
    )
    end_help(
        verify,
        "authz audit verify audit.jsonl* --key audit.pub",
        "authz audit verify audit.jsonl --key audit.pub --running --partial",
        "authz audit verify a/audit.jsonl b/audit.jsonl --key audit.pub --server a --server b "
        "--witness checkpoints.txt",
        status="0 all is proven, 1 something is not, or a file can't be read, 2 usage",
        note="Give all files, in any order. What the server signed itself, such as lost records "
        "and a crash, is told as a note.",
    )
    _add_files(verify)
    add = verify.add_argument
    add(
        "--witness",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="checkpoints that were kept elsewhere: the logs must have each of them (repeatable); "
        "- for standard input",
    )
    add(
        "--server",
        metavar="NAME",
        action="append",
        default=[],
        help="a server, by audit.chain.name, of which a log must be here (repeatable)",
    )
    add("--sink", metavar="NAME", help="the sink that wrote the files: gaps of others are errors")
    add(
        "--running",
        action="store_true",
        help="the server is running: the newest log of each worker may be open, so records could "
        "be missing at its end unless a witness tells",
    )
    add(
        "--partial",
        action="store_true",
        help="earlier files, and those of other workers, need not be here",
    )
    add("--strict", action="store_true", help="gaps, lost records and crashes are errors too")
    add_json(verify)


def _add_prove(verbs: "Verbs") -> None:
    prove = add_verb(
        verbs,
        "audit_prove",
        "prove",
        "make a proof of one record, which others check without the rest of the log",
        "Print the proof that the record of a decision is in a log that the server signed, as C2SP "
        "tlog-proof writes it, with the record.",
    )
    end_help(
        prove,
        "authz audit prove 0190a5d2b7c87d3e9f10111213141516 audit.jsonl --key audit.pub > "
        "decision.tlog-proof",
        status="0 the proof was printed, 1 the record is not there or not proven, 2 usage",
        note="Several files are given from old to new. The one with the record mostly suffices.",
    )
    prove.add_argument("decision_id", metavar="DECISION_ID", help="decision_id of the record")
    _add_files(prove)
    add_json(prove)


def _add_check_proof(verbs: "Verbs") -> None:
    check = add_verb(
        verbs,
        "audit_check_proof",
        "check-proof",
        "check the proof of a record, and print the record",
        "Check a proof that authz audit prove made, with the public key alone, and print the "
        "record.",
    )
    end_help(
        check,
        "authz audit check-proof decision.tlog-proof --key audit.pub",
        status="0 the record is proven, 1 it is not, 2 usage",
    )
    check.add_argument("proof", metavar="FILE", type=Path, help="the proof; - for standard input")
    _add_public_key(check)
    add_json(check)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help=_FILES)
    _add_public_key(parser)


def _add_public_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key",
        metavar="PUBLIC",
        type=Path,
        action="append",
        required=True,
        help="a file with the public key that authz audit key prints, in PEM or as NAME+HASH+KEY "
        "(repeatable: earlier keys)",
    )
