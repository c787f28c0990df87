"""Divides the entries of principals, when a policy is compiled."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from authz.core.patterns import ANY
from authz.core.policy.claim_match import ClaimMatch, Typed, words_in
from authz.core.policy.divisions import ClaimDivisions, Division, SubjectDivisions
from authz.core.policy.holder_settings import Absence
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.rules import RuleSet
from authz.core.policy.spiffe_table import SpiffeTable
from authz.core.spiffe import SCHEME, SpiffePattern

# The number of entries, by depth, that are tried one by one: dividing fewer saves nothing at the
# top, and little below.
_FEW: Final = (4, 12, 12)
# The number of values, by depth, under which an entry may be found. Below the first division these
# multiply: an entry with 1,000 subjects and 1,000 agents would occur a million times.
_VALUES: Final = (10**9, 4, 1)
AGENTS: Final = "agents"
SUBJECTS: Final = "subjects"
_CLAIM: Final = "claim "  # before a claim's name: a claim may have the name of another member
Members = frozenset[str]
"""Members of a match: SUBJECTS, AGENTS, and claims after ``_CLAIM``."""
NO_MEMBERS: Final[Members] = frozenset()
Value = TypeVar("Value", bound=Hashable)
Group = list[PrincipalEntry]


class Divider:
    """Divides entries of one issuer.

    Attributes:
        undivided: the most entries that are left in one place, where each is tried.
    """

    def __init__(self) -> None:
        """Begin with nothing divided."""
        self.undivided: tuple[PrincipalEntry, ...] = ()

    def divide(self, entries: Iterable[PrincipalEntry], used: Members = NO_MEMBERS) -> Division:
        """Divide entries, by other members than ``used``."""
        return self._divided(list(entries), used, NO_MEMBERS)

    def _divided(self, entries: Group, used: Members, unread: Members, depth: int = 0) -> Division:
        """Divide by the members that are not used yet; claims in ``unread`` can't be read."""
        if depth == len(_VALUES) or len(entries) <= _FEW[depth]:
            return self._undivided(entries)
        chosen = _chosen(entries, used, _VALUES[depth])
        below = _Below(self, used, unread, depth + 1)
        rest = self._undivided(chosen.pop("", []))
        subjects, agents = chosen.pop(SUBJECTS, None), chosen.pop(AGENTS, None)
        claims = {member.removeprefix(_CLAIM): some for member, some in chosen.items()}
        return Division(
            rest.rest,
            None if subjects is None else _by_subject(subjects, below),
            None if agents is None else _by_agent(agents, below),
            {name: _by_claim(name, some, below) for name, some in claims.items()},
        )

    def _undivided(self, entries: Group) -> Division:
        self.undivided = max(self.undivided, tuple(entries), key=len)
        return Division(tuple(entries))

    def below(self, entries: Group, used: Members, unread: Members, depth: int) -> Division:
        """Divide a part of a division."""
        return self._divided(entries, used, unread, depth)


class _Below:
    """Divides the parts of one division."""

    def __init__(self, divider: Divider, used: Members, unread: Members, depth: int) -> None:
        self._divider = divider
        self._used = used
        self._unread = unread
        self._depth = depth

    def known(self, entries: Group, member: str) -> Division:
        """Divide the entries that have a value of a member in common."""
        return self._divider.below(entries, self._used | {member}, self._unread, self._depth)

    def unread(self, entries: Group, member: str) -> Division:
        """Divide the denies of entries for principals of whom a member can't be read.

        Entries that match the same otherwise are merged, or each of them would be tried.
        """
        gone = self._unread | {member}
        alike: defaultdict[Hashable, Group] = defaultdict(list)
        for entry in entries:
            alike[_beside(entry, gone)].append(entry)
        merged = [_merged(some) for some in alike.values()]
        return self._divider.below(merged, self._used | {member}, gone, self._depth)


def _chosen(entries: Group, used: Members, most: int) -> dict[str, Group]:
    """Return the entries by the member that finds them, "" for those without any.

    That is the member whose values the fewest entries share; if several are equal, the member with
    the fewest values.
    """
    listed = [
        {
            member: values
            for member, values in _members(entry)
            if member not in used and len(values) <= most
        }
        for entry in entries
    ]
    counts = Counter(
        (member, value)
        for members in listed
        for member, values in members.items()
        for value in values
    )
    chosen: defaultdict[str, Group] = defaultdict(list)
    for entry, members in zip(entries, listed, strict=True):
        shared = {
            member: (max(counts[member, value] for value in values), len(values))
            for member, values in members.items()
        }
        chosen[min(shared, key=shared.__getitem__, default="")].append(entry)
    return chosen


