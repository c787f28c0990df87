"""The config file: combines the sections that other modules define, and checks all of it.

``load`` returns a valid Config, or raises all problems at once, each with its line and what would
be right.
"""

import time
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from authz.adapters.admin_settings import AdminSettings
from authz.adapters.assertions import AssertionSettings
from authz.adapters.audit import AuditSettings
from authz.adapters.consents import ConsentSettings
from authz.adapters.files import LOOK_SECONDS, WAIT_SECONDS
from authz.adapters.keys import KeyCacheSettings
from authz.adapters.pdp import PdpSettings
from authz.adapters.replay_settings import ReplaySettings
from authz.adapters.revocation_file import RevocationSettings
from authz.adapters.signals import SignalSettings
from authz.adapters.store import StoreSettings
from authz.adapters.sts_settings import StsSettings
from authz.adapters.tracing import TracesSettings
from authz.config.described import described_schema
from authz.config.editor_schema import editor_schema
from authz.config.files import ConfigFiles, FilesChangingError, main_document
from authz.config.merged import MergedConfig
from authz.config.nearest import nearest
from authz.config.problems import ConfigError, Problem, without_repeats
from authz.config.reference_checks import reference_problems
from authz.config.rule_checks import listed_for_conditions
from authz.config.setting_errors import causes, error_message, error_place, offset_of
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
from authz.edge.cache_settings import CacheSettings
from authz.edge.header_settings import HeaderSettings
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


class Config(Settings):
    """The complete config of agent-authz."""

    include: tuple[str, ...] = ()
    """Further files to read, as paths or patterns (policy.d/*.yaml, teams/**/*.yaml) relative to
    this file's folder. Each may hold agents, principals, grants, routes and issuers.
    """
    server: ServerSettings
    """The gRPC service that proxies call: its addresses and limits."""
    admin: AdminSettings = AdminSettings()
    """The HTTP address for operators: metrics and health."""
    trust_domains: tuple[str, ...] = Field(min_length=1)
    """SPIFFE trust domains of agents; an agent of any other trust domain is refused."""
    profiles: dict[str, ProfileSettings] = Field(default={})
    """How each kind of proxy presents the caller, by name. "default" applies unless the proxy's
    context extensions, or the callers of a profile, select another profile.
    """
    token: TokenSettings = TokenSettings()
    """The delegation token: where a request carries it, and proofs of possession."""
    issuers: tuple[IssuerSettings, ...] = Field(min_length=1)
    """The issuers of delegation tokens."""
    agents: tuple[AgentSettings, ...] = Field(min_length=1)
    """The registered agents, and the most that each may do."""
    principals: tuple[PrincipalSettings, ...] = Field(min_length=1)
    """The principals, and the most that each may do through any agent."""
    grants: dict[GrantName, tuple[RuleSettings, ...]] = Field(min_length=1)
    """Named sets of rules, which agents and principals hold."""
    earlier_actors: EarlierActorSettings = EarlierActorSettings()
    """How to treat a token whose earlier actors are not registered, or are suspended."""
    conditions: ConditionSettings = ConditionSettings()
    """The headers and claims that conditions may read."""
    shadow: bool = False
    """Allow requests that the rules refuse, and record the decisions that the rules would have
    made, to try rules before they are enforced. Identity, delegation and suspension are still
    enforced.
    """
    candidate: FileText | None = None
    """Another config file whose rules are tried beside these: decisions that would differ are
    recorded and counted. The server watches its files as it watches this config's.
    """
    routes: tuple[RouteSettings, ...] = ()
    """How agents may act on which hosts and paths; the first matching route applies. Left out,
    agents may act only for principals, and wherever the rules allow it.
    """
    assertions: AssertionSettings | None = None
    """Signed assertions of decisions, for upstreams of routes with upstream_token: assert; left
    out, there are none.
    """
    pdp: PdpSettings | None = None
    """An external decision point, asked about requests that the rules allow; both must allow."""
    headers: HeaderSettings = HeaderSettings()
    """The identity headers that upstreams receive."""
    revocations: RevocationSettings = RevocationSettings()
    """Tokens, principals and agents that are revoked before they expire."""
    consents: ConsentSettings = ConsentSettings()
    """The consents of principals, which the token service asks for where a rule needs them."""
    key_cache: KeyCacheSettings = KeyCacheSettings()
    """Issuers' keys kept on disk, for starting while an issuer can't be reached."""
    cache: CacheSettings = CacheSettings()
    """The caches of decisions and tokens."""
    replay: ReplaySettings = ReplaySettings()
    """Remembered DPoP proofs."""
    store: StoreSettings | None = None
    """What replicas share; left out, each process has revocations from the file, and proofs, nonces
    and budgets of its own.
    """
    signals: SignalSettings | None = None
    """What issuers tell of users and sessions, which then counts as revocations; left out,
    nothing is received.
    """
    sts: StsSettings | None = None
    """The token service that `authz sts` runs: it makes delegation tokens (RFC 8693). Left out,
    there is none. The server itself does not read it.
    """
    audit: AuditSettings = AuditSettings()
    """The audit log, with one record for each decision."""
    traces: TracesSettings | None = None
    """OpenTelemetry traces of checks; left out, there are none."""


def load(source: Path | ConfigFiles) -> Config:
    """Read and check a config file and those that it includes. Raises ConfigError."""
    files = source if isinstance(source, ConfigFiles) else ConfigFiles(source)
    return _checked(files.read())


def load_at_rest(files: ConfigFiles) -> Config:
    """Read and check as ``load`` does, once the files are at rest. Raises ConfigError.

    Waits WAIT_SECONDS at most, then raises FilesChangingError.
    """
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return load(files)
        except FilesChangingError:
            if time.monotonic() > end:
                raise
        time.sleep(LOOK_SECONDS)


def load_text(data: bytes, name: str) -> Config:
    """Read and check a config from bytes, without includes. Raises ConfigError."""
    main = main_document(data, name)
    if "include" in main.data:
        message = "only a config that is read from a file can include others"
        main.problems.append(main.problem(("include",), message))
    return _checked(MergedConfig(main))


def _checked(merged: MergedConfig) -> Config:
    """Return the config of merged data. Raises ConfigError with every problem in it."""
    problems = list(merged.problems)
    config = None
    is_whole = merged.is_whole and not _misses_files(merged.data)
    try:
        config = Config.model_validate(merged.data, context=listed_for_conditions(merged.data))
    except ValidationError as error:
        details = causes(error.errors(include_url=False))
        if not is_whole:
            details = [
                detail
                for detail in details
                if detail["type"] != "missing" or len(detail["loc"]) > 1
            ]
        problems += without_repeats((_problem(merged, detail) for detail in details), problems)
    if is_whole:  # else names that unreadable files define would be reported as missing
        problems += without_repeats(reference_problems(merged), problems)
    if problems or config is None:
        raise ConfigError(merged.main.file, problems)
    return config


def _misses_files(data: dict[str, Any]) -> bool:
    """Tell whether ``include`` itself is invalid or misspelt, so that its files were not read."""
    slips = (key for key in data if key not in Config.model_fields and nearest(key, ("include",)))
    return not isinstance(data.get("include", ()), tuple) or any(slips)


def _problem(merged: MergedConfig, detail: ErrorDetails) -> Problem:
    place = error_place(detail)
    message = error_message(detail, place, Config)
    if offset := offset_of(detail):
        return merged.problem_within(place, message, str(detail["input"]), offset)
    return merged.problem(place, message)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config's files, for editors."""
    return editor_schema(described_schema(Config))
