"""The verbs about a config and a running server: check, keys, metadata, revoke, schema, health."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import urllib3

from authz.adapters.revocation_file import append
from authz.cli import policy, token
from authz.cli.common import FAILED, FINE, USAGE, add_config, add_verb, complain, parse_time
from authz.cli.explain import add_verbs as add_explain_verbs
from authz.config import Config, load, schema
from authz.core.revocations import Revocation, RevocationError
from authz.core.spiffe import SpiffeId
from authz.review.check import check_config
from authz.review.keys import fetch_all
from authz.review.resource_metadata import NoResourceError, resource_metadata
from authz.wiring import compute_policy_version

HEALTH_SECONDS: Final = 2.0


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add all verbs but serve, in the order of the help."""
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

    token.add_verbs(verbs)

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
