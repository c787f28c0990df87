"""The settings types of ``authz test``'s cases: a question, and the answer that it must get.

A case names the agent and the principal; no token or certificate proves them.
"""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from math import inf
from pathlib import Path
from typing import IO, Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, model_validator

from authz.config import Config, ConfigError
from authz.config.nearest import nearest, nearest_or_all
from authz.config.setting_errors import causes, error_message, error_place
from authz.config.yaml_document import Place, YamlDocument, parse
from authz.core.conditions import ConditionHeader
from authz.core.decision import Actor, Agent, Delegation, Effect, Mode
from authz.core.delegation.without_token import by_svid
from authz.core.policy.holder_settings import GROUPS, ROLES
from authz.core.policy.query import PolicyQuery
from authz.core.policy.settings import Scope
from authz.core.reason import Reason
from authz.core.request import Request
from authz.core.routes import Routes
from authz.core.settings import Duration, MisfitError, Settings
from authz.core.spiffe import SpiffeId, SpiffeIdText
from authz.review.assumed_token import ASSUMED_ID, with_end
from authz.review.audit_files import STDIN, STDIN_FD
from authz.review.call_input import CallInput

MAX_BYTES: Final = 16 * 1024 * 1024  # of a file of cases
# Policy's reasons, and that of a path that can be read in several ways.
_REASONS: Final = (
    Reason.POLICY_DENIED,
    Reason.SCOPE,
    Reason.STEP_UP,
    Reason.APPROVAL_REQUIRED,
    Reason.AGENT_UNKNOWN,
    Reason.AGENT_SUSPENDED,
    Reason.METHOD_UNKNOWN,
    Reason.ACTOR_NOT_PERMITTED,
    Reason.TOKEN_MISSING,
    Reason.TOKEN_CLAIM,
    Reason.PATH_AMBIGUOUS,
)
_OF_TOKENS: Final = frozenset(
    {"principal", "issuer", "mode", "scopes", "groups", "roles", "claims", "actors", "token_age"}
)
_EXPECTED: Final = (*Effect, *(reason.code for reason in _REASONS))


def _expected(text: str) -> str:
    if text not in _EXPECTED:
        raise ValueError(f"must be one of {', '.join(_EXPECTED)}{nearest(text, _EXPECTED)}")
    return text


def _method(text: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z-]{0,31}", text):
        raise ValueError(f"{text!r} is not a method in capitals, such as GET")
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if not parts.scheme or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("must be a URL without a query, such as https://mcp.corp.example/a/b")
    return text


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - without a zone: refused as such
    if moment.tzinfo is None:
        raise ValueError("must be a time with its zone, such as 2026-11-25T10:00:00Z")
    return text


