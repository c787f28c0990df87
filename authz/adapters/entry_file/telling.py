"""The members of log lines about entries: which, who and why."""

from typing import Final

MOST_TOLD: Final = 20  # of a change: a long list must not drown the rest of the log
_MOST_CHARS: Final = 256  # of an author or a note


def told_members(name: str, by: str | None, note: str | None) -> dict[str, str]:
    """Return what a log line says of an entry: its id, and who did it and why if that is known."""
    told = {"id": name, "by": by, "note": note}
    return {name: text[:_MOST_CHARS] for name, text in told.items() if text}
