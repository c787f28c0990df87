"""How the history of revocations is told."""

import argparse
from typing import Final

from authz.cli.entry_history import HistoryWords
from authz.cli.lined_up import moment
from authz.cli.revoking.meant import asked_members, is_asked
from authz.cli.revoking.shown import what
from authz.core.revocations import READER, Revocation


def _is_asked(options: argparse.Namespace, entry: Revocation | None) -> bool:
    asked = asked_members(options)
    return not any(asked) or (entry is not None and is_asked(entry, asked))


HISTORY: Final = HistoryWords(
    READER, "revoked", what, lambda entry: moment(entry.expires), _is_asked
)
