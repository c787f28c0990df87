"""The filters of records: who, for whom, what, why and when; a ``*`` in a text is any text."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from authz.review.audit_reading.entry import Entry

_OWN: Final = b'"audit"'
# Only an escape by number can stand for these.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .:@_-]*")


class TextPattern:
    """A text that must be the whole of another, in which each ``*`` stands for any characters.

    Matching takes linear time, whatever the pattern and the text are.
    """

    __slots__ = ("_hidden_by", "_longest", "_parts")

    def __init__(self, text: str) -> None:
        """Take the pattern's text."""
        self._parts = text.split("*")
        longest = max(self._parts, key=len)
        self._longest = longest.encode("utf-8", "surrogatepass")
        self._hidden_by = b"\\u" if _PLAIN.fullmatch(longest) else b"\\"

    def may_fit(self, data: bytes) -> bool:
        """Tell whether a line, or some lines, may have a text that fits.

        The pattern's text stands there as it is, unless an escape hides it (RFC 8259 section 7).
        """
        return self._longest in data or self._hidden_by in data

    def fits(self, text: str) -> bool:
        """Tell whether the whole text fits."""
        first, *middle = self._parts
        if not middle:
            return text == first
        last = middle.pop()
        if not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for part in middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return at <= end


_TEXTS: Final[Mapping[str, Callable[[Entry], Iterable[str]]]] = MappingProxyType(
    {
        "agent": lambda entry: (entry.agent,),
        "principal": lambda entry: (entry.principal,),
        "reason": lambda entry: (entry.reason,),
        "rule": lambda entry: entry.rules,
        "tool": lambda entry: entry.tools,
        "trace": lambda entry: (entry.trace_id,),
        "decision_id": lambda entry: (entry.decision_id,),
        "decision": lambda entry: (entry.decision,),
    }
)
NAMES: Final = tuple(_TEXTS)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a record must have: of each name in ``texts`` one of the patterns, and a time.

    ``since`` belongs to the period, and ``until`` does not.
    """

    texts: Mapping[str, tuple[TextPattern, ...]] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    def may_fit(self, line: bytes) -> bool:
        """Tell whether a line, or some lines, may have a record that fits, without reading it.

        True for a line of the log about itself, too.
        """
        return _OWN in line or all(
            any(pattern.may_fit(line) for pattern in patterns) for patterns in self.texts.values()
        )

    def fits(self, entry: Entry) -> bool:
        """Tell whether a record fits."""
        return self._is_in_time(entry.time) and all(
            any(pattern.fits(text) for text in _TEXTS[name](entry) for pattern in patterns)
            for name, patterns in self.texts.items()
        )

    def _is_in_time(self, time: datetime | None) -> bool:
        if self.since is None and self.until is None:
            return True
        return (
            time is not None
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
        )
