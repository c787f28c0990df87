"""What somebody may have meant: the nearest of the known names."""

import difflib
from collections.abc import Collection
from itertools import islice
from typing import Final

_MOST: Final = 24  # names told when none is near: more are no help in a message
# To compare costs some microseconds a pair, and a config may have thousands of names, all unknown.
_COMPARED: Final = 300
_OTHER_LENGTH: Final = 3
_LONGEST: Final = 128


def nearest(name: str, known: Collection[str]) -> str:
    """``; did you mean X?``, or nothing."""
    alike = (one for one in known if abs(len(one) - len(name)) <= _OTHER_LENGTH)
    close = difflib.get_close_matches(name[:_LONGEST], islice(alike, _COMPARED), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def nearest_or_all(name: str, known: Collection[str], label: str) -> str:
    """As ``nearest``, or the known names if there are some, not too many, and none is near."""
    if (suggestion := nearest(name, known)) or len(known) > _MOST:
        return suggestion
    return f"; {label}: {', '.join(sorted(known)) or 'none'}"
