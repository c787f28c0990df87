"""The challenge of a refusal: ``WWW-Authenticate``, and its facts for answers without headers."""

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
    parameters.extend(told_parameters(deny))
    if deny.scheme == DPOP_SCHEME:
        parameters.append(("algs", dpop_algorithms))
    if not parameters:  # RFC 6750 section 3: the scheme must have a parameter
        parameters.append(("realm", REALM))
    rendered = (f'{key}="{_quotable(value)}"' for key, value in parameters)
    return f"{deny.scheme} " + ", ".join(rendered)


def told_parameters(deny: Deny) -> tuple[tuple[str, str], ...]:
    """Return what a challenge says of the token that is needed; nothing without a challenge.

    ``resource_metadata`` is where to get it (RFC 9728 section 5.1), ``scope`` what it must allow
    (RFC 6750 section 3), ``acr_values`` and ``max_age`` how its principal must have authenticated
    (RFC 9470 section 3).
    """
    return () if deny.reason.error is None else deny.parameters


def _quotable(value: str) -> str:
    return _CONTROL.sub("?", value).translate(_QUOTED)
