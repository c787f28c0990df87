"""``authz revoke``: appends to the revocation file."""

import argparse
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from authz.adapters.revocation_file.writing import append
from authz.cli.agent_hint import agent_hint
from authz.cli.common import FAILED, FINE, USAGE, answer, refuse
from authz.cli.reading import load_config
from authz.config import Config
from authz.config.nearest import nearest, nearest_or_all
from authz.core.patterns import ANY
from authz.core.revocations import Revocation, RevocationError
from authz.core.spiffe import SpiffeId, SpiffePattern

_FORCE: Final = "; with --force it is revoked all the same"


def run(options: argparse.Namespace) -> int:
    """Revoke, and return the exit status. Raises ConfigError."""
    entry = Revocation(
        agent=options.agent,
        issuer=options.issuer,
        subject=options.subject,
        token_id=options.token_id,
        before=options.before,
        note=options.note,
        since=datetime.now(UTC).replace(microsecond=0),
    )
    if entry.agent is None and entry.token_id is None and entry.before is None:
        entry = msgspec.structs.replace(entry, before=datetime.now(UTC))
    loaded = load_config(options.config)
    try:
        entry.check()
        if not options.force:
            _check_known(loaded, entry)
        path = revocation_file(loaded)
    except RevocationError as error:
        return refuse(options, f"{error}{agent_hint(loaded, entry.agent)}", USAGE)
    try:
        append(path, entry)
    except RevocationError as error:
        return refuse(options, f"not revoked: {error}", FAILED)
    config = shlex.quote(str(options.config))
    lines = (
        f"revoked; takes effect within a second: {msgspec.json.encode(entry).decode()}",
        f"to take it back: authz revocations {config} --id {entry.id} --take-back",
    )
    answer(options, lines, lambda: {"file": str(path), "revoked": _members(entry)})
    return FINE


def _members(entry: Revocation) -> dict[str, Any]:
    return {"id": entry.id, **msgspec.to_builtins(entry)}


def revocation_file(config: Config) -> Path:
    """Return the path of the revocation file. Raises RevocationError if none is set."""
    if config.revocations.file is None:
        raise RevocationError("the config does not set revocations.file")
    return Path(config.revocations.file)


def _check_known(config: Config, entry: Revocation) -> None:
    """Require names that the config knows, as others are mistyped. Raises RevocationError.

    Only the issuer knows subjects and the ids of tokens.
    """
    known = [issuer.issuer for issuer in config.issuers]
    if entry.issuer is not None and entry.issuer not in known:
        near = nearest_or_all(entry.issuer, known, "its issuers")
        raise RevocationError(f"no issuer {entry.issuer!r} in the config{near}{_FORCE}")
    if entry.agent is not None:
        _check_agent(config, SpiffeId.parse(entry.agent))


def _check_agent(config: Config, agent: SpiffeId) -> None:
    domains = config.trust_domains
    if agent.trust_domain.name not in domains:
        why = f"agent: its trust domain is not one of {', '.join(domains)}"
        raise RevocationError(f"{why}{nearest(agent.trust_domain.name, domains)}{_FORCE}")
    patterns = [SpiffePattern.parse(entry.id) for entry in config.agents]
    if not any(pattern.matches(agent) for pattern in patterns):
        near = nearest(agent.text, [_filled(agent, pattern) for pattern in patterns])
        near = near or nearest_or_all(agent.text, [entry.id for entry in config.agents], "its IDs")
        raise RevocationError(f"no entry of agents fits {agent.text}{near}{_FORCE}")


def _filled(agent: SpiffeId, pattern: SpiffePattern) -> str:
    """Return the ID that a pattern may mean: its wildcards filled from the agent's ID."""
    wanted, given = pattern.path.segments, agent.segments
    filled = [
        (given[at] if at < len(given) else ANY) if segment is None else segment
        for at, segment in enumerate(wanted)
    ]
    filled += given[len(wanted) :] if pattern.path.rest else ()
    return f"{pattern.trust_domain.spiffe_id}/{'/'.join(filled)}"
