"""Finds profiles and routes that a proxy names wrongly, or does not name."""

from collections.abc import Iterator
from typing import Final

from authz.config.nearest import nearest
from authz.core.identity.settings import DEFAULT
from authz.core.routes import PROFILE, ROUTE
from authz.edge.inputs import MAX_REQUEST_BYTES
from authz.review.doctor.case import Case, Cures, Finding

_OURS: Final = (PROFILE, ROUTE, MAX_REQUEST_BYTES)
_PREFIX: Final = "authz_"


def profile_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the profile, the route, and how the proxy names them."""
    yield from _of_profile(case)
    yield from _of_route(case)
    for name in case.seen.extensions:
        if name.lower().startswith(_PREFIX) and name not in _OURS:
            meant = f"; the names are {', '.join(_OURS)}"
            cause = f"the context extension {name} is not one of ours, and has no effect{meant}"
            yield case.warning("extension_unknown", cause, **_in_context("correct it in"))


def _in_context(what: str) -> Cures:
    """Return what to do with the place where each proxy names its context extensions."""
    return Cures(
        envoy=f"{what} the context_extensions of check_settings (ExtAuthzPerRoute)",
        envoy_gateway=f"{what} the contextExtensions of SecurityPolicy extAuth",
        agentgateway=f"{what} the context of extAuthz protocol grpc",
    )


def _of_profile(case: Case) -> Iterator[Finding]:
    seen, profile = case.seen, case.profile
    if profile is None:
        names = ", ".join(dict.fromkeys([DEFAULT, *case.config.profiles]))
        cures = _in_context(f"correct {PROFILE} in")
        cause = f"the proxy names the profile {seen.profile!r} in {PROFILE}; the config has {names}"
        yield case.error("profile_unknown", cause, **cures)
    elif profile.callers and "may not use the profile" in seen.identity.detail:
        cause = f"{PROFILE} names {seen.profile}, which its callers reserve for other proxies"
        cures = _in_context(f"leave {PROFILE} out of")
        here = f"add {seen.proxy} to its callers" if seen.proxy else "use server.tls for that proxy"
        yield case.error("profile_reserved", cause, here=here, **cures)
    elif seen.profile_by == "default" and seen.proxy and _is_by_callers(case):
        cause = f"{seen.proxy} is in the callers of no profile, so that the profile default applies"
        here = "list it in the callers of its profile, if default is not meant"
        yield case.warning("caller_without_profile", cause, here=here)


def _is_by_callers(case: Case) -> bool:
    return any(profile.callers for profile in case.config.profiles.values())


def _of_route(case: Case) -> Iterator[Finding]:
    named = case.seen.named_route
    names = [route.name for route in case.config.routes]
    if named and named not in names:
        cures = _in_context(f"correct {ROUTE} in")
        cause = f"the proxy names the route {named!r} in {ROUTE}, which the config does not have"
        yield case.error("route_unknown", cause + nearest(named, names), **cures)
