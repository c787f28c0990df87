"""Finds the rules that a caller holds through all of its entries, as fast as those of one entry.

If a caller has few sets of rules, each of them is searched. If a caller has many, they are merged
into one set, which is kept for every caller with the same sets.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from authz.core.bounded_map import BoundedMap
from authz.core.pattern_tree import PatternTree, find_in_each
from authz.core.policy.agents import AgentEntry
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.rules import UNRESTRICTED, Rule, RuleSet
from authz.core.request import Operation

FEW: Final = 8  # sets that are searched one by one
LOOKS: Final = 8  # searches of many sets before they are merged: a merge costs about as much
_KNOWN: Final = 10_000  # combinations of sets that callers in use have
_MERGED: Final = 1000  # combinations that are merged
_RULE_BYTES: Final = 1000  # measured: a merged rule with a path of its own
_MERGED_BYTES: Final = 64 * 1024 * 1024
_SET_BYTES: Final = 8
_TREES: Final = 4096  # hosts and methods in use, of callers with the same sets; 1 KB each at most


@dataclass(slots=True, eq=False)
class HeldRules:
    """The rules of all entries of one caller. Made by ``RuleHoldings.of`` only.

    Attributes:
        sets: the entries' sets of rules, each once, in the entries' order.
        is_unrestricted: whether an entry is unrestricted.
        looks: how often all the sets were searched since they were last merged.
    """

    sets: tuple[RuleSet, ...]
    is_unrestricted: bool
    looks: int = field(default=0)


_Trees = tuple[PatternTree[Rule], ...]  # of paths
_TreesKey = tuple[HeldRules, str, str, str]  # with protocol, host and method


@dataclass(frozen=True, slots=True)
class _Merged:
    """One set with all the rules of several sets, and the place of each rule's first set."""

    rules: RuleSet
    places: Mapping[Rule, int]

    def find(self, operation: Operation) -> list[Rule]:
        """Return the rules about an operation, in the order in which the sets give them."""
        return sorted(dict.fromkeys(self.rules.find(operation)), key=self.places.__getitem__)


class RuleHoldings:
    """Finds the rules that callers hold about an operation."""

    def __init__(self) -> None:
        """Begin with nothing merged."""
        self._trees: dict[_TreesKey, _Trees] = {}
        self._known: BoundedMap[tuple[tuple[RuleSet, ...], bool], HeldRules]
        self._known = BoundedMap(_KNOWN, _MERGED_BYTES, lambda key, _: _SET_BYTES * len(key[0]))
        self._merged: BoundedMap[HeldRules, _Merged]
        self._merged = BoundedMap(
            _MERGED, _MERGED_BYTES, lambda _, merged: _RULE_BYTES * len(merged.places)
        )

    def of(self, entries: Iterable[AgentEntry | PrincipalEntry]) -> HeldRules:
        """Return the rules of a caller's entries: one object for all callers with the same."""
        listed = list(entries)
        sets = tuple(dict.fromkeys(entry.rules for entry in listed if entry.rules.rules))
        key = sets, any(entry.settings.unrestricted for entry in listed)
        held = self._known.get(key)
        if held is None:
            held = HeldRules(*key)
            self._known.put(key, held)
        return held

    def find(self, held: HeldRules, operation: Operation) -> list[Rule]:
        """Return the held rules about an operation, each once.

        UNRESTRICTED is last: a rule that the operator wrote counts first, whichever entry has it.
        """
        merged = self._merged_of(held) if len(held.sets) > FEW else None
        if merged is not None:
            found = merged.find(operation)
        else:
            key = held, operation.protocol, operation.host, operation.method
            trees = self._trees.get(key)
            if trees is None:
                trees = self._learned(key, operation)
            found = find_in_each(trees, operation.path)
        if held.is_unrestricted:
            found.append(UNRESTRICTED)
        return found if len(found) <= 1 else list(dict.fromkeys(found))

    def _learned(self, key: _TreesKey, operation: Operation) -> _Trees:
        """Return the trees of all the sets for an operation's host and method; remember them."""
        trees = tuple(tree for each in key[0].sets for tree in each.trees(operation))
        if len(self._trees) >= _TREES:  # the ones in use soon return
            self._trees.clear()
        self._trees[key] = trees
        return trees

    def _merged_of(self, held: HeldRules) -> _Merged | None:
        return self._merged.get(held) or self._merge(held)

    def _merge(self, held: HeldRules) -> _Merged | None:
        """Return the merged set, None if the caller has asked too seldom for a merge to pay off.

        A rule of several sets has the place of the first. In the merged tree, a set's rules have
        the same order as in the set itself.
        """
        held.looks += 1
        if held.looks <= LOOKS or not self._has_room(held):
            return None
        held.looks = 0
        places: dict[Rule, int] = {}
        for place, each in enumerate(held.sets):
            for rule in each.rules:
                places.setdefault(rule, place)
        merged = _Merged(RuleSet(places), places)
        self._merged.put(held, merged)
        return merged

    @staticmethod
    def _has_room(held: HeldRules) -> bool:
        rules = chain.from_iterable(each.rules for each in held.sets)
        return 2 * _RULE_BYTES * sum(1 for _ in rules) <= _MERGED_BYTES
