"""The known principals, found by agent, issuer, subject and claims.

The entries of an issuer are divided (``authz.core.policy.divisions``), so that a look-up costs the
same however many there are. If a token's groups or another claim can't be read, every deny and
suspension by the claim applies, merged beforehand.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from authz.core.decision import Agent, Delegation
from authz.core.policy.claim_match import Fit, HeldClaims, words_in
from authz.core.policy.dividing import AGENTS, Divider
from authz.core.policy.divisions import Asked, Division
from authz.core.policy.principal_entry import LISTS, PrincipalEntry, compile_entry
from authz.core.policy.rules import RuleSets
from authz.core.policy.settings import PrincipalSettings
from authz.core.spiffe import SpiffeId

_NOBODY: Final = Division(())


class PrincipalIndex:
    """The index of the known principals.

    Attributes:
        entries: all entries, in the config's order.
        undivided: the most entries of which a look-up tries each, as nothing divides them.
    """

    def __init__(self, principals: Iterable[PrincipalSettings], rule_sets: RuleSets) -> None:
        """Index the entries, with the rules of their grants."""
        self.entries = [
            compile_entry(number, settings, rule_sets.of(settings.grants))
            for number, settings in enumerate(principals)
        ]
        divider = Divider()
        of_issuers: defaultdict[str, list[PrincipalEntry]] = defaultdict(list)
        for entry in self.entries:
            of_issuers[entry.settings.match.issuer].append(entry)
        self._divided = {issuer: divider.divide(some) for issuer, some in of_issuers.items()}
        self.undivided = divider.undivided
        # The entries for certain agents once more, to be found whoever the agent is.
        self._of_any_agent = {
            issuer: Divider().divide((entry for entry in some if entry.agents), frozenset({AGENTS}))
            for issuer, some in of_issuers.items()
        }
        self._read = _read_by(self.entries)
        self._words = frozenset(_listed_words(self.entries))

    def of(self, delegation: Delegation) -> list[PrincipalEntry]:
        """Return every entry that counts for a delegation's principal, in the config's order.

        Whoever the agent is: its entries may count through other agents only.
        """
        divided = self._of_any_agent.get(delegation.issuer, _NOBODY)
        through_some = _counted(divided, Asked(delegation, None))
        return _in_order([*self._through(None, delegation), *through_some])

    def through(self, agent: Agent, delegation: Delegation) -> list[PrincipalEntry]:
        """Return the entries of ``of`` that hold through this agent."""
        found = self._through(agent.spiffe_id, delegation)
        return _in_order(entry for entry in found if entry.is_through(agent))

    def allows_through_others(self, delegation: Delegation) -> bool:
        """Tell whether an entry allows the principal something, through whichever agents."""
        return any(
            not (entry.is_denies_only or entry.settings.suspended) for entry in self.of(delegation)
        )

    def _through(self, agent: SpiffeId | None, delegation: Delegation) -> list[PrincipalEntry]:
        divided = self._divided.get(delegation.issuer, _NOBODY)
        return _counted(divided, Asked(delegation, agent))

    def unknown(self, delegation: Delegation) -> dict[str, Fit]:
        """Return the claims that the issuer's entries name and that can't be read, and why."""
        read, held = self._read.get(delegation.issuer, {}), HeldClaims(delegation.claims)
        issuer = delegation.issuer
        forms = {name: self._form(issuer, name, kinds, held) for name, kinds in read.items()}
        return {name: form for name, form in forms.items() if form.is_unknown}

    def _form(self, issuer: str, name: str, kinds: frozenset[type], held: HeldClaims) -> Fit:
        form = held.form(name, kinds)
        if form is Fit.NO and name in LISTS:
            is_packed = any((issuer, name, word) in self._words for word in held.packed(name).words)
            return Fit.UNREADABLE if is_packed else form
        return form


def _counted(division: Division, asked: Asked) -> list[PrincipalEntry]:
    """Return the entries of a division that count, each in whole or with its denies alone."""
    counted = (entry.counted(asked.delegation, asked.held) for entry in division.find(asked))
    return [entry for entry in counted if entry is not None]


def _in_order(entries: Iterable[PrincipalEntry]) -> list[PrincipalEntry]:
    """Return the entries in the config's order, each once, and before those merged with it."""
    found = list(entries)
    if len(found) <= 1:
        return found
    return sorted(dict.fromkeys(found), key=lambda entry: (entry.number, entry.others))


def _listed_words(entries: Iterable[PrincipalEntry]) -> Iterable[tuple[str, str, str]]:
    """Yield the issuer, the claim and each wanted word of entries that a list claim finds."""
    for entry in entries:
        match, name = entry.settings.match, _list_of(entry)
        for text in getattr(match, name) if name else ():
            words = words_in(text) if entry.denies_only is not None else ()
            for word in (text, *words):
                yield match.issuer, name, word


def _list_of(entry: PrincipalEntry) -> str:
    """Return the list claim by which an entry is known; "" for none, as for exact subjects."""
    match = entry.settings.match
    if entry.subjects is not None and not entry.subject_patterns:
        return ""
    return next((name for name in LISTS if getattr(match, name) is not None), "")


def _read_by(entries: Iterable[PrincipalEntry]) -> dict[str, dict[str, frozenset[type]]]:
    """Return, by issuer, the claims that entries read, and the types of their wanted values."""
    found: defaultdict[str, defaultdict[str, frozenset[type]]]
    found = defaultdict(lambda: defaultdict(frozenset))
    for entry in entries:
        of_issuer = found[entry.settings.match.issuer]
        for claim in entry.claims:
            of_issuer[claim.name] |= claim.kinds
    return {issuer: dict(read) for issuer, read in found.items()}
