"""Requires that policy knows client and principal, and that nobody of them is stopped."""

from collections.abc import Iterator

import msgspec

from authz.core.authorizer import RevocationCheck
from authz.core.decision import Actor, Agent, Delegation
from authz.core.policy.held_rules import HeldRules
from authz.core.policy.policy import Policy
from authz.core.policy.standing import SUSPENDED, Standing, refused
from authz.core.reason import Denied, Reason
from authz.core.sts.principal import Principal
from authz.core.sts.subject import Subject


def delegations_of(
    subject: Subject, principal: Principal, chain: tuple[Actor, ...], own: str, now: float
) -> tuple[Delegation, Delegation]:
    """Return the delegation as the first issuer names its principal, and as our token will.

    What the operator says of either counts, in policy and in revocations. ``own`` is the URL of
    the token service. A token of our own is the second: what is said of that very token counts too.
    """
    claims = subject.claims
    of_issuer = Delegation(
        principal.issuer,
        principal.subject,
        chain,
        claims.scopes,
        claims.issued_at,
        claims.expires_at,
        claims.token_id,
        claims=claims.members,
    )
    is_own = subject.issuer.issuer == own
    of_service = msgspec.structs.replace(
        of_issuer,
        issuer=own,
        subject=principal.name,
        issued_at=claims.issued_at if is_own else now,
        token_id=claims.token_id if is_own else "",
        claims=claims.members if is_own else principal.claims,
        terms=object(),  # the policy remembers what follows from the terms
    )
    return of_issuer, of_service


class PartiesCheck:
    """Checks the client, the principal and earlier actors by policy and revocations."""

    def __init__(self, policy: Policy, revocations: RevocationCheck) -> None:
        """Take both."""
        self._policy = policy
        self._revocations = revocations

    def flags(self, delegations: tuple[Delegation, Delegation]) -> tuple[str, ...]:
        """Return the flags for the record, as those of decisions."""
        return tuple(dict.fromkeys(self._flags(delegations)))

    def _flags(self, delegations: tuple[Delegation, Delegation]) -> Iterator[str]:
        for each in delegations:
            yield from self._policy.flags(each)

    def check(self, client: Agent, delegations: tuple[Delegation, Delegation]) -> HeldRules:
        """Return the rules that the client holds.

        Raises Denied if policy does not know the client, or grants the principal nothing through
        it, and if anybody of the chain is suspended or revoked: unlike a server, which may only
        record an earlier actor, the service makes no new token through one who is stopped.
        """
        standings = [self._policy.standing(client, each) for each in delegations]
        for standing in standings:
            if standing.enforced is not None:
                raise refused(standing.enforced)
        for each in delegations:
            self._revocations.check(client, each, ())
        earlier = [actor.subject for actor in delegations[0].actors[1:]]
        if SUSPENDED in self.flags(delegations) or self._revocations.revoked_agents(earlier):
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is suspended or revoked")
        if not any(map(_grants_something, standings)):
            raise _why_nothing(standings)
        return standings[0].of_agent


def _grants_something(standing: Standing) -> bool:
    """Tell whether the principal holds anything but denies."""
    held = standing.of_principal
    if standing.unknown is not None or held is None:
        return False
    rules = (rule for each in held.sets for rule in each.rules)
    return held.is_unrestricted or not all(rule.is_deny for rule in rules)


def _why_nothing(standings: list[Standing]) -> Denied:
    unknown = next((each.unknown for each in standings if each.unknown is not None), None)
    nothing = Reason.POLICY_DENIED, f"policy grants the principal nothing{standings[0].unread}"
    return refused(unknown or nothing)
