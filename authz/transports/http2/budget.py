"""Counts the actions that a client may not do too often: a bucket of tokens for each kind."""

from typing import Any

from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.faults import ConnectionFault
from authz.transports.http2.limits import Limits, Rate
from authz.transports.http2.streams import Streams


class Budget:
    """The tokens that are left of a rate."""

    __slots__ = ("_left", "_now", "_rate", "_streams", "_words")

    def __init__(self, rate: Rate, what: str, now: float) -> None:
        """Begin full. ``what`` is its name in the fault's words."""
        self._rate = rate
        self._words = f"too many {what}"
        self._left = float(rate.burst)
        self._now = now
        self._streams = 0

    def spend(self, now: float, streams: int, tokens: int = 1) -> None:
        """Take tokens at ``now``, given the number of streams opened so far.

        Raises ConnectionFault.

        The refill is counted here, so that the calls that earn it cost nothing.
        """
        rate = self._rate
        earned = max(0.0, now - self._now) * rate.per_second
        earned += (streams - self._streams) * rate.per_stream
        self._now, self._streams = max(now, self._now), streams
        self._left = min(self._left + earned, float(rate.burst)) - tokens
        if self._left < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, self._words)


class Budgets:
    """The budgets of a connection, one for each rate of ``Limits``.

    Attributes:
        now: the time of the frame that is being read.
    """

    def __init__(self, streams: Streams[Any], limits: Limits, now: float) -> None:
        """Begin with full budgets."""
        self.now = now
        self.resets = Budget(limits.resets, "resets", now)
        self.provoked_resets = Budget(limits.provoked_resets, "stream errors", now)
        self.settings_frames = Budget(limits.settings_frames, "settings", now)
        self.pings = Budget(limits.pings, "pings", now)
        self.window_updates = Budget(limits.window_updates, "window updates", now)
        self.idle_frames = Budget(limits.idle_frames, "frames without effect", now)
        self.small_data = Budget(limits.small_data, "small frames", now)
        self._streams = streams

    def spend(self, budget: Budget, tokens: int = 1) -> None:
        """Take tokens of one of the budgets. Raises ConnectionFault."""
        budget.spend(self.now, self._streams.opened, tokens)
