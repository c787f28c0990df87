"""Finds the entries that the flags of ``authz revocations`` mean, and takes none for certain."""

import argparse
from collections.abc import Iterator, Mapping, Sequence

from authz.cli.entry_reading import join_sources
from authz.cli.revoking.shown import Shown, is_over, some
from authz.cli.revoking.sources import Listed, Source
from authz.config.nearest import nearest
from authz.config.printable import one_line
from authz.core.email import email_key
from authz.core.revocations import REVOKED, Revocation, RevocationError

Asked = tuple[str | bool | None, ...]  # as ``Revocation.revoked``


def joined(listed: Mapping[Source, Listed]) -> list[Shown]:
    """Return the entries of all sources; an entry that several have, or have twice, is there once.

    The file's come first, in the order of its lines.
    """
    return [Shown(*each) for each in join_sources(listed)]


def asked_members(options: argparse.Namespace) -> Asked:
    """Return what the flags name, as ``Revocation.revoked``, with the key of an address."""
    return _keyed(tuple(getattr(options, name) or None for name in REVOKED))


def _keyed(revoked: Asked) -> Asked:
    """Return what an entry revokes, with the same email for all ways to write an address."""
    pairs = zip(REVOKED, revoked, strict=True)
    return tuple(
        email_key(value) if name == "email" and isinstance(value, str) else value
        for name, value in pairs
    )


def is_asked(entry: Revocation, asked: Asked) -> bool:
    """Tell whether an entry has each member that was asked for."""
    pairs = zip(asked, _keyed(entry.revoked), strict=True)
    return all(given in (None, own) for given, own in pairs)


def meant(options: argparse.Namespace, entries: Sequence[Shown]) -> list[Shown]:
    """Return the entries that the flags name. Raises RevocationError unless that is certain."""
    asked = asked_members(options)
    if options.id:
        if any(asked):
            raise RevocationError("--id names an entry: leave out the other flags")
        return list(_by_ids(options.id, entries))
    if not any(asked):
        raise RevocationError("say which: by --agent, --issuer and the like, or by --id")
    same = [shown for shown in entries if _keyed(shown.entry.revoked) == asked]
    found = [shown for shown in same if not is_over(shown.entry)] or same
    if len(found) == 1:
        return list(_by_ids([found[0].id], entries))
    if found:
        raise RevocationError(
            "\n  ".join([f"{len(found)} entries revoke it; name each by --id", *some("", found)])
        )
    alike = [shown for shown in entries if is_asked(shown.entry, asked)]
    if alike:
        why = "no entry revokes exactly that; name those that are meant by --id"
        raise RevocationError("\n  ".join([why, *some("", alike)]))
    raise RevocationError(f"no entry revokes it{_nearest(asked, entries)}")


def _by_ids(ids: Sequence[str], entries: Sequence[Shown]) -> Iterator[Shown]:
    for name in dict.fromkeys(ids):
        found = [shown for shown in entries if shown.id == name]
        if not found:
            raise RevocationError(f"no entry has the id {name!r}")
        if len(found) > 1:  # ids are short: who chooses two subjects can have them share one
            raise RevocationError(f"{len(found)} entries that differ have the id {name}")
        yield found[0]


def _nearest(asked: Asked, entries: Sequence[Shown]) -> str:
    """Return "did you mean" for the first member that no entry has; "" if none is near."""
    for at, given in enumerate(asked):
        values = (_keyed(shown.entry.revoked)[at] for shown in entries)
        known = {value for value in values if isinstance(value, str)}
        if isinstance(given, str) and given not in known:
            return one_line(nearest(given, sorted(known)))
    return ""