class PolicyTestCase(CallInput):
    """One question to the policy, and the answer that it must give."""

    name: str = Field(min_length=1)
    """The purpose of the case, for people."""
    agent: SpiffeIdText
    """The calling agent."""
    principal: str = ""
    """The sub of the principal that it acts for; left out, it acts for itself."""
    token: bool = True
    """false: the agent sends no token, and acts for itself by its SVID alone."""
    issuer: str = ""
    """The token's issuer; the only one if left out."""
    mode: Mode | None = None
    """How the agent acts; by default act, or autonomous without a principal."""
    scopes: tuple[Scope, ...] = ()
    """The token's scopes."""
    groups: tuple[str, ...] | None = None
    """The token's groups."""
    roles: tuple[str, ...] | None = None
    """The token's roles."""
    claims: dict[str, Any] = Field(default={})
    """Further claims."""
    actors: tuple[str, ...] = ()
    """Earlier actors of the chain, the latest first."""
    method: Annotated[str, AfterValidator(_method)]
    """The HTTP method."""
    url: Annotated[str, AfterValidator(_url)]
    """The URL of the request."""
    headers: dict[ConditionHeader, str] = Field(default={})
    """Request headers."""
    at: Annotated[str, AfterValidator(_moment)] | None = None
    """The time of the request, such as 2026-11-25T10:00:00Z; now if left out."""
    token_age: Duration = Field(default=0.0, ge=0.0)
    """How long before that the token was issued."""
    expect: Annotated[str, AfterValidator(_expected)]
    """allow, deny, or the code of the reason of a deny."""
    rule: str | None = None
    """The rule that must decide, of the agent or of the principal: grant/name, or grant/number."""

    @model_validator(mode="after")
    def _only_a_token_says_these(self) -> Self:
        said = sorted(self.model_fields_set & _OF_TOKENS)
        if said and not self.token:
            message = f"with token: false nothing says {', '.join(said)}: leave it out"
            raise MisfitError(message, said[0])
        return self

    def case(self, only_issuer: str, now: float, routes: Routes) -> PolicyQuery:
        """Build the question. Raises Denied for a path that its route does not accept."""
        moment = now if self.at is None else datetime.fromisoformat(self.at).timestamp()
        parts = urlsplit(self.url)
        request = Request(
            self.method,
            parts.netloc,
            parts.path or "/",
            headers=tuple(self.headers.items()),
            protocol=self.protocol,
            calls=self.calls,
        )
        agent = Agent(SpiffeId.parse(self.agent))
        operation, route = routes.read(request)
        delegation = self._delegation(only_issuer, moment) if self.token else by_svid(agent)
        return PolicyQuery(agent, delegation, operation, request, moment, resource=route.resource)

    def _delegation(self, only_issuer: str, now: float) -> Delegation:
        mode = self.mode or (Mode.ACT if self.principal else Mode.AUTONOMOUS)
        if mode is Mode.BOOTSTRAP:
            return Delegation("", "", (), frozenset(), now, inf, mode=mode)
        issuer = self.issuer or only_issuer
        claims = {name: _json(value) for name, value in self.claims.items()}
        for name, words in ((GROUPS, self.groups), (ROLES, self.roles)):
            if words is not None:
                claims[name] = list(words)
        return Delegation(
            issuer,
            self.principal or self.agent,
            tuple(Actor(issuer, subject) for subject in (self.agent, *self.actors)),
            frozenset(self.scopes),
            now - self.token_age,
            inf,
            token_id=ASSUMED_ID,
            mode=mode,
            claims=with_end(claims, now),
        )


class PolicyTestCases(Settings):
    """A file of cases."""

    cases: tuple[PolicyTestCase, ...] = Field(min_length=1)
    """The questions to the policy, with the expected answers."""


def load_cases(
    path: Path, config: Config, rules: Sequence[str]
) -> tuple[tuple[PolicyTestCase, ...], list[int]]:
    """Read the cases of a file, and their lines; ``rules`` are the names of the config's rules.

    Raises ConfigError with every problem.
    """
    document = _document(path)
    problems = list(document.problems)
    cases: tuple[PolicyTestCase, ...] = ()
    try:
        cases = PolicyTestCases.model_validate(document.data).cases
    except ValidationError as error:
        for detail in causes(error.errors(include_url=False)):
            place = error_place(detail)
            problems.append(document.problem(place, error_message(detail, place, PolicyTestCases)))
    problems += [
        document.problem(place, message) for place, message in _unknown(cases, config, rules)
    ]
    if problems:
        raise ConfigError(str(path), document.problems or problems)
    return cases, [document.line_of(("cases", number)) for number in range(len(cases))]


def _unknown(
    cases: Sequence[PolicyTestCase], config: Config, rules: Sequence[str]
) -> Iterator[tuple[Place, str]]:
    """Yield issuers and rules that the config does not have: their cases could never pass."""
    issuers = [issuer.issuer for issuer in config.issuers]
    for number, case in enumerate(cases):
        needs_issuer = case.token and case.mode is not Mode.BOOTSTRAP
        if not case.issuer and needs_issuer and len(issuers) > 1:
            yield ("cases", number), "name the issuer: the config has several"
        if case.issuer and case.issuer not in issuers:
            message = (
                f"not one of the config's issuers{nearest_or_all(case.issuer, issuers, 'known')}"
            )
            yield ("cases", number, "issuer"), message
        if case.rule is not None and case.rule not in rules:
            message = f"no rule {case.rule!r}{nearest_or_all(case.rule, rules, 'known')}"
            yield ("cases", number, "rule"), message


def _document(path: Path) -> YamlDocument:
    try:
        with _opened(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError.of(str(path), f"can't be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError.of(str(path), f"is larger than {MAX_BYTES} bytes")
    return parse(data, str(path))


def _opened(path: Path) -> IO[bytes]:
    return os.fdopen(os.dup(STDIN_FD), "rb") if path == STDIN else path.open("rb")


def _json(value: object) -> object:
    """Return a value with lists, as in tokens, in place of the tuples of the YAML reader."""
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _json(member) for name, member in value.items()}
    return value
