"""The command ``authz``: a verb for each task of an operator.

Exit status: 0 success or allowed, 1 the check failed or the request is denied, 2 usage, 3 could not
start, 130 if Ctrl-C ended it.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import urllib3

from authz import __version__
from authz.adapters.revocation_file import append
from authz.adapters.tls import TlsError
from authz.cli import policy
from authz.cli.common import (
    FAILED,
    FINE,
    INTERRUPTED,
    NO_START,
    USAGE,
    add_config,
    add_verb,
    complain,
    parse_time,
)
from authz.cli.explain import add_verbs as add_explain_verbs
from authz.config import Config, ConfigError, load, schema
from authz.core.revocations import Revocation, RevocationError
from authz.core.spiffe import SpiffeId
from authz.review.audit_files import LogError
from authz.review.check import check_config
from authz.review.keys import fetch_all
from authz.review.resource_metadata import NoResourceError, resource_metadata
from authz.server import StartError, run
from authz.server.json_log import logging_to_stderr
from authz.wiring import BuildError, compute_policy_version

HEALTH_SECONDS: Final = 2.0
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, and return the exit status."""
    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        status = verb(options)
        sys.stdout.flush()  # so that a reader that is gone is noticed here, and not at exit
    except ConfigError as error:
        complain(*error.lines())
        return FAILED
    except (BuildError, LogError, TlsError) as error:
        complain(f"authz: {error}")
        return FAILED
    except BrokenPipeError:  # the reader of our output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _serve(options: argparse.Namespace) -> int:
    with logging_to_stderr(options.log_level):  # also complaints: nobody may be reading them
        try:
            run(options.config)
        except StartError as error:
            complain(f"authz: could not start: {error}")
            return NO_START
        except ConfigError as error:
            complain(*error.lines())
            return NO_START
    return FINE


def _check(options: argparse.Namespace) -> int:
    found = check_config(options.config, datetime.now(UTC))
    config = found.config
    complain(*(f"warning: {warning}" for warning in found.warnings))
    rules = sum(map(len, config.grants.values()))
    print(
        f"{options.config}: fine: {_count(len(config.issuers), 'issuer')}, "
        f"{_count(len(config.agents), 'agent')}, {_count(len(config.principals), 'principal')}, "
        f"{_count(len(config.grants), 'grant')} of {_count(rules, 'rule')}; "
        f"policy version {compute_policy_version(config)}"
    )
    return FAILED if found.warnings and options.strict else FINE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _keys(options: argparse.Namespace) -> int:
    found = fetch_all(load(options.config))
    for issuer in found:
        print("\n".join(issuer.lines()))
    return FAILED if any(issuer.error for issuer in found) else FINE


def _revoke(options: argparse.Namespace) -> int:
    entry = Revocation(
        agent=options.agent,
        issuer=options.issuer,
        subject=options.subject,
        token_id=options.token_id,
        before=options.before,
        note=options.note,
    )
    if entry.agent is None and entry.token_id is None and entry.before is None:
        entry = msgspec.structs.replace(entry, before=datetime.now(UTC))
    config = load(options.config)
    try:
        entry.check()
        _check_known(config, entry)
        path = _revocation_file(config)
    except RevocationError as error:
        complain(f"authz: {error}")
        return USAGE
    try:
        append(path, entry)
    except RevocationError as error:
        complain(f"authz: not revoked: {error}")
        return FAILED
    print(f"revoked; takes effect within a second: {msgspec.json.encode(entry).decode()}")
    return FINE


def _revocation_file(config: Config) -> Path:
    """Return the path of the revocation file. Raises RevocationError if none is set."""
    if config.revocations.file is None:
        raise RevocationError("the config does not set revocations.file")
    return Path(config.revocations.file)


def _check_known(config: Config, entry: Revocation) -> None:
    """Require names that the config can know, as others are mistyped. Raises RevocationError."""
    known = [issuer.issuer for issuer in config.issuers]
    if entry.issuer is not None and entry.issuer not in known:
        raise RevocationError(
            f"no issuer {entry.issuer!r} in the config; its issuers: {', '.join(known)}"
        )
    domains = config.trust_domains
    if entry.agent is not None and SpiffeId.parse(entry.agent).trust_domain.name not in domains:
        raise RevocationError(f"agent: its trust domain is not one of {', '.join(domains)}")


