"""The token service: decides which token an agent gets for a subject token (RFC 8693).

1. Does a rule list the client at all.
2. Whose token is it: verified as the server verifies tokens, but for the bearer (``subject``).
3. May the client become its actor: ``may_act``, an actor token of its own, the chain (``chain``).
4. Which rule fits: audience, current actor, principal, and what was asked for (``rules``).
5. Does policy know client and principal, and is nobody of them stopped (``parties``).
6. Which scopes: of the subject token, of the rule, of the agent's own grants, and asked for.
7. Does the client hold the key of a token that is for the token service itself.
8. Has the principal consented, where that is needed.
9. When does it end: with the first of all that it depends on.

Every step can only refuse. What may be used once, a token or a proof, the caller marks afterwards.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from authz.core.authorizer import RevocationCheck
from authz.core.decision import Agent
from authz.core.delegation import IssuerSettings, TokenSettings
from authz.core.delegation.dpop import DpopVerifier, Target
from authz.core.delegation.opaque import AnswerLookup, NoAnswers
from authz.core.delegation.status_list import NoStatusLists, StatusListLookup
from authz.core.jose.key_set import KeyLookup
from authz.core.policy.held_rules import HeldRules
from authz.core.policy.policy import Policy
from authz.core.reason import BEARER, DPOP_SCHEME, Denied, Reason
from authz.core.routes import url_origin
from authz.core.single_use import SingleUse
from authz.core.sts import TokenServiceSettings
from authz.core.sts.chain import check_may_act, grown
from authz.core.sts.consent import ConsentAsked, ConsentCheck, ConsentFound, NoConsents
from authz.core.sts.details import consented_parts, granted_details, named_details
from authz.core.sts.errors import error_of, words_of
from authz.core.sts.new_token import check_size, new_claims
from authz.core.sts.outcome import Issue, Outcome, Refuse, TokenFacts
from authz.core.sts.parties import PartiesCheck, delegations_of
from authz.core.sts.principal import Principal, Principals
from authz.core.sts.request import TokenRequest
from authz.core.sts.rules import Asked, TokenRule, TokenRules
from authz.core.sts.settings import ConsentNeed
from authz.core.sts.subject import Subject, SubjectTokens, check_holder


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
        listed = tuple(issuers)
        self._settings = settings
        self._max_chars = token.max_bytes
        self._rules = TokenRules(settings.rules, settings.issuer)
        self._subjects = SubjectTokens(
            settings, token, listed, keys=keys, answers=answers, lists=lists
        )
        self._principals = Principals(settings, listed)
        self._parties = PartiesCheck(policy, revocations)
        self._proofs = proofs
        self._consents = consents
        self._target = _target(settings.token_endpoint)

    def decide(self, client: Agent, request: TokenRequest, token_id: str, now: float) -> Outcome:
        """Return the token to sign for a client, or the refusal.

        ``client`` is proven by its certificate, of a configured trust domain; ``token_id`` becomes
        the ``jti``: unpredictable, and never used before; ``now`` is in unix seconds.
        """
        facts = TokenFacts(client)
        try:
            return self._issue(request, token_id, facts, now)
        except Denied as denied:
            denied.__traceback__ = None  # as in ``Authorizer.decide``
            return refusal(denied, facts)

    def _issue(self, request: TokenRequest, token_id: str, facts: TokenFacts, now: float) -> Issue:
        """Return the token to sign; ``facts`` then has what was established. Raises Denied."""
        client = facts.agent
        rules = self._rules.of(client)  # 1.
        subject = self._subjects.read(request, facts, now)  # 2.
        principal = self._principals.of(subject)
        facts.issuer, facts.subject = principal.issuer, principal.subject
        of_actor = self._check_actor(request, subject, facts, now)  # 3.
        own = self._settings.issuer
        delegations = delegations_of(subject, principal, facts.actors, own, now)
        rule = self._rule(rules, Asked(request, subject, delegations), facts)  # 4. to 6.
        proof_key, of_proof = self._proof(request, now)
        if subject.audiences.isdisjoint(rule.subject_audiences):  # 7.
            check_holder(subject.bindings, client, proof_key)
        details = granted_details(request.details, subject, rule.detail_types)
        consent = self._consent(principal, rule, details, facts, now)  # 8.
        details = named_details(details, () if consent is None else consent.calls)
        facts.expires_at = self._end(subject, rule, consent, client, now)  # 9.
        bound = {"proof_key": proof_key, "token_id": token_id}
        claims = new_claims(self._settings, principal, facts, details, **bound, now=now)
        check_size(claims, self._max_chars)
        return Issue(
            claims,
            request.requested_type,
            DPOP_SCHEME if proof_key else BEARER,
            " ".join(sorted(facts.scopes)),
            int(facts.expires_at) - int(now),
            details,
            (*subject.uses, *of_actor, *of_proof),
            facts,
            consent,
        )

    def _check_actor(
        self, request: TokenRequest, subject: Subject, facts: TokenFacts, now: float
    ) -> tuple[SingleUse, ...]:
        """Require that the client may become the actor; return the use of its actor token."""
        check_may_act(subject, facts.agent)
        facts.actors = grown(subject, facts.agent, self._settings)
        if not request.actor_token:
            return ()
        return self._subjects.check_actor(request.actor_token, facts.agent, now)

    def _rule(self, rules: list[TokenRule], asked: Asked, facts: TokenFacts) -> TokenRule:
        """Return the rule that fits, once all parties are known and the scopes are found."""
        rule = self._rules.find(rules, asked)
        facts.rule, facts.audiences = rule.settings.name, rule.targets(asked.request)
        facts.flags = self._parties.flags(asked.principals)
        held = self._parties.check(facts.agent, asked.principals)
        facts.scopes = _scopes(asked.request, asked.subject, rule, held)  # 6.
        return rule

    def _proof(self, request: TokenRequest, now: float) -> tuple[str, tuple[SingleUse, ...]]:
        """Return the thumbprint of the key of the request's DPoP proof, and the proof's use."""
        if request.proof is None:
            return "", ()
        if "," in request.proof:  # as where headers are joined (RFC 9449 section 4.3, step 1)
            raise Denied(Reason.DPOP_PROOF, "more than one DPoP header")
        key, use = self._proofs.check_alone(request.proof, self._target, now)
        return key, (use,)

    def _consent(
        self,
        principal: Principal,
        rule: TokenRule,
        details: tuple[Mapping[str, Any], ...],
        facts: TokenFacts,
        now: float,
    ) -> ConsentFound | None:
        """Return the principal's consent, None where none is needed. Raises Denied."""
        if rule.settings.consent is ConsentNeed.NONE and not details:
            return None
        asked = ConsentAsked(
            principal.issuer,
            principal.subject,
            facts.agent.spiffe_id.text,
            facts.audiences,
            facts.scopes,
            consented_parts(details),
        )
        found = self._consents.require(asked, now)
        facts.consent = found.id
        return found

    def _end(
        self,
        subject: Subject,
        rule: TokenRule,
        consent: ConsentFound | None,
        client: Agent,
        now: float,
    ) -> float:
        """Return when the token ends, in whole unix seconds. Raises Denied(TOKEN_EXPIRED)."""
        own = self._settings.lifetime
        life = own if rule.settings.lifetime is None else min(own, rule.settings.lifetime)
        ends = [now + life, subject.claims.expires_at, client.expires_at]
        if consent is not None:
            ends.append(consent.until)
        end = float(int(min(ends)))
        if end <= now:
            raise Denied(Reason.TOKEN_EXPIRED, "what the token would depend on has ended")
        return end


