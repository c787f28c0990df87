"""Counts records that are alike together, since most are like others before."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from authz.review.audit_reading.entry import Entry
from authz.review.audit_reading.found import Found
from authz.review.audit_report.activity import Seen

_MAX_KINDS: Final = 2048  # kept at a time: with their claims some 10 MB, and seldom more
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def alike(records: Iterable[Found]) -> Iterator[tuple[Entry, Seen]]:
    """Yield one record of each kind, and the counts of all. A kind may come several times."""
    kinds: dict[tuple[object, ...], tuple[Entry, Seen]] = {}
    for found in records:
        entry = found.entry
        key = _kind(entry)
        kind = kinds.get(key)
        if kind is None:
            if len(kinds) >= _MAX_KINDS:
                yield from kinds.values()
                kinds.clear()
            kind = kinds[key] = entry, Seen()
        kind[1].add(entry)
    yield from kinds.values()


def _kind(entry: Entry) -> tuple[object, ...]:
    """Return what the report reads of a record, but for time and ID."""
    return (
        entry.reason,
        entry.is_allow,
        entry.agent,
        entry.principal,
        entry.issuer,
        entry.mode,
        entry.rule,
        entry.principal_rule,
        entry.policy_version,
        entry.by_svid,
        entry.redacted,
        _encode(entry.claims) if entry.claims else b"",
    )
