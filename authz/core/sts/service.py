"""The token service: decides which token an agent gets for a subject token (RFC 8693)."""

from collections.abc import Iterable

from authz.core.authorizer import RevocationCheck
from authz.core.decision import Agent
from authz.core.delegation import IssuerSettings, TokenSettings
from authz.core.delegation.dpop import DpopVerifier
from authz.core.delegation.opaque import AnswerLookup, NoAnswers
from authz.core.delegation.status_list import NoStatusLists, StatusListLookup
from authz.core.jose.key_set import KeyLookup
from authz.core.policy.policy import Policy
from authz.core.reason import Denied
from authz.core.sts import TokenServiceSettings
from authz.core.sts.consent import ConsentCheck, NoConsents
from authz.core.sts.errors import error_of
from authz.core.sts.outcome import Issue, Outcome, Refuse, TokenFacts
from authz.core.sts.request import TokenRequest


class TokenService:
    """Decides token requests by one version of the settings."""

    def __init__(
        self,
        settings: TokenServiceSettings,
        token: TokenSettings,
        issuers: Iterable[IssuerSettings],
        policy: Policy,
        *,
        keys: KeyLookup,
        revocations: RevocationCheck,
        proofs: DpopVerifier,
        consents: ConsentCheck = NoConsents(),  # noqa: B008 - it has no state
        answers: AnswerLookup = NoAnswers(),  # noqa: B008 - likewise
        lists: StatusListLookup = NoStatusLists(),  # noqa: B008 - likewise
    ) -> None:
        """Compile the rules.

        ``keys`` has the keys of all ``issuers``; for the service itself, those that it publishes.
        """

    def decide(self, client: Agent, request: TokenRequest, token_id: str, now: float) -> Outcome:
        """Return the token to sign for a client, or the refusal.

        ``client`` is proven by its certificate, of a configured trust domain; ``token_id`` becomes
        the ``jti``: unpredictable, and never used before; ``now`` is in unix seconds.
        """
        facts = TokenFacts(client)
        try:
            return self._issue(request, token_id, now, facts)
        except Denied as denied:
            denied.__traceback__ = None
            return refusal(denied, facts)

    def _issue(self, request: TokenRequest, token_id: str, now: float, facts: TokenFacts) -> Issue:
        raise NotImplementedError


def refusal(denied: Denied, facts: TokenFacts) -> Refuse:
    """Return the refusal by which a client is told: also of a use that another request has made."""
    return Refuse(
        error_of(denied), denied.reason, denied.detail, denied.headers, denied.needs, facts
    )
