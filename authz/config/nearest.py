"""Suggests the known name that a misspelt name may mean."""

import difflib
from collections.abc import Collection
from itertools import islice
from typing import Final

_MOST: Final = 24  # names listed if none is near: more do not help in a message
# A comparison costs some microseconds, and a config may have thousands of unknown names.
_COMPARED: Final = 300
_OTHER_LENGTH: Final = 3
_LONGEST: Final = 128


def nearest(name: str, known: Collection[str]) -> str:
    """Return ``; did you mean X?`` for the nearest known name, "" if none is near."""
    same = [candidate for candidate in known if candidate.casefold() == name.casefold()]
    if same:
        return f"; did you mean {same[0]}?"
    alike = (candidate for candidate in known if abs(len(candidate) - len(name)) <= _OTHER_LENGTH)
    close = difflib.get_close_matches(name[:_LONGEST], islice(alike, _COMPARED), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def nearest_or_all(name: str, known: Collection[str], label: str) -> str:
    """Return the result of ``nearest``; if it is "", the known names, unless there are too many."""
    if (suggestion := nearest(name, known)) or len(known) > _MOST:
        return suggestion
    return f"; {label}: {', '.join(sorted(known)) or 'none'}"
