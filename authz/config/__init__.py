"""The config file: the sections that other modules define, put together, checked as one.

Nothing is decided here. ``load`` gives a Config that is good, or every problem at once, each with
its line and what would be right.
"""

import time
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from authz.adapters.admin import AdminSettings
from authz.adapters.audit import AuditSettings
from authz.adapters.files import LOOK_SECONDS, WAIT_SECONDS
from authz.adapters.keys import KeyCacheSettings
from authz.adapters.pdp import PdpSettings
from authz.adapters.replay_store import ReplaySettings
from authz.adapters.revocation_file import RevocationSettings
from authz.config.files import ConfigFiles, FilesChangingError, main_document
from authz.config.merged import Merged
from authz.config.nearest import nearest
from authz.config.problems import ConfigError, Problem, elsewhere
from authz.config.reference_checks import reference_problems
from authz.config.rule_checks import listed_for_conditions
from authz.config.setting_errors import causes, message_of, offset_of, place_of
from authz.config.yaml_document import Place, dotted
from authz.core.delegation import IssuerSettings, TokenSettings
from authz.core.identity import ProfileSettings
from authz.core.policy import (
    AgentSettings,
    ConditionSettings,
    EarlierActorSettings,
    GrantName,
    PrincipalSettings,
    RuleSettings,
)
from authz.core.routes import RouteSettings
from authz.core.settings import FileText, Settings
from authz.edge.cache import CacheSettings
from authz.edge.identity_headers import HeaderSettings
from authz.edge.settings import ServerSettings

__all__ = [
    "Config",
    "ConfigError",
    "ConfigFiles",
    "FilesChangingError",
    "Place",
    "Problem",
    "dotted",
    "load",
    "load_at_rest",
    "load_text",
    "schema",
]
SCHEMA_ID: Final = "urn:agent-authz:config"


class Config(Settings):
    """Everything that an operator says to agent-authz."""

    include: tuple[str, ...] = ()
    """Further files, as paths or patterns (policy.d/*.yaml, teams/**/*.yaml) from this file's
    folder. Each may hold agents, principals, grants, routes and issuers.
    """
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
    conditions: ConditionSettings = ConditionSettings()
    """What conditions may read."""
    shadow: bool = False
    """Record what the rules refuse, and allow it: to try them before they count. Who calls, for
    whom, and who is suspended is enforced all the same.
    """
    candidate: FileText | None = None
    """Another config file, whose rules decide beside these: where they differ, it is recorded and
    counted. Its files are looked at as this config's are.
    """
    routes: tuple[RouteSettings, ...] = ()
    """How agents may act where, the first that fits; delegated action everywhere if left out."""
    pdp: PdpSettings | None = None
    """An external decision point, asked about what we allow: both must."""
    headers: HeaderSettings = HeaderSettings()
    """The identity headers that upstreams receive."""
    revocations: RevocationSettings = RevocationSettings()
    """Tokens, principals and agents that are refused before their time."""
    key_cache: KeyCacheSettings = KeyCacheSettings()
    """Issuers' keys on disk, for a start while an issuer can't be reached."""
    cache: CacheSettings = CacheSettings()
    """Remembered decisions."""
    replay: ReplaySettings = ReplaySettings()
    """Remembered DPoP proofs."""
    audit: AuditSettings = AuditSettings()
    """One record for each decision."""


def load(source: Path | ConfigFiles) -> Config:
    """Read and check a config file and those that it includes. Raises ConfigError."""
    files = source if isinstance(source, ConfigFiles) else ConfigFiles(source)
    return _checked(files.read())


def load_at_rest(files: ConfigFiles) -> Config:
    """As ``load``, once nobody writes the files. Waits for that. Raises ConfigError."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return load(files)
        except FilesChangingError:
            if time.monotonic() > end:
                raise
        time.sleep(LOOK_SECONDS)


def load_text(data: bytes, name: str) -> Config:
    """Check a config's bytes, which include nothing. Raises ConfigError with every problem."""
    main = main_document(data, name)
    if "include" in main.data:
        message = "only a config that is read from a file can include others"
        main.problems.append(main.problem(("include",), message))
    return _checked(Merged(main))


def _checked(merged: Merged) -> Config:
    """The config of good data. Raises ConfigError with every problem in it."""
    problems = list(merged.problems)
    config = None
    is_whole = merged.is_whole and not _misses_files(merged.data)
    try:
        config = Config.model_validate(merged.data, context=listed_for_conditions(merged.data))
    except ValidationError as error:
        details = causes(error.errors(include_url=False))
        if not is_whole:
            details = [one for one in details if one["type"] != "missing" or len(one["loc"]) > 1]
        problems += elsewhere((_problem(merged, one) for one in details), problems)
    if is_whole:  # else names would be missed that stand where nothing could be read
        problems += elsewhere(reference_problems(merged), problems)
    if problems or config is None:
        raise ConfigError(merged.main.file, problems)
    return config


def _misses_files(data: dict[str, Any]) -> bool:
    """Whether files are included in a way that is reported, and that finds none."""
    slips = (key for key in data if key not in Config.model_fields and nearest(key, ("include",)))
    return not isinstance(data.get("include", ()), tuple) or any(slips)


def _problem(merged: Merged, detail: ErrorDetails) -> Problem:
    place = place_of(detail)
    message = message_of(detail, place, Config)
    if offset := offset_of(detail):
        return merged.problem_within(place, message, str(detail["input"]), offset)
    return merged.problem(place, message)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a config, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **Config.model_json_schema(),
    }
