"""The registered agents by SPIFFE ID, each with the rules that it holds.

An index finds them, so that a look-up costs the same however many there are.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from authz.core.policy.pattern_tree import PatternTree
from authz.core.policy.rules import RuleSet, RuleSets
from authz.core.policy.settings import AgentSettings
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern


@dataclass(frozen=True, slots=True, eq=False)
class AgentEntry:
    """A compiled entry of ``agents``."""

    settings: AgentSettings
    rules: RuleSet


class AgentIndex:
    """The registered agents, indexed by SPIFFE ID and by pattern."""

    def __init__(self, agents: Iterable[AgentSettings], rule_sets: RuleSets) -> None:
        """Index the entries, with the rules of their grants."""
        self.entries = [AgentEntry(settings, rule_sets.of(settings.grants)) for settings in agents]
        self._exact: dict[str, list[AgentEntry]] = defaultdict(list)
        self._patterns: dict[str, PatternTree[AgentEntry]] = {}
        for entry in self.entries:
            pattern = SpiffePattern.parse(entry.settings.id)
            if pattern.is_exact:
                self._exact[pattern.text].append(entry)
            else:
                tree = self._patterns.setdefault(pattern.trust_domain.name, PatternTree())
                tree.add(pattern.path, entry)

    def of(self, spiffe_id: SpiffeId) -> list[AgentEntry]:
        """Return every entry that matches an agent, exact IDs before patterns."""
        found = self._exact.get(spiffe_id.text, [])
        if not self._patterns:
            return found
        tree = self._patterns.get(spiffe_id.trust_domain.name)
        return found + tree.find(spiffe_id.segments) if tree is not None else found

    def of_text(self, text: str) -> list[AgentEntry]:
        """Return the entries for an ID as text; an empty list for an invalid SPIFFE ID."""
        try:
            return self.of(SpiffeId.parse(text))
        except SpiffeIdError:
            return []
