"""States in a report what a verification of the logs' chain has found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChainStatement:
    """Whether the logs are proven to be complete and unchanged, and the lines that say so."""

    is_proven: bool
    lines: tuple[str, ...]
