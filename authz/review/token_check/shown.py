"""Shows the parts of a token that may be shown: names, and values that are not credentials.

A token's text is a credential, and so is a token inside a claim. No part of its encoded text, no
signature and no complete payload is printed; other claims' values only if requested.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from authz.config.printable import one_line
from authz.core.jose.jws import Jws

MAX_CHARS: Final = 200  # of a value: an issuer's URL or a list of scopes; longer ones are cut
_HEADER: Final = ("typ", "alg", "kid", "crit")
_TIMES: Final = ("iat", "nbf", "exp", "auth_time")
_CLAIMS: Final = (
    *("iss", "aud", *_TIMES),
    *("azp", "client_id", "cid", "appid", "act", "scope", "scp", "typ", "token_use"),
    *("idtyp", "gty", "grant_type", "sub_profile", "ver", "acr"),
)
# The beginning of JSON in base64 before a dot, or a long run without a break, as in keys.
_CREDENTIAL: Final = re.compile(r"ey[A-Za-z0-9_-]{8,}\.|[A-Za-z0-9_+=-]{72,}")
HIDDEN: Final = "(not shown: it may be a credential)"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def header_values(jws: Jws) -> dict[str, object]:
    """Return the header's members; None for a value that is not shown."""
    return {one_line(name): _safe(name in _HEADER, v) for name, v in jws.header.members.items()}


def claim_values(jws: Jws, *, shows_all: bool) -> dict[str, object]:
    """Return the claims; None for a value that is not shown."""
    return {
        one_line(name): _safe(shows_all or name in _CLAIMS, value)
        for name, value in jws.payload.items()
    }


def _safe(is_shown: bool, value: object) -> object:  # noqa: FBT001 - private, and clear where used
    if not is_shown:
        return None
    return value if is_presentable(value) else HIDDEN


def is_presentable(value: object) -> bool:
    """Tell whether a value holds nothing that may be a credential."""
    return not _CREDENTIAL.search(value if isinstance(value, str) else json.dumps(value))


def value_lines(values: Mapping[str, object], now: float) -> Iterator[str]:
    """Yield a line for each shown value, then the names of the others."""
    shown = {name: value for name, value in values.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        yield f"  {name.ljust(width)}  {_in_words(name, value, now)}"
    hidden = [name for name, value in values.items() if value is None]
    if hidden:
        yield f"  not shown: {one_line(', '.join(hidden))}"


def _in_words(name: str, value: object, now: float) -> str:
    if name in _TIMES and type(value) in (int, float):
        return moment(value, now)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text)


def cut(text: str) -> str:
    """Return a text in one line, MAX_CHARS at most."""
    line = one_line(text)
    return line if len(line) <= MAX_CHARS else f"{line[:MAX_CHARS]}..."


def moment(value: Any, now: float) -> str:  # noqa: ANN401 - a number of JSON
    """Return a time in unix seconds as RFC 3339, and how long ago it was."""
    try:
        when = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "no time"
    return (
        f"{when} ({span(now - value)} ago)" if value <= now else f"{when} (in {span(value - now)})"
    )


def span(seconds: float) -> str:
    """Return a length of time in its largest whole unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"
