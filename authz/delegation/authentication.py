"""How and when the principal authenticated, where a route asks for it (RFC 9470)."""

from math import inf

from authz.delegation.claims import Claims
from authz.reason import Denied, Reason
from authz.routes import Route


def check_authentication(claims: Claims, route: Route, now: float) -> float:
    """Hold ``acr`` and ``auth_time`` against the route; until when they are good, unix seconds.

    Raises Denied(STEP_UP) with all that is asked, as a client needs it for its next try.
    """
    acr, auth_time = claims.members.get("acr"), claims.members.get("auth_time")
    is_good = not route.acr_values or acr in route.acr_values
    until = inf
    if route.max_age_seconds is not None:
        is_time = isinstance(auth_time, int | float) and not isinstance(auth_time, bool)
        until = float(auth_time or 0) + route.max_age_seconds if is_time else -inf
    if is_good and now < until:
        return until
    asked = (
        ("acr_values", " ".join(route.acr_values)),
        ("max_age", "" if route.max_age_seconds is None else str(int(route.max_age_seconds))),
    )
    detail = "the principal's authentication is too weak or too old for the route"
    raise Denied(Reason.STEP_UP, detail, parameters=tuple(one for one in asked if one[1]))
