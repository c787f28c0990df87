"""Lines that the clerk hands to every sink together."""

from typing import NamedTuple


class Batch(NamedTuple):
    """Complete lines, in their order.

    Attributes:
        lines: each line's bytes, with its end.
        first: the index of the first line in the log's tree; None if the lines are no leaves,
            which is so without a chain, and for checkpoints.
        leaves: the leaf hash of each line; None if the lines are no leaves.
    """

    lines: tuple[bytes, ...]
    first: int | None = None
    leaves: tuple[bytes, ...] | None = None
