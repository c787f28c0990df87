"""The counts of the tracer, which a scrape reads, also where no traces are made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TraceStatus:
    """The counts of spans since the start. Two losses at once may count as one.

    Attributes:
        exported: spans that the collector took.
        dropped: spans that found the queue full, or were never taken.
        rejected: spans of batches that the collector took in part, and refused.
        is_failing: whether the last batch was not taken.
    """

    exported: int = 0
    dropped: int = 0
    rejected: int = 0
    is_failing: bool = False
