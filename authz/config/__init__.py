"""The config file: the sections that other modules define, put together, checked as one.

Nothing is decided here. ``load`` gives a Config that is good, or every problem at once, each with
its line and what would be right.
"""

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from authz.admin import AdminSettings
from authz.audit import AuditSettings
from authz.cache import CacheSettings
from authz.config.references import reference_problems
from authz.config.yamlfile import MAX_BYTES, Document, Place, Problem, dotted, parse
from authz.delegation import IssuerSettings, TokenSettings
from authz.envoy import HeaderSettings
from authz.identity import ProfileSettings
from authz.pdp import PdpSettings
from authz.policy import (
    AgentSettings,
    EarlierActorSettings,
    GrantName,
    PrincipalSettings,
    RuleSettings,
)
from authz.replay import ReplaySettings
from authz.revocations import RevocationSettings
from authz.routes import RouteSettings
from authz.service import ServerSettings
from authz.settings import Settings

__all__ = ["Config", "ConfigError", "Problem", "load", "load_text", "schema"]
SCHEMA_ID: Final = "urn:agent-authz:config"


class Config(Settings):
    """Everything that an operator says to agent-authz."""

    server: ServerSettings
    """Where proxies ask, and how much at once."""
    admin: AdminSettings = AdminSettings()
    """Where operators look."""
    trust_domains: tuple[str, ...] = Field(min_length=1)
    """SPIFFE trust domains whose agents are known at all."""
    profiles: dict[str, ProfileSettings] = Field(default={})
    """How each kind of proxy presents the caller; "default" unless a route's context says else."""
    token: TokenSettings = TokenSettings()
    """Where the delegation token stands."""
    issuers: tuple[IssuerSettings, ...] = Field(min_length=1)
    """Who may make delegation tokens."""
    agents: tuple[AgentSettings, ...] = Field(min_length=1)
    """Registered agents: what each may do at most."""
    principals: tuple[PrincipalSettings, ...] = Field(min_length=1)
    """Principals: what each may do at most, through any agent."""
    grants: dict[GrantName, tuple[RuleSettings, ...]] = Field(min_length=1)
    """Named sets of rules, for agents and principals alike."""
    earlier_actors: EarlierActorSettings = EarlierActorSettings()
    """What becomes of a chain whose earlier actors are odd."""
    routes: tuple[RouteSettings, ...] = ()
    """How agents may act where, the first that fits; delegated action everywhere if left out."""
    pdp: PdpSettings | None = None
    """An external decision point, asked about what we allow: both must."""
    headers: HeaderSettings = HeaderSettings()
    """The identity headers that upstreams receive."""
    revocations: RevocationSettings = RevocationSettings()
    """Tokens, principals and agents that are refused before their time."""
    cache: CacheSettings = CacheSettings()
    """Remembered decisions."""
    replay: ReplaySettings = ReplaySettings()
    """Remembered DPoP proofs."""
    audit: AuditSettings = AuditSettings()
    """One record for each decision."""


class ConfigError(Exception):
    """The config can't be used. ``problems`` are all that was found, by line."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        """Take the file's name and its problems."""
        self.name = name
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.place))
        super().__init__("\n".join(self.lines()))

    def lines(self) -> Iterator[str]:
        """Each problem as ``file:line: place: message``."""
        for problem in self.problems:
            place = f"{problem.place}: " if problem.place else ""
            yield f"{self.name}:{problem.line}: {place}{problem.message}"

    @classmethod
    def of(cls, name: str, message: str) -> Self:
        """One problem with the file as a whole."""
        return cls(name, [Problem(1, "", message)])


def load(path: Path) -> Config:
    """Read and check a config file. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError.of(str(path), f"can't be read: {error.strerror}") from None
    return load_text(data, str(path))


def load_text(data: bytes, name: str) -> Config:
    """Check a config's bytes. Raises ConfigError with every problem in it."""
    if len(data) > MAX_BYTES:
        raise ConfigError.of(name, f"larger than {MAX_BYTES} bytes")
    try:
        document = parse(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError.of(name, "not UTF-8") from None
    if document.data is None and document.problems:
        raise ConfigError(name, document.problems)
    if not isinstance(document.data, dict):
        raise ConfigError.of(name, "a config is a mapping: server:, trust_domains:, issuers: ...")
    problems = document.problems + reference_problems(document)
    try:
        config = Config.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        problems.extend(_problem(document, detail) for detail in _causes(error.errors()))
        raise ConfigError(name, _once(problems)) from None
    if problems:
        raise ConfigError(name, _once(problems))
    return config


def _causes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" of a list whose items were refused: that only follows from them."""
    places = [detail["loc"] for detail in details]

    def follows(detail: ErrorDetails) -> bool:
        depth = len(detail["loc"])
        deeper = any(len(p) > depth and p[:depth] == detail["loc"] for p in places)
        return detail["type"] == "too_short" and deeper

    return [detail for detail in details if not follows(detail)]


def _once(problems: list[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    place = tuple(step for step in detail["loc"] if _is_written(step))
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        message = "is required"
    elif detail["type"] == "extra_forbidden":
        message = "unknown key" + _suggestion(place)
    elif detail["type"] == "too_short":
        message = "must not be empty"
    elif "pattern" in detail.get("ctx", {}):
        message = f"does not look right: it must match {detail['ctx']['pattern']}"
    return Problem(document.line_of(place), dotted(place), message)


def _is_written(step: str | int) -> bool:
    return step != "[key]"  # pydantic's word for "the key itself, not its value"


def _suggestion(place: Place) -> str:
    known = _keys_at(Config, place[:-1])
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that a place of the config may have, found through its JSON Schema."""
    root = model.model_json_schema()
    node: Any = root
    for step in place:
        node = _resolve(root, node)
        properties = node.get("properties", {})
        node = (
            node.get("items")
            if isinstance(step, int)
            else properties.get(step, node.get("additionalProperties", {}))
        )
        if not isinstance(node, dict):
            return []
    return list(_resolve(root, node).get("properties", {}))


def _resolve(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    found: dict[str, Any] = root["$defs"][str(reference).rpartition("/")[2]]
    return found


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a config, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Config.model_json_schema(),
    }
