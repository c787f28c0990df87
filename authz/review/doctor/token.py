"""Finds tokens that a proxy takes away before it asks, and proofs that can't be used once."""

from collections.abc import Iterator

from authz.core.reason import Reason
from authz.core.request import DPOP
from authz.edge.presentation import Kept
from authz.review.doctor.case import Case, Finding


def token_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the credential."""
    yield from _never(case)
    seen = case.seen
    if case.is_ext_authz and _is_for_one_request(case) and not _is_named(case):
        what = "DPoP proof" if DPOP in seen.headers.credentials else "token for one request"
        yield case.error(
            "attempt_unnamed",
            f"a {what} came without request.http.id and request.time: the proxy's own repeat "
            "of a check looks like a replay, and is refused",
            envoy="use a version that sends both, as all of 2026 do",
            agentgateway="ask once for each request: switch retries of the check off",
        )


def _is_for_one_request(case: Case) -> bool:
    sent = case.seen.headers.credentials
    return DPOP in sent or (bool(sent) and any(issuer.one_time for issuer in case.config.issuers))


def _is_named(case: Case) -> bool:
    return bool(case.seen.id_form) and case.seen.has_time


def _looked_at(kept: Kept) -> str:
    """Say in how many checks a token was looked for, and how to have more of them looked at."""
    if kept.seen >= kept.decided:
        return f"{kept.seen} checks"
    return (
        f"{kept.seen} looked at, of {kept.decided} checks (one a second is: wait for one, and send "
        "a request with a token)"
    )


def _never(case: Case) -> Iterator[Finding]:
    kept, seen, route = case.kept, case.seen, case.route
    if kept.with_credential or seen.decision not in ("", Reason.TOKEN_MISSING.code):
        return
    if seen.identity.reason or (route is not None and route.takes_svid_alone):
        return
    header = case.config.token.header
    yield case.warning(
        "token_never",
        f"no token came: {header} was in none of {_looked_at(kept)}; clients send none, or "
        "something before us removes it",
        envoy=f"jwt_authn before ext_authz needs forward: true; allowed_headers, if it is set, "
        f"needs {header}",
        istio="RequestAuthentication jwtRules need forwardOriginalToken: true",
        envoy_gateway=f"headersToExtAuth, if it is set, needs {header}",
        agentgateway=f"jwtAuth before extAuthz removes it: leave it out; includeRequestHeaders, if "
        f"it is set, needs {header}"
        if case.is_ext_authz
        else f"jwtAuth on the route removes it; agentgateway.request needs headers with {header}",
        here="if clients send it in another header, name it in token.header",
    )
