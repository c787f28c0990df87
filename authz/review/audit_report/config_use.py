"""Finds what records used of a config: its grants and rules, its agents and principals."""

from collections import Counter
from math import inf
from typing import Final

from authz.config import Config
from authz.core.decision import Agent, Delegation, Effect, Mode
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.audit_reading.entry import Entry
from authz.wiring.policy import build_policy
from authz.wiring.policy_version import compute_policy_version

_MAX_KNOWN: Final = 8192  # agents whose entries are remembered
_MODES: Final = frozenset(mode.value for mode in Mode)


class ConfigUse:
    """Counts records by the entries of a config.

    Attributes:
        version: the version of the config's policy.
        agents: counts of records by the number of the entry that fits.
        allowed_agents: the same of allowed records.
        principals: counts of kinds of records, likewise.
    """

    def __init__(self, config: Config) -> None:
        """Begin without records."""
        self.config = config
        self.version = compute_policy_version(config)
        self.agents: Counter[int] = Counter()
        self.allowed_agents: Counter[int] = Counter()
        self.principals: Counter[int] = Counter()
        self._used: set[str] = set()
        self._policy = build_policy(config)
        self._agent_numbers = {id(one): at for at, one in enumerate(self._policy.agents.entries)}
        self._known_agents: dict[str, tuple[int, ...]] = {}
        self._rules = dict(self._named_rules())
        self._denies = {name for name, is_deny in self._rules.items() if is_deny}

    def take(self, entry: Entry, count: int) -> None:
        """Count records that are like an entry."""
        # The rule of a refusal may only have come nearest, unless it is a deny.
        used = entry.rules if entry.is_allow else entry.rules & self._denies
        self._used |= used & self._rules.keys()
        numbers = self._agents_of(entry.agent)
        for number in numbers:
            self.agents[number] += count
            self.allowed_agents[number] += count * entry.is_allow
        if entry.principal:
            self.principals.update(self._find_principals(entry))

    def unused_grants(self) -> list[str]:
        """Return the grants none of whose rules decided a record."""
        used = {name.partition("/")[0] for name in self._used}
        return [name for name in self.config.grants if name not in used]

    def unused_rules(self) -> list[str]:
        """Return the rules that decided no record, of the other grants."""
        unused = {*self.unused_grants()}
        names = [name for name in self._rules if name not in self._used]
        return [name for name in names if name.partition("/")[0] not in unused]

    def _named_rules(self) -> list[tuple[str, bool]]:
        return [
            (f"{grant}/{rule.name or number}", rule.effect is Effect.DENY)
            for grant, rules in self.config.grants.items()
            for number, rule in enumerate(rules)
        ]

    def _agents_of(self, agent: str) -> tuple[int, ...]:
        """Return the numbers of the entries of an agent; none for an agent that is not there."""
        found = self._known_agents.get(agent)
        if found is None:
            if len(self._known_agents) >= _MAX_KNOWN:
                self._known_agents.clear()
            entries = self._policy.agents.of_text(agent) if agent else ()
            found = tuple(self._agent_numbers[id(one)] for one in entries)
            self._known_agents[agent] = found
        return found

    def _find_principals(self, entry: Entry) -> tuple[int, ...]:
        """Return the numbers of the entries that count for a principal, by the recorded claims."""
        if entry.mode not in _MODES:
            return ()
        delegation = Delegation(
            entry.issuer,
            entry.principal,
            (),
            frozenset(),
            0.0,
            inf,
            mode=Mode(entry.mode),
            claims=entry.claims,
            by_svid=entry.by_svid,
        )
        try:
            agent = Agent(SpiffeId.parse(entry.agent))
        except SpiffeIdError:
            return ()
        return tuple({one.number for one in self._policy.principals.through(agent, delegation)})