def refusal(denied: Denied, facts: TokenFacts) -> Refuse:
    """Return the refusal by which a client is told: also of a use that another request has made."""
    return Refuse(
        error_of(denied),
        words_of(denied),
        denied.reason,
        denied.detail,
        denied.headers,
        denied.needs,
        facts,
    )


def _target(endpoint: str) -> Target:
    """Return what DPoP proofs must be for. The endpoint is a checked URL."""
    parts = urlsplit(endpoint)
    return "POST", url_origin(f"{parts.scheme}://{parts.netloc}"), parts.path


def _scopes(
    request: TokenRequest, subject: Subject, rule: TokenRule, held: HeldRules
) -> frozenset[str]:
    """Return the scopes of the token, never wider than any of what gives them.

    Raises Denied(SCOPE) if nothing is left of them; a rule without scopes gives none on purpose.
    """
    allowed = rule.scopes if subject.is_id_token else rule.scopes & subject.claims.scopes
    if not held.is_unrestricted:
        allowed &= _named_by(held)
    granted = allowed if request.scopes is None else allowed & request.scopes
    if not granted and (rule.scopes or request.scopes):
        detail = "no scope is left of those of the subject token, the rule and the agent's grants"
        raise Denied(Reason.SCOPE, detail)
    return granted


def _named_by(held: HeldRules) -> frozenset[str]:
    """Return the scopes that allows of an agent's own grants name."""
    rules = (rule for each in held.sets for rule in each.rules)
    return frozenset[str]().union(
        *(rule.scopes for rule in rules if not (rule.is_deny or rule.is_shadow))
    )
