"""The ``WWW-Authenticate`` challenge of a refusal."""

import re
from typing import Final

from authz.core.decision import Deny
from authz.core.reason import DPOP_SCHEME

REALM: Final = "agent-authz"
_QUOTED: Final = str.maketrans({'"': "'", "\\": "/"})  # inside a quoted-string, RFC 9110 5.6.4
_CONTROL: Final = re.compile(r"[^\x20-\x7e]")


def challenge_for(deny: Deny, dpop_algorithms: str = "") -> str:
    """Return ``WWW-Authenticate`` (RFC 6750 section 3, RFC 9449 section 7.1), "" if not needed."""
    error = deny.reason.error
    if error is None:
        return ""
    parameters = [("error", error)] if error else []
    parameters.extend(deny.parameters)
    if deny.scheme == DPOP_SCHEME:
        parameters.append(("algs", dpop_algorithms))
    if not parameters:  # RFC 6750 section 3: the scheme must have a parameter
        parameters.append(("realm", REALM))
    rendered = (f'{key}="{_quotable(value)}"' for key, value in parameters)
    return f"{deny.scheme} " + ", ".join(rendered)


def _quotable(value: str) -> str:
    return _CONTROL.sub("?", value).translate(_QUOTED)
