"""Why a request would be allowed or denied, step by step, without sending it.

The real pipeline decides. Where no token is given, a delegation is assumed as described, so that
policy can be tried before an issuer is.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from authz.authorizer import Authorizer
from authz.config import Config
from authz.decision import Actor, Agent, Allow, Delegation
from authz.delegation import Delegations
from authz.identity import Identity
from authz.keys import KeySource, KeyStore
from authz.policy import Policy
from authz.reason import Denied
from authz.request import Operation, Request

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

    def verify(self, request: Request, agent: Agent, now: float) -> Delegation:  # noqa: ARG002
        """The described delegation, to this very agent."""
        question = self._question
        return Delegation(
            issuer=self._issuer,
            subject=question.principal,
            actors=(Actor(self._issuer, agent.spiffe_id.text),),
            scopes=frozenset(question.scopes),
            issued_at=now,
            expires_at=now + ASSUMED_LIFETIME_SECONDS,
            claims={"groups": list(question.groups)},
        )


def explain(config: Config, question: Question, now: float) -> Explanation:
    """Decide as the server would, and tell each step. Fetches keys when a token is given."""
    keys = KeyStore(
        {
            issuer.issuer: KeySource(issuer.keys, frozenset(issuer.algorithms))
            for issuer in config.issuers
        }
    )
    delegations = (
        Delegations(config.token, config.issuers, keys)
        if question.token
        else _Assumed(config, question)
    )
    authorizer = Authorizer(
        Identity(config.trust_domains, {}),  # the question has an ID and no certificate
        delegations,
        Policy(config.agents, config.principals, config.grants),
    )
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
        query=url.query,
        headers=((config.token.header, value),) if question.token else (),
        principal=question.agent,
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
