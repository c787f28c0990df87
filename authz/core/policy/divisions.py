"""Divides the entries of principals by the members of their match, so that a look-up tries few.

A division finds each of its entries by one member of the entry's match: the subject, the agents or
a claim, whichever has the values that the fewest other entries share. If many entries share a
value, they are divided again by another member. A division only narrows the search: the entry
itself decides whether it counts.
"""

from collections.abc import Iterator
from typing import Final

from authz.core.decision import Delegation
from authz.core.distributed_claims import external_claims
from authz.core.policy.claim_match import Fit, HeldClaims, Typed
from authz.core.policy.claim_names import root_of
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.spiffe_table import SpiffeTable
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.core.spiffe.spiffe_id import is_misspelt

_TEXT: Final = str


class Asked:
    """The key of a look-up of entries: a delegation, its claims, and the agent, None for any.

    Attributes:
        is_elsewhere: whether the token says that any of its claims is elsewhere.
    """

    __slots__ = ("agent", "delegation", "held", "is_elsewhere")

    def __init__(self, delegation: Delegation, agent: SpiffeId | None) -> None:
        """Take the delegation and the agent's ID."""
        self.delegation = delegation
        self.agent = agent
        self.held = HeldClaims(delegation.claims)
        self.is_elsewhere = bool(external_claims(delegation.claims))


class Division:
    """Some entries, by the member of their match that finds them.

    Attributes:
        rest: the entries that no member divides: each look-up tries them all.
        subjects, agents: the divisions by subject and by agent.
        claims: the divisions by claim, by the claim's name.
        is_divided: whether there are divisions at all.
    """

    __slots__ = (
        *("_of_absence", "_of_root", "_taking"),
        *("agents", "claims", "is_divided", "rest", "subjects"),
    )

    def __init__(
        self,
        rest: tuple[PrincipalEntry, ...],
        subjects: "SubjectDivisions | None" = None,
        agents: "SpiffeTable[Division] | None" = None,
        claims: "dict[str, ClaimDivisions] | None" = None,
    ) -> None:
        """Take the parts."""
        self.rest = rest
        self.subjects = subjects
        self.agents = agents
        self.claims = claims or {}
        self._of_root: dict[str, list[str]] = {}
        for name in self.claims:
            self._of_root.setdefault(root_of(name), []).append(name)
        self.is_divided = not (subjects is None and agents is None and not self.claims)
        self._taking = tuple(divided for divided in self.claims.values() if divided.takes)
        self._of_absence = tuple(divided for divided in self._taking if divided.absent)

    def find(self, asked: Asked) -> dict[PrincipalEntry, None]:
        """Return the entries that may count, each once. No entry that counts is missing."""
        found: dict[PrincipalEntry, None] = {}
        divisions = [self]
        for division in divisions:  # it grows by those below
            found.update(dict.fromkeys(division.rest))
            if division.is_divided:
                divisions += division.below(asked)
        return found

    def below(self, asked: Asked) -> Iterator["Division"]:
        """Yield the divisions of this one in which entries may count."""
        if self.subjects is not None:
            yield from self.subjects.of(asked.delegation.subject)
        if self.agents is not None and asked.agent is not None:
            yield from self.agents.find(asked.agent)
        if not self.claims:
            return
        # A token has few of the many names. The others matter only to entries with denies or a
        # suspension, and only if these ask for an absent claim, or if the token says that some
        # claim is elsewhere.
        roots = asked.delegation.claims.keys() & self._of_root.keys()
        present = [self.claims[name] for root in roots for name in self._of_root[root]]
        for divided in present:
            yield from divided.holding(asked.held)
        doubtful = self._taking if asked.is_elsewhere else (*present, *self._of_absence)
        for divided in doubtful:
            if divided.takes:
                yield from divided.doubtful(asked.held)


class SubjectDivisions:
    """Divisions by exact subjects and patterns of subjects.

    Attributes:
        exact: the division of each exact subject.
        patterns: those of patterns of SPIFFE IDs; None without any.
        unread: the denies by patterns, which also apply to a subject that is a misspelt SPIFFE ID.
    """

    __slots__ = ("exact", "patterns", "unread")

    def __init__(
        self,
        exact: dict[str, Division],
        patterns: SpiffeTable[Division] | None,
        unread: Division | None,
    ) -> None:
        """Take the parts."""
        self.exact = exact
        self.patterns = patterns
        self.unread = unread

    def of(self, subject: str) -> Iterator[Division]:
        """Yield the divisions of a subject."""
        if subject in self.exact:
            yield self.exact[subject]
        if self.patterns is None:
            return
        try:
            yield from self.patterns.find(SpiffeId.parse(subject))
        except SpiffeIdError:
            if self.unread is not None and is_misspelt(subject):
                yield self.unread


class ClaimDivisions:
    """Divisions by the values of one claim.

    Attributes:
        name: the claim's name as the config has it.
        values: the division of each wanted value, and of each word of a text with denies.
        unread: denies and suspensions by the claim, which apply if it can't be read. They are by
            the types of the wanted values: a claim may be unreadable for some types only.
        absent: likewise if the token lacks the claim; None without any.
    """

    __slots__ = ("absent", "name", "unread", "values")

    def __init__(
        self,
        name: str,
        values: dict[Typed, Division],
        unread: dict[frozenset[type], Division],
        absent: Division | None,
    ) -> None:
        """Take the parts."""
        self.name = name
        self.values = values
        self.unread = unread
        self.absent = absent

    @property
    def takes(self) -> bool:
        """Tell whether any entry by the claim has denies, or suspends."""
        return bool(self.unread)

    def holding(self, held: HeldClaims) -> Iterator[Division]:
        """Yield the divisions of the values that the claim is or holds."""
        values, found = self.values, held.values(self.name)
        return (values[value] for value in found if value in values)

    def doubtful(self, held: HeldClaims) -> Iterator[Division]:
        """Yield the divisions that apply to values that the claim may hold.

        Packed, unread or absent.
        """
        for word in held.packed(self.name).words:
            below = self.values.get((_TEXT, word))
            if below is not None:
                yield below
        for kinds, below in self.unread.items():
            form = held.form(self.name, kinds)
            if form.is_unknown:
                yield below
            elif form is Fit.ABSENT:  # whatever the types
                if self.absent is not None:
                    yield self.absent
                return
