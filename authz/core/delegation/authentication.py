"""How and when the principal authenticated, where a route asks for it (RFC 9470)."""

from authz.core.delegation.claims import Claims
from authz.core.reason import Denied, Reason
from authz.core.routes import Route
from authz.core.step_up import StepUp


def check_authentication(claims: Claims, route: Route, now: float) -> float:
    """Hold ``acr`` and ``auth_time`` against the route; until when they are good, unix seconds.

    Raises Denied(STEP_UP).
    """
    asked = StepUp(route.acr_values, route.max_age_seconds)
    until = asked.good_until(claims.members)
    if now < until:
        return until
    detail = "the principal's authentication is too weak or too old for the route"
    raise Denied(Reason.STEP_UP, detail, parameters=asked.parameters)
