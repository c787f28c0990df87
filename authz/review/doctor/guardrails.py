"""Finds metadata that agentgateway's guardrails have to send, and do not."""

from collections.abc import Iterator

from authz.core.identity.settings import Source
from authz.edge.agentgateway.reader import REQUEST
from authz.edge.presentation import GUARDRAILS_RESULT
from authz.review.doctor.case import Case, Cures, Finding


def guardrail_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with a message of guardrails."""
    if case.is_ext_authz:
        return
    yield from _of_source(case)
    if REQUEST in case.seen.namespaces:
        return
    cures = Cures(
        agentgateway=f"metadata of the guardrail needs {REQUEST}: "
        '\'{"path": request.path, "headers": request.headers, "strips_token": true}\''
    )
    if case.seen.protocol == GUARDRAILS_RESULT:
        cause = f"{REQUEST} did not come, so that no token is known when a list comes back: every "
        yield case.error("no_request", f"{cause}list is refused (token_missing)", **cures)
    else:
        cause = f"{REQUEST} did not come: agent-authz does not know that the gateway removes the "
        yield case.warning("no_request", f"{cause}token itself", **cures)


def _of_source(case: Case) -> Iterator[Finding]:
    profile, seen = case.profile, case.seen
    if profile is None:
        return
    if profile.identity is not Source.METADATA:
        yield case.error(
            "guardrails_profile",
            f"the profile's identity is {profile.identity.value}, and guardrails name the agent in "
            "metadata alone",
            here="set identity: metadata in a profile that has the gateway in its callers, or in "
            "the default",
        )
    elif profile.namespace not in seen.namespaces:
        yield case.error(
            "no_source",
            f"{profile.namespace} did not come, so that no agent is known",
            agentgateway=f"metadata of the guardrail needs {profile.namespace}: "
            '\'{"spiffe_id": source.spiffeId, "certificate": source.certificate}\'',
        )
    elif seen.identity.reason:
        yield case.error(
            "caller_refused",
            f"{seen.identity.reason}: {seen.identity.detail}",
            agentgateway="the listener needs mTLS with the agents' CA, so that it knows source",
        )
