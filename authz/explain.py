"""Why a request would be allowed or denied, step by step, without sending it.

The real pipeline decides. Where no token is given, a delegation is assumed as described, so that
policy can be tried before an issuer is.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from authz.authorizer import Authorizer
from authz.build import authorizer_of, delegations_of, key_sources, revocations_of
from authz.config import Config
from authz.decision import Actor, Agent, Allow, Delegation
from authz.identity import ProfileSettings
from authz.keys import KeyStore
from authz.reason import Denied, Reason
from authz.request import Operation, Request, credentials_elsewhere
from authz.routes import ROUTE, Route

ASSUMED_LIFETIME_SECONDS: Final = 300.0
KEY_SECONDS: Final = 10.0
EXAMPLES: Final = """\
examples:
  authz explain authz.yaml GET https://mcp.corp.example/finance/balance \\
    --agent spiffe://corp.example/ns/agents/sa/travel --principal alice --scope balance:read
  authz explain authz.yaml GET https://mcp.corp.example/finance/balance \\
    --agent spiffe://corp.example/ns/agents/sa/travel --token-file token.jwt
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the request, and a token or what one would say."""

    agent: str
    method: str
    url: str
    principal: str = ""
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    token: str = ""
    route: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for a person, and whether it is yes."""

    is_allowed: bool
    lines: tuple[str, ...]


class _Assumed:
    """Stands in for step 2: a delegation as the question describes it."""

    def __init__(self, config: Config, question: Question) -> None:
        self._question = question
        self._issuer = question.issuer or config.issuers[0].issuer

    def verify(self, request: Request, agent: Agent, route: Route, now: float) -> Delegation:  # noqa: ARG002
        """The described delegation, to this very agent; for itself when it is for nobody."""
        question = self._question
        if not question.principal and "autonomous" not in route.modes:
            raise Denied(Reason.PRINCIPAL_REQUIRED, "say with --principal whom the agent acts for")
        return Delegation(
            issuer=self._issuer,
            subject=question.principal or agent.spiffe_id.text,
            actors=(Actor(self._issuer, agent.spiffe_id.text),),
            scopes=frozenset(question.scopes),
            issued_at=now,
            expires_at=now + ASSUMED_LIFETIME_SECONDS,
            mode="act" if question.principal else "autonomous",
            claims={"groups": list(question.groups)},
        )


def explain(config: Config, question: Question, now: float) -> Explanation:
    """Decide as the server would, and tell each step. Fetches keys when a token is given."""
    # The question has an ID and no certificate, whatever the config's proxies send.
    config = config.model_copy(update={"profiles": {"default": ProfileSettings()}})
    keys = KeyStore(key_sources(config))
    delegations = delegations_of(config, keys) if question.token else _Assumed(config, question)
    authorizer = authorizer_of(config, delegations, revocations_of(config))
    try:
        if question.token:
            keys.start()
            for issuer in config.issuers:
                keys.refresh(issuer.issuer, "", KEY_SECONDS)
        return _told(authorizer, _request(config, question), bool(question.token), now)
    finally:
        keys.close()


def _request(config: Config, question: Question) -> Request:
    url = urlsplit(question.url)
    value = f"{config.token.scheme} {question.token}".strip()
    return Request(
        method=question.method,
        host=url.netloc,
        path=question.url.partition("://")[2].removeprefix(url.netloc).partition("?")[0] or "/",
        headers=((config.token.header, value),) if question.token else (),
        principal=question.agent,
        context=((ROUTE, question.route),) if question.route else (),
        elsewhere=credentials_elsewhere(url.query, ""),
    )


def _told(authorizer: Authorizer, request: Request, has_token: bool, now: float) -> Explanation:  # noqa: FBT001
    decision = authorizer.decide(request, now)
    lines = [f"request     {request.method} {request.host}{request.path}", _operation(request)]
    if decision.agent:
        lines.append(f"1 agent     {decision.agent.spiffe_id}")
    if decision.delegation:
        delegation = decision.delegation
        origin = "by the token" if has_token else "assumed; give --token-file to verify one"
        lines.append(f"2 acts for  {delegation.subject} of {delegation.issuer} ({origin})")
        lines.append(f"            mode: {delegation.mode}")
        lines.append(f"            scopes: {' '.join(sorted(delegation.scopes)) or 'none'}")
    if isinstance(decision, Allow):
        grant = decision.grant
        lines.append(
            f"3 policy    agent by {grant.agent_rule}, principal by {grant.principal_rule}"
        )
        lines.append("ALLOW")
        return Explanation(is_allowed=True, lines=tuple(lines))
    lines.append(
        f"DENY        {decision.reason.code}: {decision.detail or decision.reason.message}"
    )
    lines.append(f"            the client sees {decision.reason.http_status}")
    lines.extend(f"            {name} needed: {value}" for name, value in decision.parameters)
    return Explanation(is_allowed=False, lines=tuple(lines))


def _operation(request: Request) -> str:
    try:
        operation = Operation.of(request)
    except Denied as denied:
        return f"0 operation none: {denied.detail}"
    return f"0 operation {operation.method} {operation.host} /{'/'.join(operation.path)}"
