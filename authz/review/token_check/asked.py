"""The token in question, and the agent that would send it."""

from dataclasses import dataclass

from authz.core.decision import Agent
from authz.core.delegation import IssuerSettings
from authz.core.delegation.actor import named_agent
from authz.core.delegation.claims import unchecked_claims
from authz.core.jose.jws import Jws
from authz.core.reason import Denied
from authz.core.spiffe import SpiffeId, SpiffeIdError


@dataclass(frozen=True, slots=True)
class Asked:
    """A token, for the agent and at the time in question.

    Attributes:
        agent: the caller; None for the agent that the token names, or else for the placeholder.
        placeholder: the agent for which a value would stand, as long as the agent is unknown.
        now: unix seconds.
        is_cautious: whether to try only lines that the token itself shows to be right.
    """

    jws: Jws
    agent: SpiffeId | None
    placeholder: SpiffeId
    now: float
    is_cautious: bool = False

    def caller(self, issuer: IssuerSettings) -> Agent:
        """Return the agent in question, as an issuer's settings name it."""
        return Agent(self.agent or self.named(issuer) or self.placeholder)

    def named(self, issuer: IssuerSettings) -> SpiffeId | None:
        """Return the agent that the token names as its actor or as itself, None for none."""
        try:
            named = named_agent(unchecked_claims(self.jws, issuer), issuer)
            return None if named is None else SpiffeId.parse(named)
        except (Denied, SpiffeIdError):
            return None
