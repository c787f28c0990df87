"""Reads the parameters of a request's query, for protocols whose servers read some of them.

Names are found as the laxest server finds them: some servers read ";" as "&", and all of them
decode names. The number of parameters is bounded, since a client writes the query.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_plus

from authz.core.protocols.message import MessageInput
from authz.core.reason import Denied, Reason

MAX_PARAMETERS: Final = 64  # A2A's longest query, that of ListTasks, has eight
MAX_VALUE_CHARS: Final = 256  # no known value is longer
_JOINT: Final = re.compile("[&;]")


def parameters(sent: MessageInput) -> Iterator[tuple[str, str]]:
    """Yield name and value of each parameter, still escaped. Raises Denied(BODY_UNINSPECTABLE)."""
    query = sent.query
    if not query:
        return
    if query.count("&") + query.count(";") >= MAX_PARAMETERS:
        detail = f"the query has more than {MAX_PARAMETERS} parameters"
        raise Denied(Reason.BODY_UNINSPECTABLE, detail)
    for pair in _JOINT.split(query):
        name, _, value = pair.partition("=")
        yield name, value


def parameter_values(sent: MessageInput, wanted: str) -> Iterator[str]:
    """Yield each value of a parameter, decoded, in whatever way its name is written.

    ``wanted`` is lower-case, with "-" between words. Raises Denied(BODY_UNINSPECTABLE).
    """
    longest = 3 * len(wanted)  # with every character escaped
    for name, value in parameters(sent):
        if len(name) <= longest and _folded(unquote_plus(name)) == wanted:
            yield unquote_plus(value[:MAX_VALUE_CHARS])


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")