def _members(entry: PrincipalEntry) -> Iterator[tuple[str, Sequence[Hashable]]]:
    """Yield the members that an entry gives, and the values under which each finds it."""
    subjects, agents = entry.settings.match.subjects, entry.settings.agents
    if subjects is not None:
        yield SUBJECTS, subjects
    if agents is not None:
        yield AGENTS, agents
    for claim in entry.claims:
        yield _CLAIM + claim.name, _values(entry, claim)


def _values(entry: PrincipalEntry, claim: ClaimMatch) -> tuple[Typed, ...]:
    """Return the values under which a claim finds an entry, with each of their words.

    A token may pack a wanted text of several words into one text with others.
    """
    if entry.denies_only is None:
        return tuple(claim.wanted)
    words = {(str, word) for text in claim.texts for word in words_in(text)}
    return tuple(claim.wanted | words)


def _grouped(pairs: Iterable[tuple[Value, PrincipalEntry]]) -> dict[Value, Group]:
    found: defaultdict[Value, Group] = defaultdict(list)
    for value, entry in pairs:
        found[value].append(entry)
    return found


def _by_subject(entries: Group, below: _Below) -> SubjectDivisions:
    exact: dict[str, Division] = {}
    patterns: SpiffeTable[Division] = SpiffeTable()
    pairs = ((text, entry) for entry in entries for text in entry.settings.match.subjects or ())
    for text, some in _grouped(pairs).items():
        division = below.known(some, SUBJECTS)
        if text.startswith(SCHEME) and ANY in text:
            patterns.add(SpiffePattern.parse(text), division)
        else:
            exact[text] = division
    taking = [entry for entry in entries if entry.subject_patterns and entry.denies_only]
    unread = below.unread(taking, SUBJECTS) if taking else None
    has_patterns = any(entry.subject_patterns for entry in entries)
    return SubjectDivisions(exact, patterns if has_patterns else None, unread)


def _by_agent(entries: Group, below: _Below) -> SpiffeTable[Division]:
    table: SpiffeTable[Division] = SpiffeTable()
    pairs = ((text, entry) for entry in entries for text in entry.settings.agents or ())
    for text, some in _grouped(pairs).items():
        table.add(SpiffePattern.parse(text), below.known(some, AGENTS))
    return table


def _by_claim(name: str, entries: Group, below: _Below) -> ClaimDivisions:
    member = _CLAIM + name
    listed = [(entry, _claim(entry, name)) for entry in entries]
    pairs = ((value, entry) for entry, claim in listed for value in _values(entry, claim))
    values = {value: below.known(some, member) for value, some in _grouped(pairs).items()}
    taking = [(entry, claim) for entry, claim in listed if entry.denies_only is not None]
    unread = _grouped((claim.kinds, entry) for entry, claim in taking)
    absent = [entry for entry, _ in taking if entry.settings.if_absent is Absence.DENY]
    return ClaimDivisions(
        name,
        values,
        {kinds: below.unread(some, member) for kinds, some in unread.items()},
        below.unread(absent, member) if absent else None,
    )


def _claim(entry: PrincipalEntry, name: str) -> ClaimMatch:
    return next(claim for claim in entry.claims if claim.name == name)


def _beside(entry: PrincipalEntry, members: Members) -> Hashable:
    """Return the other members of an entry's match, in a form that can be compared."""
    settings = entry.settings
    return (
        None if SUBJECTS in members else settings.match.subjects,
        settings.agents,
        tuple([claim for claim in entry.claims if _CLAIM + claim.name not in members]),
        settings.if_absent,
    )


def _merged(entries: Group) -> PrincipalEntry:
    """Return one entry with the denies of several."""
    first = entries[0]
    if len(entries) == 1:
        return first
    rules = dict.fromkeys(rule for entry in entries for rule in entry.rules.denies.rules)
    is_suspended = any(entry.settings.suspended for entry in entries)
    settings = first.settings.model_copy(update={"unrestricted": False, "suspended": is_suspended})
    others = len(entries) - 1 + sum(entry.others for entry in entries)
    merged = replace(
        first, settings=settings, rules=RuleSet(rules), others=others, is_denies_only=True
    )
    return replace(merged, denies_only=merged)
