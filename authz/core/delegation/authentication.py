"""The check of the principal's authentication that a route requires (RFC 9470)."""

from collections.abc import Mapping
from math import inf
from typing import Any

from authz.core.reason import Denied, Reason
from authz.core.routes import Route
from authz.core.step_up import StepUp


def check_authentication(members: Mapping[str, Any], route: Route, now: float) -> float:
    """Check a token's ``acr`` and ``auth_time``; return until when the route accepts them.

    The time is in unix seconds. Raises Denied(STEP_UP), whose challenge has the route's
    requirements (RFC 9470 section 3).
    """
    if not route.acr_values and route.max_age_seconds is None:
        return inf
    asked = StepUp(route.acr_values, route.max_age_seconds)
    until = asked.good_until(members)
    if now < until:
        return until
    detail = "the principal's authentication is too weak or too old for the route"
    raise Denied(Reason.STEP_UP, detail, parameters=asked.parameters)
