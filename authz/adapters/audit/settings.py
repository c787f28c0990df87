"""The ``audit`` section of the config."""

from pathlib import Path
from typing import Final

from pydantic import Field

from authz.core.choice import Choice
from authz.core.settings import Settings

STANDARD_OUTPUT: Final = "-"


class WhenFull(Choice):
    """The ways to treat an allow that can't be recorded."""

    DROP = "drop"
    DENY = "deny"


class AuditSettings(Settings):
    """The audit log, with one record for each decision."""

    path: str = Field(default="-", min_length=1)
    """A file, or - for standard output. The server creates the file for its owner only (0600), and
    reopens it on SIGHUP, for log rotation. A named pipe needs a reader when the server starts.
    """
    queue: int = Field(default=10_000, ge=1, le=10_000_000)
    """Records that may wait to be written."""
    when_full: WhenFull = WhenFull.DROP
    """What to do while the queue is full or the log can't be written. drop: allow, and count the
    records for which the queue has no room. deny: refuse requests that can't be recorded.
    """


def folder_of(path: str) -> Path | None:
    """Return the folder that must exist for ``audit.path``; None for standard output."""
    return None if path == STANDARD_OUTPUT else Path(path).parent
