"""``authz revoke``: appends to the revocation file."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from authz.adapters.revocation_file.writing import append
from authz.cli.common import FAILED, FINE, USAGE, complain
from authz.cli.reading import load_config
from authz.config import Config
from authz.core.revocations import Revocation, RevocationError
from authz.core.spiffe import SpiffeId


def run(options: argparse.Namespace) -> int:
    """Revoke, and return the exit status. Raises ConfigError."""
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
    config = load_config(options.config)
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
