"""The pipeline: who calls, on whose behalf, and may they. The order of the checks is written here.

It is code, never configuration: each step takes what only the step before can make, so a wrong
order does not pass the type checker. The whole is a function of the request, the settings, the key
sets, what was revoked, and the time; it does no I/O, reads no clock and logs nothing.
"""

from typing import Protocol

from authz.decision import Agent, Allow, Decision, Delegation, Deny, Shadow
from authz.delegation import DelegationStep
from authz.identity import Identity
from authz.policy import Case, PolicyStep, judge_all
from authz.reason import DPOP_SCHEME, Denied, Reason
from authz.request import DPOP, Operation, Request
from authz.routes import RESOURCE_METADATA, Route, Routes


class RevocationCheck(Protocol):
    """Whoever knows what was revoked."""

    def check(self, agent: Agent, delegation: Delegation) -> None:
        """Raises Denied for what was."""


class Authorizer:
    """Decides on requests, by one version of the settings."""

    def __init__(
        self,
        routes: Routes,
        identity: Identity,
        delegations: DelegationStep,
        revocations: RevocationCheck,
        policy: PolicyStep,
    ) -> None:
        """Take the routes and the steps."""
        self.routes = routes
        self.identity = identity
        self.delegations = delegations
        self.revocations = revocations
        self.policy = policy

    def decide(self, request: Request, now: float) -> Decision:
        """Allow or deny. ``now`` in unix seconds. Whatever is not clearly allowed is denied."""
        route = Route()
        agent: Agent | None = None
        delegation: Delegation | None = None
        flags: tuple[str, ...] = ()
        shadows: tuple[Shadow, ...] = ()
        by_policy = False
        try:
            operation = Operation.of(request)  # 0. what is asked, read one way
            route = self.routes.of(request, operation)  # where that is the only one, or accepted
            agent = self.identity.identify(request, now)  # 1. who calls
            delegation = self.delegations.verify(request, agent, route, now)  # 2. on whose behalf
            self.revocations.check(agent, delegation)  # still
            flags = self.policy.flags(delegation)
            _check_message(request, route)
            by_policy = True
            cases = [Case(agent, delegation, one, request, now) for one in operation.each(request)]
            verdict = judge_all(self.policy, cases)  # 3. may they, for this, and all of this
            shadows = verdict.shadows
            grant = verdict.granted()
        except Denied as denied:
            # Its trace leads to these frames, and they to it: it would live until a collection.
            denied.__traceback__ = None
            return _deny(
                denied,
                request,
                route,
                agent=agent,
                delegation=delegation,
                flags=flags,
                shadows=shadows,
                by_policy=by_policy,
            )
        valid_until = min(agent.expires_at, delegation.expires_at, verdict.steady_until)
        return Allow(agent, delegation, grant, valid_until, flags, shadows)


def _check_message(request: Request, route: Route) -> None:
    """Refuse a message without a certain meaning: so late that the record says whose it was."""
    if request.unread is not None:
        raise Denied(*request.unread)
    if request.protocol != route.protocol or (request.protocol and not request.calls):
        named = route.protocol or "http"
        detail = f"the route's protocol is {named}, and no message of it was read"
        raise Denied(Reason.BODY_UNINSPECTABLE, detail)


def _deny(
    denied: Denied,
    request: Request,
    route: Route,
    *,
    agent: Agent | None,
    delegation: Delegation | None,
    flags: tuple[str, ...],
    shadows: tuple[Shadow, ...],
    by_policy: bool,
) -> Deny:
    """The refusal, with what was established; a challenge says where to get a token (RFC 9728)."""
    url = request.context_value(RESOURCE_METADATA) or route.metadata_url
    return Deny(
        denied.reason,
        denied.detail,
        parameters=(*denied.parameters, *([(RESOURCE_METADATA, url)] if url else [])),
        scheme=denied.scheme if request.header(DPOP) is None else DPOP_SCHEME,
        headers=denied.headers,
        by_message=route.refuses_by_message and denied.reason.is_of_policy,
        agent=agent,
        delegation=delegation,
        flags=flags,
        rule=denied.rule,
        shadows=shadows,
        by_policy=by_policy,
        key_issuer=denied.issuer,
        key_id=denied.key_id,
    )
