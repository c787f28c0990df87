"""What a token has that operators do not describe: the id and the end that approvals need."""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.approval import DETAILS

ASSUMED_ID: Final = "assumed"
_LIFETIME_SECONDS: Final = 600


def with_end(claims: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the described claims; with approvals also the end of the token, unless it is given."""
    return {"exp": int(now) + _LIFETIME_SECONDS, **claims} if DETAILS in claims else dict(claims)
