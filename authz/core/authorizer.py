"""The pipeline: who calls, on whose behalf, and may they. The order of the checks is fixed here.

1. Who calls: ``AgentAuthenticator.identify`` makes the ``Agent``.
2. On whose behalf: ``DelegationStep.verify`` makes the ``Delegation``, which must not be revoked.
3. May they do all that the message asks: ``PolicyStep`` makes the ``Permit``, and so the ``Allow``.
4. Does the external decision point agree, if there is one.
5. What the upstream gets in place of the client's token, if its route says so: an assertion that
   this server signs, or a token from the issuer. A failure refuses before anything is used up.
6. Is what may be used once, a proof, a token or an approval, used for the first time.
7. Do the budgets of the rules that allow have room; they are spent.

Steps 1 to 3 are here. They are code, never configuration: each takes what only the step before can
make, so a wrong order does not pass the type checker. They are a function of the request, the
settings, the key sets, the revocations and the time; they do no I/O, read no clock and log nothing.
The result of steps 1 and 2 is cached for as long as nothing can change it
(``authz.core.known_callers``). Steps 4 to 7 need I/O or memory, so the edge runs them afterwards
(``authz.edge.decider``): they can only refuse. If step 2 lacks something that can be fetched, such
as a key, its refusal says so. The edge may then fetch it and decide again
(``authz.edge.learning``). ``Progress.refuse`` makes every refusal of every step.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from authz.core.decision import Agent, Allow, Decision, Delegation, Progress
from authz.core.delegation.token_cache import DelegationStep
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.known_callers import Caller, KnownCallers
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.query import PolicyQuery
from authz.core.policy.settings import EarlierActor
from authz.core.policy.shadow import PolicyStep
from authz.core.policy.standing import SUSPENDED
from authz.core.reason import Denied, Reason
from authz.core.request import DPOP, Operation, Request
from authz.core.routes import RESOURCE_METADATA, Route, RouteProtocol, Routes
from authz.core.upstream_token import FORWARDED, STRIPPED, ProxyToken, Upstream

_NO_ROUTE: Final = Route()


class RevocationCheck(Protocol):
    """Checks agents and tokens against the revocation list.

    Guarantees to return at once, from memory. Does not guarantee that the list is current.
    """

    def check(
        self, agent: Agent, delegation: Delegation, operations: tuple[Operation, ...]
    ) -> None:
        """Require that none of them is revoked, and that the list is recent enough.

        Raises Denied(AGENT_SUSPENDED | TOKEN_REVOKED | STOPPED | STORE_UNAVAILABLE).
        """

    def revoked_agents(self, agents: Iterable[str]) -> tuple[str, ...]:
        """Return those of the agents that are revoked: for actors that do not act themselves."""


class Authorizer:
    """Decides requests by one version of the settings."""

    def __init__(
        self,
        routes: Routes,
        identity: AgentAuthenticator,
        delegations: DelegationStep,
        revocations: RevocationCheck,
        policy: PolicyStep,
        *,
        callers: KnownCallers,
        upstream: Upstream = STRIPPED,
        earlier_revoked: EarlierActor = EarlierActor.RECORD,
    ) -> None:
        """Keep the routes, the steps in the order of their runs, and the cache of known callers.

        ``upstream`` holds where neither the profile nor the route says what the upstream gets;
        ``earlier_revoked`` is what to do about an earlier actor that is revoked.
        """
        self.routes = routes
        self.identity = identity
        self.delegations = delegations
        self.revocations = revocations
        self.policy = policy
        self._callers = callers
        self._upstream = upstream
        self._refuses_earlier = earlier_revoked is EarlierActor.DENY

    def decide(self, request: Request, now: float) -> Decision:
        """Return an Allow or a Deny; ``now`` is in unix seconds.

        Denies every request that is not clearly allowed.
        """
        has_proof = request.header(DPOP) is not None
        progress = Progress(is_by_dpop=has_proof, parameters=_parameters(request, _NO_ROUTE))
        try:
            return self._decided(request, now, progress)
        except Denied as denied:
            # The traceback refers to these frames, and they to it: the cycle would live until a
            # collection.
            denied.__traceback__ = None
            return progress.refuse(denied)

    def _decided(self, request: Request, now: float, progress: Progress) -> Allow:
        """Return the allow. Raises Denied; ``progress`` then holds what was established so far."""
        operation, route = self.routes.read(request)  # 0. the operations asked for
        progress.parameters = _parameters(request, route)
        progress.refuses_by_message = route.refuses_by_message
        key = self._callers.key(request, route)
        caller = self._callers.get(key, now)  # 1. and 2., if both are in the cache
        if caller is None:
            agent = progress.agent = self.identity.identify(request, now)  # 1. who calls
            delegation = self.delegations.verify(request, agent, route, now)  # 2. on whose behalf
            flags = self.policy.flags(delegation)
            caller = Caller(agent, delegation, flags, self._upstream_of(request, route))
            self._callers.put(key, request, caller, now)
        agent = progress.agent = caller.agent
        delegation = progress.delegation = caller.delegation
        operations = operation.each(request)
        self.revocations.check(agent, delegation, operations)  # not revoked since
        progress.flags = caller.flags
        if len(delegation.actors) > 1:
            self._check_earlier(delegation, progress)
        _check_message(request, route)
        progress.operations = operations
        progress.is_at_policy = True
        queries = [
            PolicyQuery(agent, delegation, each, request, now, resource=route.resource)
            for each in progress.operations
        ]
        verdict = evaluate_all(self.policy, queries)  # 3. may they, for every call
        progress.shadows = verdict.shadows
        permit = verdict.permitted()
        progress.is_at_policy = False
        progress.rule = permit.agent_rule
        valid_until = min(agent.expires_at, delegation.expires_at, verdict.stable_until)
        return Allow(
            agent,
            delegation,
            permit,
            valid_until,
            progress.flags,
            progress.shadows,
            progress,
            caller.upstream,
        )

    def _check_earlier(self, delegation: Delegation, progress: Progress) -> None:
        """Note earlier actors that are revoked, as suspended ones.

        Raises Denied(ACTOR_NOT_PERMITTED) if the settings refuse them.
        """
        earlier = (actor.subject for actor in delegation.actors[1:])
        if not self.revocations.revoked_agents(earlier):
            return
        if SUSPENDED not in progress.flags:
            progress.flags = (*progress.flags, SUSPENDED)
        if self._refuses_earlier:
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor was revoked")

    def _upstream_of(self, request: Request, route: Route) -> Upstream:
        """Return what the upstream gets: by the profile, the route, the default."""
        of_profile = self.identity.upstream_token(request)
        if of_profile is not None:
            return FORWARDED if of_profile is ProxyToken.FORWARD else STRIPPED
        return route.upstream or self._upstream


def _parameters(request: Request, route: Route) -> tuple[tuple[str, str], ...]:
    """Return the auth-params of challenges; the proxy may name the metadata's URL."""
    url = request.context_value(RESOURCE_METADATA) if request.context else ""
    return ((RESOURCE_METADATA, url),) if url else route.parameters


def _check_message(request: Request, route: Route) -> None:
    """Refuse a message without a certain meaning.

    It runs after the steps, so that the record names the caller.

    Raises Denied with the reader's reason, or Denied(BODY_UNINSPECTABLE).
    """
    if request.unread is not None:
        raise Denied(*request.unread)
    if request.protocol != route.protocol or (request.protocol and not request.calls):
        named = route.protocol or RouteProtocol.HTTP
        detail = f"the route's protocol is {named}, but no message of that protocol was read"
        raise Denied(Reason.BODY_UNINSPECTABLE, detail)
