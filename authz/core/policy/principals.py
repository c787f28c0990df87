"""The known principals, found by issuer, subject and claims through indexes.

So it costs the same however many there are: an entry with subjects is looked up by the subject, one
with groups or roles by these; only what names neither is tried. Where a token's groups can't be
read, what any entry takes by them counts, put together beforehand.
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
    """The known principals.

    Attributes:
        entries: all of them, in the config's order.
    """

    def __init__(self, principals: Iterable[PrincipalSettings], rule_sets: RuleSets) -> None:
        """Index the entries, with the rules of their grants."""
        self.entries = [
            compile_entry(number, one, rule_sets.of(one.grants))
            for number, one in enumerate(principals)
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
        """Return every entry that is about a delegation's principal, in the config's order."""
        issuer, index = delegation.issuer, self._index
        held = HeldClaims(delegation.claims)
        keys = [(issuer, "sub", delegation.subject), (issuer, *_ANYONE)]
        for name in self._lists:
            is_taken_by = (issuer, name + _UNKNOWN, "") in index
            found_by = _looked_up(held, name, is_taken_by=is_taken_by)
            keys += [(issuer, *one) for one in found_by]
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
        """Return those of ``of`` that hold through this agent."""
        return [entry for entry in self.of(delegation) if entry.is_through(agent)]

    def unknown(self, delegation: Delegation) -> dict[str, Fit]:
        """Return the claims that entries of the issuer name and that can't be read, and why."""
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
_UNKNOWN: Final = " unknown"  # after a list's name: what is taken by it where it can't be read
_ABSENT: Final = " absent"
Key = tuple[str, str, str]


def _looked_up(held: HeldClaims, name: str, *, is_taken_by: bool) -> Iterator[tuple[str, str]]:
    """Yield the keys of entries by a list: its values, and what is known of the whole."""
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
    """Return the list by which an entry is looked up; "" for none."""
    match = entry.settings.match
    if entry.subjects is not None and not entry.subject_patterns:
        return ""
    return next((name for name in LISTS if getattr(match, name) is not None), "")


def _keys_of(entry: PrincipalEntry) -> Iterator[Key]:
    """Yield the keys of an entry: the narrowest member that can be looked up."""
    match, name = entry.settings.match, _list_of(entry)
    if name:
        words: dict[str, None] = dict.fromkeys(getattr(match, name))
        if entry.denies_only is not None:  # one of several words, among others in one text
            words |= dict.fromkeys(part for word in words for part in words_in(word))
        named = [(name, word) for word in words]
    elif entry.subjects is not None and not entry.subject_patterns:
        named = [("sub", subject) for subject in entry.subjects]
    else:
        named = [_ANYONE]
    return ((match.issuer, *one) for one in dict.fromkeys(named))


def _together(entries: Iterable[PrincipalEntry]) -> Iterator[tuple[Key, PrincipalEntry]]:
    """Yield what entries take by a list, whatever they name of it: for lists that can't be read.

    As one entry where they ask the same of all else, or there were as many to try as are written.
    """
    alike: defaultdict[Hashable, list[PrincipalEntry]] = defaultdict(list)
    for entry in entries:
        name, settings = _list_of(entry), entry.settings
        if name and entry.denies_only is not None:
            others = tuple(one for one in entry.claims if one.name != name)
            issuer, subjects = settings.match.issuer, settings.match.subjects
            alike[issuer, name, subjects, settings.agents, others, settings.if_absent].append(entry)
    for some in alike.values():
        together, name = _as_one(some), _list_of(some[0])
        issuer = together.settings.match.issuer
        yield (issuer, name + _UNKNOWN, ""), together
        if together.settings.if_absent is Absence.DENY:
            yield (issuer, name + _ABSENT, ""), together


def _as_one(entries: list[PrincipalEntry]) -> PrincipalEntry:
    first = entries[0]
    if len(entries) == 1:
        return first
    rules = dict.fromkeys(rule for one in entries for rule in one.rules.denies.rules)
    is_suspended = any(one.settings.suspended for one in entries)
    settings = first.settings.model_copy(update={"unrestricted": False, "suspended": is_suspended})
    one = replace(
        first, settings=settings, rules=RuleSet(rules), others=len(entries) - 1, is_denies_only=True
    )
    return replace(one, denies_only=one)


def _read_by(entries: Iterable[PrincipalEntry]) -> dict[str, dict[str, frozenset[type]]]:
    """Return, by issuer, the claims that entries read, and of which types."""
    found: defaultdict[str, defaultdict[str, frozenset[type]]]
    found = defaultdict(lambda: defaultdict(frozenset))
    for entry in entries:
        of_issuer = found[entry.settings.match.issuer]
        for claim in entry.claims:
            of_issuer[claim.name] |= claim.kinds
    return {issuer: dict(read) for issuer, read in found.items()}
