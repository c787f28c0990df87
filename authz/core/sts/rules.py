"""The rules of the token service: who may become the actor, for whom, and to do what."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from authz.core.decision import Agent, Delegation
from authz.core.policy import PrincipalSettings
from authz.core.policy.principal_entry import PrincipalEntry, compile_entry
from authz.core.policy.rules import RuleSet
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern
from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.request import TokenRequest
from authz.core.sts.settings import TokenRuleSettings
from authz.core.sts.subject import Subject

_NO_RULES: Final = RuleSet(())


@dataclass(frozen=True, slots=True)
class Asked:
    """A token request as the rules see it.

    Attributes:
        principals: the principal as the first issuer names it, and as our tokens do.
    """

    request: TokenRequest
    subject: Subject
    principals: tuple[Delegation, Delegation]


@dataclass(frozen=True, slots=True)
class TokenRule:
    """A compiled rule."""

    settings: TokenRuleSettings
    agents: tuple[SpiffePattern, ...]
    via: tuple[SpiffePattern, ...]
    principals: tuple[PrincipalEntry, ...]
    subject_audiences: frozenset[str]
    audiences: frozenset[str]
    scopes: frozenset[str]
    detail_types: frozenset[str]

    @classmethod
    def of(cls, settings: TokenRuleSettings) -> Self:
        """Compile a rule."""
        return cls(
            settings,
            tuple(map(SpiffePattern.parse, settings.agents)),
            tuple(map(SpiffePattern.parse, settings.via)),
            tuple(_entries(settings)),
            frozenset(settings.subject_audiences),
            frozenset(settings.audiences),
            frozenset(settings.scopes),
            frozenset(settings.authorization_details),
        )

    def takes(self, client: Agent) -> bool:
        """Tell whether the rule is about a client."""
        return _is_one_of(client.spiffe_id, self.agents)

    def targets(self, request: TokenRequest) -> tuple[str, ...]:
        """Return the audiences of a token: those that were asked for, or the only one."""
        return request.targets or self.settings.audiences

    def misfit(self, asked: Asked, own: str) -> tuple[int, Denied] | None:
        """Return the first part of the rule that does not fit, by its number, and why; else None.

        ``own`` is the URL of the token service, for which any subject token may be.
        """
        parts = enumerate(self._misfits(asked, own))
        return next(((at, each) for at, each in parts if each is not None), None)

    def _misfits(self, asked: Asked, own: str) -> Iterator[Denied | None]:
        yield self._subject_misfit(asked.subject, own)
        yield self._via_misfit(asked.subject)
        yield self._principal_misfit(asked)
        yield self._target_misfit(asked.request)
        yield self._scope_misfit(asked.request)
        yield self._detail_misfit(asked.request)

    def _subject_misfit(self, subject: Subject, own: str) -> Denied | None:
        if not subject.audiences.isdisjoint(self.subject_audiences | {own}):
            return None
        detail = f"rule {self.settings.name}: the subject token is for another audience"
        return Denied(Reason.TOKEN_AUDIENCE, detail)

    def _via_misfit(self, subject: Subject) -> Denied | None:
        if not subject.actors or _is_text_of(subject.actors[0].subject, self.via):
            return None
        detail = f"rule {self.settings.name}: the subject token's actor is not one of via"
        return Denied(Reason.ACTOR_NOT_PERMITTED, detail)

    def _principal_misfit(self, asked: Asked) -> Denied | None:
        pairs = ((entry, each) for entry in self.principals for each in asked.principals)
        if not self.principals or any(not entry.mismatch(each) for entry, each in pairs):
            return None
        detail = f"rule {self.settings.name}: not for this principal"
        return Denied(Reason.ACTOR_NOT_PERMITTED, detail)

    def _target_misfit(self, request: TokenRequest) -> Denied | None:
        name = self.settings.name
        if not request.targets and len(self.audiences) > 1:
            return Denied(Reason.EXCHANGE_REFUSED, f"rule {name}: no audience was asked for")
        if self.audiences.issuperset(request.targets):
            return None
        return Denied(Reason.EXCHANGE_REFUSED, f"rule {name}: not for this audience")

    def _scope_misfit(self, request: TokenRequest) -> Denied | None:
        if request.scopes is None or not self.scopes.isdisjoint(request.scopes):
            return None
        return Denied(Reason.SCOPE, f"rule {self.settings.name}: none of the scopes asked for")

    def _detail_misfit(self, request: TokenRequest) -> Denied | None:
        if self.detail_types.issuperset(each["type"] for each in request.details):
            return None
        detail = f"rule {self.settings.name}: not for these authorization_details"
        return TokenRequestDenied(OAuthError.INVALID_DETAILS, Reason.POLICY_DENIED, detail)


class TokenRules:
    """The rules, in their order."""

    def __init__(self, rules: Iterable[TokenRuleSettings], own: str) -> None:
        """Compile the rules; ``own`` is the URL of the token service."""
        self._rules = [TokenRule.of(settings) for settings in rules]
        self._own = own

    def of(self, client: Agent) -> list[TokenRule]:
        """Return the rules about a client. Raises Denied(POLICY_DENIED) if there is none."""
        found = [rule for rule in self._rules if rule.takes(client)]
        if not found:
            detail = "no rule of the token service lists the client"
            error = OAuthError.UNAUTHORIZED_CLIENT
            raise TokenRequestDenied(error, Reason.POLICY_DENIED, detail)
        return found

    def find(self, rules: Iterable[TokenRule], asked: Asked) -> TokenRule:
        """Return the first of a client's rules that fits. Raises the refusal of the nearest."""
        misfits: list[tuple[int, Denied]] = []
        for rule in rules:
            misfit = rule.misfit(asked, self._own)
            if misfit is None:
                return rule
            misfits.append(misfit)
        raise max(misfits, key=lambda misfit: misfit[0])[1]


def _entries(settings: TokenRuleSettings) -> Iterator[PrincipalEntry]:
    for at, match in enumerate(settings.principals or ()):
        yield compile_entry(at, PrincipalSettings(match=match, unrestricted=True), _NO_RULES)


def _is_one_of(spiffe_id: SpiffeId, patterns: tuple[SpiffePattern, ...]) -> bool:
    return any(pattern.matches(spiffe_id) for pattern in patterns)


def _is_text_of(text: str, patterns: tuple[SpiffePattern, ...]) -> bool:
    try:
        return _is_one_of(SpiffeId.parse(text), patterns)
    except SpiffeIdError:
        return False
