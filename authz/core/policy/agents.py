"""The registered agents by SPIFFE ID, each with the rules that it holds.

An index finds them, so that a look-up costs the same however many there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from authz.core.policy.holder_settings import AgentSettings
from authz.core.policy.rules import RuleSet, RuleSets
from authz.core.policy.spiffe_table import SpiffeTable
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
        self._table: SpiffeTable[AgentEntry] = SpiffeTable()
        for entry in self.entries:
            self._table.add(SpiffePattern.parse(entry.settings.id), entry)

    def of(self, spiffe_id: SpiffeId) -> list[AgentEntry]:
        """Return every entry that matches an agent, exact IDs before patterns."""
        return self._table.find(spiffe_id)

    def of_text(self, text: str) -> list[AgentEntry]:
        """Return the entries for an ID as text; an empty list for an invalid SPIFFE ID."""
        try:
            return self.of(SpiffeId.parse(text))
        except SpiffeIdError:
            return []
