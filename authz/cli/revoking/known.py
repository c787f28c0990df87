"""The agents, issuers and tools of a config, and the names that a mistyped one may mean."""

from typing import Final

from authz.config import Config
from authz.config.nearest import nearest, nearest_or_all
from authz.core.patterns import ANY
from authz.core.policy import AgentSettings
from authz.core.policy.call_settings import listed_targets
from authz.core.policy.name_patterns import Glob
from authz.core.policy.spiffe_table import SpiffeTable
from authz.core.request import CallKind
from authz.core.revocations import Revocation, RevocationError
from authz.core.spiffe import SpiffeId, SpiffePattern

_FORCE: Final = "; with --force it is revoked all the same"


class Known:
    """The names of a config, found as fast as servers do."""

    def __init__(self, config: Config, force: str = _FORCE) -> None:
        """Index the entries of agents, and the tools of rules; ``force`` ends a complaint."""
        self._force = force
        self._domains = config.trust_domains
        self._issuers = [issuer.issuer for issuer in config.issuers]
        self._ids = [agent.id for agent in config.agents]
        self._agents: SpiffeTable[AgentSettings] = SpiffeTable()
        for agent in config.agents:
            self._agents.add(SpiffePattern.parse(agent.id), agent)
        self._tools = _tools(config)

    def has(self, entry: Revocation) -> bool:
        """Tell whether the config has the issuer, or what fits the agent or the tool."""
        if entry.agent is not None:
            return bool(self._of(entry))
        if entry.tool is not None:
            return any(Glob.parse(tool).matches(entry.tool) for tool in self._tools)
        return entry.issuer is None or entry.issuer in self._issuers

    def suspended(self, entry: Revocation) -> list[str]:
        """Return the IDs of the entries of agents that suspend the agent of an entry."""
        return [agent.id for agent in self._of(entry) if agent.suspended]

    def require(self, entry: Revocation) -> None:
        """Require names that the config knows, as others are mistyped. Raises RevocationError.

        Only the issuer knows subjects, sessions and the ids of tokens.
        """
        if self.has(entry):
            return
        if entry.agent is not None:
            raise RevocationError(f"{self._why_no_agent(SpiffeId.parse(entry.agent))}{self._force}")
        if entry.tool is not None:
            near = nearest_or_all(entry.tool, self._tools, "its tools")
            raise RevocationError(f"no rule names the tool {entry.tool!r}{near}{self._force}")
        near = nearest_or_all(str(entry.issuer), self._issuers, "its issuers")
        raise RevocationError(f"no issuer {entry.issuer!r} in the config{near}{self._force}")

    def _of(self, entry: Revocation) -> list[AgentSettings]:
        return [] if entry.agent is None else self._agents.find(SpiffeId.parse(entry.agent))

    def _why_no_agent(self, agent: SpiffeId) -> str:
        domain, domains = agent.trust_domain.name, self._domains
        if domain not in domains:
            near = nearest(domain, domains)
            return f"agent: its trust domain is not one of {', '.join(domains)}{near}"
        filled = [_filled(agent, SpiffePattern.parse(name)) for name in self._ids]
        near = nearest(agent.text, filled) or nearest_or_all(agent.text, self._ids, "its IDs")
        return f"no entry of agents fits {agent.text}{near}"


def _tools(config: Config) -> list[str]:
    """Return the names and patterns of tools in rules; "*" if an agent needs no rule."""
    rules = [rule for rules in config.grants.values() for rule in rules]
    found = {tool for rule in rules for tool in listed_targets(rule.calls, CallKind.TOOL)}
    if any(agent.unrestricted for agent in config.agents):
        found.add(ANY)
    return sorted(found)


def _filled(agent: SpiffeId, pattern: SpiffePattern) -> str:
    """Return the ID that a pattern may mean: its wildcards filled from the agent's ID."""
    wanted, given = pattern.path.segments, agent.segments
    filled = [
        (given[at] if at < len(given) else ANY) if segment is None else segment
        for at, segment in enumerate(wanted)
    ]
    filled += given[len(wanted) :] if pattern.path.rest else ()
    return f"{pattern.trust_domain.spiffe_id}/{'/'.join(filled)}"
