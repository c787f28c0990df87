"""The known principals, found through an index by issuer, subject and claims.

A look-up costs the same however many entries there are: an entry with subjects is found by the
subject, an entry with groups or roles by these; only entries with neither are tried in turn. If a
token's groups can't be read, every deny and suspension by groups applies, merged beforehand.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from authz.core.decision import Agent, Delegation
from authz.core.policy.claim_match import Fit, HeldClaims, words_in
from authz.core.policy.principal_entry import LISTS, PrincipalEntry, compile_entry
from authz.core.policy.rules import RuleSet, RuleSets
from authz.core.policy.settings import Absence, PrincipalSettings

_TEXT: Final = frozenset({str})


class PrincipalIndex:
    """The index of the known principals.

    Attributes:
        entries: all entries, in the config's order.
    """

    def __init__(self, principals: Iterable[PrincipalSettings], rule_sets: RuleSets) -> None:
        """Index the entries, with the rules of their grants."""
        self.entries = [
            compile_entry(number, settings, rule_sets.of(settings.grants))
            for number, settings in enumerate(principals)
        ]
        self._index: defaultdict[tuple[str, str, str], list[PrincipalEntry]] = defaultdict(list)
        for entry in self.entries:
            for key in _keys_of(entry):
                self._index[key].append(entry)
        for key, together in _together(self.entries):
            self._index[key].append(together)
        listed = {name for _, name, _ in self._index}
        self._lists = tuple(name for name in LISTS if name in listed)
        self._read = _read_by(self.entries)

    def of(self, delegation: Delegation) -> list[PrincipalEntry]:
        """Return every entry that counts for a delegation's principal, in the config's order."""
        issuer, index = delegation.issuer, self._index
        held = HeldClaims(delegation.claims)
        keys = [(issuer, "sub", delegation.subject), (issuer, *_ANYONE)]
        for name in self._lists:
            is_taken_by = (issuer, name + _UNKNOWN, "") in index
            found_by = _looked_up(held, name, is_taken_by=is_taken_by)
            keys += [(issuer, *key) for key in found_by]
        found = [
            counted
            for key in keys
            if key in index
            for entry in index[key]
            if (counted := entry.counted(delegation, held)) is not None
        ]
        if len(found) <= 1:
            return found
        return sorted(dict.fromkeys(found), key=lambda entry: entry.number)

    def through(self, agent: Agent, delegation: Delegation) -> list[PrincipalEntry]:
        """Return the entries of ``of`` that hold through this agent."""
        return [entry for entry in self.of(delegation) if entry.is_through(agent)]

    def allows_through_others(self, delegation: Delegation) -> bool:
        """Tell whether an entry allows the principal something, through whichever agents."""
        return any(
            not (entry.is_denies_only or entry.settings.suspended) for entry in self.of(delegation)
        )

    def unknown(self, delegation: Delegation) -> dict[str, Fit]:
        """Return the claims that the issuer's entries name and that can't be read, and why."""
        read, held = self._read.get(delegation.issuer, {}), HeldClaims(delegation.claims)
        issuer = delegation.issuer
        forms = {name: self._form(issuer, name, kinds, held) for name, kinds in read.items()}
        return {name: form for name, form in forms.items() if form.is_unknown}

    def _form(self, issuer: str, name: str, kinds: frozenset[type], held: HeldClaims) -> Fit:
        form = held.form(name, kinds)
        if form is Fit.NO and name in LISTS:
            is_packed = any((issuer, name, word) in self._index for word in held.packed(name).words)
            return Fit.UNREADABLE if is_packed else form
        return form


_ANYONE: Final = ("", "")
_UNKNOWN: Final = " unknown"  # after a list's name: the denies that apply if it can't be read
_ABSENT: Final = " absent"
Key = tuple[str, str, str]


def _looked_up(held: HeldClaims, name: str, *, is_taken_by: bool) -> Iterator[tuple[str, str]]:
    """Yield the keys by a list claim: its values, and whether it is unknown or absent."""
    yield from ((name, word) for _, word in held.values(name) if isinstance(word, str))
    if not is_taken_by:
        return
    form = held.form(name, _TEXT)
    yield from ((name, word) for word in held.packed(name).words)
    if form.is_unknown:
        yield name + _UNKNOWN, ""
    elif form is Fit.ABSENT:
        yield name + _ABSENT, ""


def _list_of(entry: PrincipalEntry) -> str:
    """Return the list claim by which an entry is looked up; "" for none."""
    match = entry.settings.match
    if entry.subjects is not None and not entry.subject_patterns:
        return ""
    return next((name for name in LISTS if getattr(match, name) is not None), "")


def _keys_of(entry: PrincipalEntry) -> Iterator[Key]:
    """Yield the index keys of an entry: the narrowest member that can be looked up."""
    match, name = entry.settings.match, _list_of(entry)
    if name:
        words: dict[str, None] = dict.fromkeys(getattr(match, name))
        if entry.denies_only is not None:  # a word may be packed with others in a text
            words |= dict.fromkeys(part for word in words for part in words_in(word))
        named = [(name, word) for word in words]
    elif entry.subjects is not None and not entry.subject_patterns:
        named = [("sub", subject) for subject in entry.subjects]
    else:
        named = [_ANYONE]
    return ((match.issuer, *name_and_value) for name_and_value in dict.fromkeys(named))


def _together(entries: Iterable[PrincipalEntry]) -> Iterator[tuple[Key, PrincipalEntry]]:
    """Yield merged entries with the denies by a list claim, for tokens whose list can't be read.

    Entries that match the same otherwise are merged, or a look-up would have to try each of them.
    """
    alike: defaultdict[Hashable, list[PrincipalEntry]] = defaultdict(list)
    for entry in entries:
        name, settings = _list_of(entry), entry.settings
        if name and entry.denies_only is not None:
            others = tuple(claim for claim in entry.claims if claim.name != name)
            issuer, subjects = settings.match.issuer, settings.match.subjects
            alike[issuer, name, subjects, settings.agents, others, settings.if_absent].append(entry)
    for some in alike.values():
        together, name = _merged(some), _list_of(some[0])
        issuer = together.settings.match.issuer
        yield (issuer, name + _UNKNOWN, ""), together
        if together.settings.if_absent is Absence.DENY:
            yield (issuer, name + _ABSENT, ""), together


def _merged(entries: list[PrincipalEntry]) -> PrincipalEntry:
    first = entries[0]
    if len(entries) == 1:
        return first
    rules = dict.fromkeys(rule for entry in entries for rule in entry.rules.denies.rules)
    is_suspended = any(entry.settings.suspended for entry in entries)
    settings = first.settings.model_copy(update={"unrestricted": False, "suspended": is_suspended})
    merged = replace(
        first, settings=settings, rules=RuleSet(rules), others=len(entries) - 1, is_denies_only=True
    )
    return replace(merged, denies_only=merged)


def _read_by(entries: Iterable[PrincipalEntry]) -> dict[str, dict[str, frozenset[type]]]:
    """Return, by issuer, the claims that entries read, and the types of their wanted values."""
    found: defaultdict[str, defaultdict[str, frozenset[type]]]
    found = defaultdict(lambda: defaultdict(frozenset))
    for entry in entries:
        of_issuer = found[entry.settings.match.issuer]
        for claim in entry.claims:
            of_issuer[claim.name] |= claim.kinds
    return {issuer: dict(read) for issuer, read in found.items()}
