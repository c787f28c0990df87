"""The known principals, found by agent, issuer, subject and claims.

The entries of an issuer are divided (``authz.core.policy.divisions``), so that a look-up costs the
same however many there are. If a token's groups or another claim can't be read, every deny and
suspension by the claim applies, merged beforehand.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from authz.core.decision import Agent, Delegation
from authz.core.distributed_claims import external_claims
from authz.core.policy.claim_match import Fit, HeldClaims, words_in
from authz.core.policy.claim_names import root_of
from authz.core.policy.dividing import AGENTS, Divider
from authz.core.policy.divisions import Asked, Division
from authz.core.policy.holder_settings import PrincipalSettings
from authz.core.policy.principal_entry import LISTS, PrincipalEntry, compile_entry
from authz.core.policy.rules import RuleSets

_NOBODY: Final = Division(())


class PrincipalIndex:
    """The index of the known principals.

    Attributes:
        entries: all entries, in the config's order.
        undivided: the largest number of entries that a look-up tries one by one, as nothing divides
            them.
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
        # The entries that allow through certain agents once more, to be found for any agent.
        self._of_any_agent = {
            issuer: Divider().divide(filter(_allows_through_some, some), frozenset({AGENTS}))
            for issuer, some in of_issuers.items()
        }
        self._read = _read_by(self.entries)
        self._words = frozenset(_listed_words(self.entries))

    def through(self, agent: Agent, delegation: Delegation) -> list[PrincipalEntry]:
        """Return every entry that counts for a delegation's principal, in the config's order.

        Entries for other agents only are left out.
        """
        divided = self._divided.get(delegation.issuer, _NOBODY)
        found = _counted(divided, Asked(delegation, agent.spiffe_id))
        return _in_order(entry for entry in found if entry.is_through(agent))

    def allows_through_some(self, delegation: Delegation) -> bool:
        """Tell whether any entry for certain agents allows the principal something."""
        divided = self._of_any_agent.get(delegation.issuer, _NOBODY)
        found = _counted(divided, Asked(delegation, None))
        return not all(entry.is_denies_only for entry in found)

    def unknown(self, delegation: Delegation) -> dict[str, Fit]:
        """Return the claims that the issuer's entries name and that can't be read, and why."""
        issuer, claims = delegation.issuer, delegation.claims
        read, held = self._read.get(issuer, _NOTHING_READ), HeldClaims(claims)
        # A claim that the token lacks is unknown only if the token says that some claim is
        # elsewhere.
        roots = read.roots if external_claims(claims) else claims.keys() & read.roots
        names = sorted(number for root in roots for number in read.of_root[root])
        found = [read.names[number] for number in names]
        forms = {name: self._form(issuer, name, kinds, held) for name, kinds in found}
        return {name: form for name, form in forms.items() if form.is_unknown}

    def _form(self, issuer: str, name: str, kinds: frozenset[type], held: HeldClaims) -> Fit:
        form = held.form(name, kinds)
        if form is Fit.NO and name in LISTS:
            is_packed = any((issuer, name, word) in self._words for word in held.packed(name).words)
            return Fit.UNREADABLE if is_packed else form
        return form


def _counted(division: Division, asked: Asked) -> Iterator[PrincipalEntry]:
    """Yield the entries of a division that count, each in whole or with its denies alone."""
    for entry in division.find(asked):
        counted = entry.counted(asked.delegation, asked.held)
        if counted is not None:
            yield counted


def _allows_through_some(entry: PrincipalEntry) -> bool:
    return entry.agents is not None and not entry.settings.suspended


def _in_order(entries: Iterable[PrincipalEntry]) -> list[PrincipalEntry]:
    """Return the entries in the config's order, each once, and each before those merged with it."""
    found = list(entries)
    if len(found) <= 1:
        return found
    return sorted(dict.fromkeys(found), key=lambda entry: (entry.number, entry.others))


def _listed_words(entries: Iterable[PrincipalEntry]) -> Iterator[tuple[str, str, str]]:
    """Yield the issuer, the claim and each wanted word of entries that a list claim finds."""
    for entry in entries:
        match, name = entry.settings.match, _list_of(entry)
        for text in getattr(match, name) if name else ():
            words = words_in(text) if entry.denies_only is not None else ()
            for word in (text, *words):
                yield match.issuer, name, word


def _list_of(entry: PrincipalEntry) -> str:
    """Return the list claim that finds an entry; "" if none does, as for exact subjects."""
    match = entry.settings.match
    if entry.subjects is not None and not entry.subject_patterns:
        return ""
    return next((name for name in LISTS if getattr(match, name) is not None), "")


@dataclass(frozen=True, slots=True)
class _Read:
    """The claims that the entries of an issuer read.

    Attributes:
        names: each claim, and the types of its wanted values.
        of_root: the numbers of the names, by the top-level claim that contains them.
    """

    names: tuple[tuple[str, frozenset[type]], ...]
    of_root: Mapping[str, list[int]]

    @property
    def roots(self) -> AbstractSet[str]:
        """The top-level claims."""
        return self.of_root.keys()


_NOTHING_READ: Final = _Read((), {})


def _read_by(entries: Iterable[PrincipalEntry]) -> dict[str, _Read]:
    """Return, by issuer, the claims that entries read."""
    found: defaultdict[str, defaultdict[str, frozenset[type]]]
    found = defaultdict(lambda: defaultdict(frozenset))
    for entry in entries:
        of_issuer = found[entry.settings.match.issuer]
        for claim in entry.claims:
            of_issuer[claim.name] |= claim.kinds
    return {issuer: _by_root(kinds) for issuer, kinds in found.items()}


def _by_root(kinds: Mapping[str, frozenset[type]]) -> _Read:
    of_root: defaultdict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(kinds):
        of_root[root_of(name)].append(number)
    return _Read(tuple(kinds.items()), dict(of_root))
