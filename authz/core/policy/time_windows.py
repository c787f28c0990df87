"""Time windows in which a rule applies, by the clock of a time zone or between two moments."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import inf
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from authz.core.settings import MisfitError, Moment, Settings

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: Final[tuple[Day, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_MINUTES_OF_DAY: Final = 24 * 60
# Windows begin and end on a full minute, and so do the shifts of every time zone's clock.
_STEP_SECONDS: Final = 60.0


def _span(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError("hours are a span such as 08:00-18:00, or 22:00-06:00 over midnight")
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if begin == end or end > _MINUTES_OF_DAY:
        raise ValueError("the span is empty, or ends after 24:00")
    return begin, end


def _hours(text: str) -> str:
    _span(text)
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone {name!r}, such as Europe/Berlin (IANA)") from None
    return name


class WindowSettings(Settings):
    """A time at which a rule applies: every key that is given must match."""

    days: tuple[Day, ...] | None = Field(default=None, min_length=1)
    """Days of the week, mon to sun. A span over midnight belongs to the day on which it begins."""
    hours: Annotated[str, AfterValidator(_hours)] | None = None
    """A span of the day, such as 08:00-18:00; its end is excluded."""
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Time zone of days and hours, such as Europe/Berlin."""
    not_before: Moment | None = None
    """The moment at which the window begins, RFC 3339 with a zone."""
    not_after: Moment | None = None
    """The moment at which the window ends, RFC 3339 with a zone."""

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if not (self.days or self.hours or self.not_before or self.not_after):
            raise ValueError(
                "give days, hours, not_before or not_after; for any time leave during out"
            )
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise MisfitError("not_after is not after not_before", "not_after")
        return self


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A compiled window.

    Attributes:
        days: 0 for Monday.
        begin, end: minutes of the day; the end may lie before the beginning, on the next day.
        from_seconds, until_seconds: unix seconds.
    """

    days: frozenset[int]
    begin: int
    end: int
    zone: tzinfo
    from_seconds: float
    until_seconds: float

    @classmethod
    def of(cls, settings: WindowSettings) -> Self:
        """Compile the settings of a window."""
        begin, end = _span(settings.hours) if settings.hours else (0, _MINUTES_OF_DAY)
        return cls(
            frozenset(map(_DAYS.index, settings.days or _DAYS)),
            begin,
            end,
            UTC if settings.zone == "UTC" else ZoneInfo(settings.zone),
            settings.not_before.timestamp() if settings.not_before else -inf,
            settings.not_after.timestamp() if settings.not_after else inf,
        )

    def is_open(self, now: float) -> bool:
        """Tell whether a moment, in unix seconds, is in the window."""
        if not self.from_seconds <= now < self.until_seconds:
            return False
        local = datetime.fromtimestamp(now, self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        if minute >= self.begin:
            return day in self.days
        return minute < self.end and (day - 1) % len(_DAYS) in self.days

    def stable_until(self, now: float) -> float:
        """Return unix seconds until which ``is_open`` surely stays the same: a minute at most."""
        minute = (now // _STEP_SECONDS + 1) * _STEP_SECONDS
        return min(end for end in (self.from_seconds, self.until_seconds, minute) if end > now)
