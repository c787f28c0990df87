"""A compiled entry of ``principals``.

It counts for a principal completely, by its denies, or not at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from authz.core.decision import Agent, Delegation, Mode
from authz.core.patterns import ANY
from authz.core.policy.claim_match import FIT_TEXTS, ClaimMatch, Fit, HeldClaims
from authz.core.policy.holder_settings import GROUPS, ROLES, Absence, PrincipalSettings
from authz.core.policy.rules import RuleSet
from authz.core.reads import Reads
from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError, SpiffePattern
from authz.core.spiffe.spiffe_id import is_misspelt

LISTS: Final = (GROUPS, ROLES)
"""The claims by which an entry is looked up."""


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalEntry:
    """A compiled entry of ``principals``.

    Attributes:
        number: its place in the config, from 0.
        subjects: exact subjects; None for any.
        subject_patterns, agents: patterns of SPIFFE IDs; ``agents`` None for any.
        claims: the matches of claims, groups and roles first.
        denies_only: this entry without its allows, for principals who may or may not be meant;
            None if it has no denies and suspends nobody, or if its match is always certain.
        others: how many further entries are merged into it.
        is_denies_only: whether it never allows, as ``denies_only``.
    """

    number: int
    settings: PrincipalSettings
    rules: RuleSet
    subjects: frozenset[str] | None
    subject_patterns: tuple[SpiffePattern, ...]
    agents: tuple[SpiffePattern, ...] | None
    claims: tuple[ClaimMatch, ...]
    denies_only: Self | None = None
    others: int = 0
    is_denies_only: bool = False

    @property
    def title(self) -> str:
        """Its place in the config and its match, for reports."""
        match = self.settings.match
        members = [(name, getattr(match, name)) for name in ("subjects", GROUPS, ROLES)]
        members += match.claims.items()
        given = [f"{name} {', '.join(map(str, some))}" for name, some in members if some]
        given += ["or without"] if self.settings.if_absent is Absence.DENY else []
        more = f" and {self.others} more" if self.others else ""
        return f"principals[{self.number}] ({'; '.join([match.issuer, *given])}){more}"

    @property
    def reads(self) -> Reads:
        """The claims that its match names, beside ``iss`` and ``sub``."""
        return Reads.union(claim.reads for claim in self.claims)

    def counted(self, delegation: Delegation, held: HeldClaims) -> Self | None:
        """Return this entry, or its denies alone, if it counts for a delegation; else None.

        Allows are for principals who certainly match. An agent that acts for itself is a principal
        only if its ID is listed: "any subject" means people. Denies and suspension also apply to
        such an agent, and to every principal who may match.
        """
        is_sure = not self._is_of_people(delegation)
        for _, fit in self._fits(delegation, held):
            if fit is Fit.YES:
                continue
            if self.denies_only is None or not self._takes_at(fit):
                return None
            is_sure = False
        return self if is_sure else self.denies_only

    def unknown(self, delegation: Delegation, held: HeldClaims) -> dict[str, Fit]:
        """Return the claims whose match is unknown, with the reason."""
        fits = self._fits(delegation, held)
        return {name: fit for name, fit in fits if fit not in (Fit.YES, Fit.NO)}

    def mismatch(self, delegation: Delegation) -> str:
        """Return why the entry allows nothing, in words for people; "" if all of its match fits."""
        if self._is_of_people(delegation):
            return "an agent that acts for itself must be listed in subjects"
        fits = self._fits(delegation, HeldClaims(delegation.claims))
        return next((_why_unfit(name, fit) for name, fit in fits if fit is not Fit.YES), "")

    def _takes_at(self, fit: Fit) -> bool:
        return fit.is_unknown or (fit is Fit.ABSENT and self.settings.if_absent is Absence.DENY)

    def _is_of_people(self, delegation: Delegation) -> bool:
        return self.subjects is None and delegation.mode is Mode.AUTONOMOUS

    def _fits(self, delegation: Delegation, held: HeldClaims) -> Iterator[tuple[str, Fit]]:
        """Yield each member of the match, and how it fits."""
        yield "iss", _fit(is_so=delegation.issuer == self.settings.match.issuer)
        if self.subjects is not None:
            yield "sub", self._subject_fit(delegation.subject, self.subjects)
        for claim in self.claims:
            yield claim.name, claim.fit(held)

    def _subject_fit(self, subject: str, exact: frozenset[str]) -> Fit:
        if subject in exact or not self.subject_patterns:
            return _fit(is_so=subject in exact)
        try:
            spiffe_id = SpiffeId.parse(subject)
        except SpiffeIdError:
            return Fit.UNREADABLE if is_misspelt(subject) else Fit.NO
        return _fit(is_so=any(pattern.matches(spiffe_id) for pattern in self.subject_patterns))

    def is_through(self, agent: Agent) -> bool:
        """Tell whether the entry's principals hold its rules through this agent."""
        return self.agents is None or any(
            pattern.matches(agent.spiffe_id) for pattern in self.agents
        )


def _fit(*, is_so: bool) -> Fit:
    return Fit.YES if is_so else Fit.NO


def _why_unfit(name: str, fit: Fit) -> str:
    """Return why a member of the match does not fit, in words for people."""
    if fit.is_unknown:
        return f"the claim {name} {FIT_TEXTS[fit]}"
    if name == "iss":
        return "it is for another issuer"
    if name == "sub":
        return "the principal is not one of its subjects"
    no = f"in none of its {name}" if name in LISTS else f"the claim {name} has none of its values"
    return f"{no}: it {FIT_TEXTS[fit]}" if fit is Fit.ABSENT else no


def compile_entry(number: int, settings: PrincipalSettings, rules: RuleSet) -> PrincipalEntry:
    """Compile an entry; ``number`` is its place in the config, from 0."""
    listed = settings.match.subjects
    patterns = [text for text in listed or () if text.startswith(SCHEME) and ANY in text]
    claims = tuple([ClaimMatch.of(name, values) for name, values in settings.match.asked])
    parts = (
        None if listed is None else frozenset(listed) - frozenset(patterns),
        tuple(map(SpiffePattern.parse, patterns)),
        None if settings.agents is None else tuple(map(SpiffePattern.parse, settings.agents)),
        claims,
    )
    is_always_sure = listed is not None and not patterns and not claims
    if is_always_sure or not (rules.denies.rules or settings.suspended):
        return PrincipalEntry(number, settings, rules, *parts)
    denies_only = PrincipalEntry(
        number, _restricted(settings), rules.denies, *parts, is_denies_only=True
    )
    return PrincipalEntry(number, settings, rules, *parts, denies_only)


def _restricted(settings: PrincipalSettings) -> PrincipalSettings:
    if not settings.unrestricted:  # as for nearly all entries: a copy takes as long as all the rest
        return settings
    return settings.model_copy(update={"unrestricted": False})
