"""Reports on revocations: the status of a source, and in the log each change and its author."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Final

from authz.adapters.entry_file.telling import MOST_TOLD, told_members
from authz.core.revocations import Revocation

_log: Final = logging.getLogger("authz.revocations")


@dataclass(frozen=True, slots=True)
class RevocationStatus:
    """The state of a source of revocations.

    Attributes:
        source: file or store.
        entries: revocations in force.
        taken: changes that are in force.
        refused: changes that were not used, as they were invalid.
        looked_at: unix seconds of the last successful check for a change; 0 if there was none.
        lost: how often the store had lost revocations that were in force here.
        is_away: whether the store has not answered for longer than the settings allow.
    """

    source: str
    entries: int
    taken: int
    refused: int
    looked_at: float
    lost: int = 0
    is_away: bool = False


def tell_added(entries: Iterable[Revocation], count: int) -> None:
    """Log the entries that are in force from now on; of many, the first."""
    for entry in islice(entries, MOST_TOLD):
        _log.info("revocation in force", extra=told_members(entry.id, entry.by, entry.note))
    if count > MOST_TOLD:
        _log.info("revocations in force: %d in all", count)


def tell_removed(
    entries: Iterable[Revocation],
    count: int,
    by: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> None:
    """Log the entries that were taken back; ``by`` says by their ids who did it, and why."""
    for entry in islice(entries, MOST_TOLD):
        _log.info(
            "revocation taken back", extra=told_members(entry.id, *by.get(entry.id, ("", "")))
        )
    if count > MOST_TOLD:
        _log.info("revocations taken back: %d in all", count)