def _metadata(options: argparse.Namespace) -> int:
    try:
        document = resource_metadata(load(options.config), options.route)
    except NoResourceError as error:
        complain(f"authz: {error}")
        return USAGE
    print(json.dumps(document, indent=2))
    return FINE


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return FINE


def _health(options: argparse.Namespace) -> int:
    url = f"http://{options.address}/readyz"
    try:
        response = urllib3.PoolManager().request(
            "GET", url, retries=False, redirect=False, timeout=HEALTH_SECONDS
        )
    except urllib3.exceptions.HTTPError as error:
        complain(f"authz: {url}: {type(error).__name__}")
        return FAILED
    print(response.data.decode("utf-8", "replace").strip())
    return FINE if response.status == 200 else FAILED  # noqa: PLR2004 - HTTP's OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="authz",
        description="Envoy external authorization for AI agents: may this agent, acting for this "
        "principal, do this?",
        epilog="exit status: 0 success or allowed, 1 the check failed or the request is denied, "
        "2 usage, 3 could not start, 130 Ctrl-C",
    )
    parser.add_argument("--version", action="version", version=f"authz {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    serve = add_verb(verbs, _serve, "serve", "answer a proxy's checks until told to stop")
    add_config(serve)
    serve.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=os.environ.get("AUTHZ_LOG_LEVEL", "info"),
        help="the least severe log lines to write (AUTHZ_LOG_LEVEL; default: info)",
    )

    check = add_verb(verbs, _check, "check", "list every error in a config, with file and line")
    check.epilog = "exit status: 1 when there is an error or, with --strict, a warning"
    add_config(check)
    check.add_argument("--strict", action="store_true", help="exit 1 on warnings too")

    add_explain_verbs(verbs)

    policy.add_verbs(verbs)

    keys = add_verb(
        verbs, _keys, "keys", "fetch every issuer's keys once, and show which are trusted"
    )
    keys.epilog = "exit status: 1 when the keys of an issuer could not be fetched"
    add_config(keys)

    metadata = add_verb(
        verbs, _metadata, "metadata", "print a route's protected-resource metadata (RFC 9728)"
    )
    add_config(metadata)
    metadata.add_argument("route", metavar="ROUTE", help="the name of a route with a resource")

    revoke = add_verb(
        verbs, _revoke, "revoke", "revoke an agent, a principal's tokens or a single token"
    )
    revoke.epilog = (
        "appends a line to the revocation file (revocations.file in the config); exit status: 1 "
        "when that failed"
    )
    add_config(revoke)
    revoke.add_argument(
        "--agent",
        metavar="ID",
        help="revoke this agent, by its SPIFFE ID; no other flag goes with it but --note",
    )
    revoke.add_argument(
        "--issuer", metavar="ISS", help="revoke tokens of this issuer; all of them if given alone"
    )
    revoke.add_argument(
        "--subject", metavar="SUB", help="revoke only the tokens of this principal (sub)"
    )
    revoke.add_argument("--token-id", metavar="JTI", help="revoke only the token with this jti")
    revoke.add_argument(
        "--before",
        metavar="TIME",
        type=parse_time,
        help="revoke tokens issued before this time; default: now",
    )
    revoke.add_argument("--note", metavar="TEXT", help="a note for people")

    add_verb(verbs, _schema, "schema", "print the config's JSON Schema, for editors")

    health = add_verb(verbs, _health, "health", "ask a running server whether it is ready")
    health.add_argument(
        "address", nargs="?", default="127.0.0.1:9192", help="host:port (default: %(default)s)"
    )
    return parser


def help_texts() -> list[tuple[str, str]]:
    """Return the help of the command and of each verb, for the reference page."""
    parser = _parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001 - argparse has no public way
    return [
        ("authz", parser.format_help()),
        *((f"authz {name}", verb.format_help()) for name, verb in verbs.choices.items()),
    ]
