"""Builds explain's questions from flags, or from an audit record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from authz.config import Config
from authz.core.decision import Actor, Delegation, Mode
from authz.core.reason import Reason
from authz.core.request import Request, credentials_elsewhere
from authz.core.routes import ROUTE
from authz.review.assumed_token import ASSUMED_ID, with_end
from authz.review.call_input import CallInput
from authz.review.explain.recorded import RecordedRequest

ASSUMED_LIFETIME_SECONDS: Final = 300.0
_NO_ARGUMENTS: Final = (
    "            records hold no arguments: a condition that reads them fails here",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question in an operator's words: the request, and a token or the claims of a token.

    Attributes:
        headers: pairs of lower-case name and value.
        earlier_actors: subjects, the latest first.
        words: the call, if the request is a message.
        token_age_seconds: time since the token was issued.
    """

    agent: str
    method: str
    url: str
    principal: str = ""
    issuer: str = ""
    scopes: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    earlier_actors: tuple[str, ...] = ()
    token_age_seconds: float = 0.0
    token: str = ""
    route: str = ""
    words: CallInput = field(default_factory=CallInput)

    @property
    def is_bare(self) -> bool:
        """Tell whether it says nothing about a token: then the agent's SVID alone may be enough."""
        of_token = (self.token, self.issuer, self.scopes, self.claims, self.earlier_actors)
        is_own = self.principal in ("", self.agent)
        return is_own and not any(of_token) and not self.token_age_seconds


@dataclass(frozen=True, slots=True)
class ExplainedRequest:
    """A question in the pipeline's form, with the texts to print about it.

    Attributes:
        delegation: assumed in place of a token; None to verify the request's token.
        now: unix seconds.
        is_bare: whether the question says nothing about a token, so that the agent's SVID alone may
            be enough.
        origin: where the delegation comes from, in words.
        has_proxy: whether a proxy sent the request, so that the config's profiles apply.
        notes: lines to print first.
        refused: why the recorded request was refused before policy, which is then not asked; or "".
    """

    request: Request
    delegation: Delegation | None
    now: float
    origin: str
    has_proxy: bool = False
    is_bare: bool = False
    notes: tuple[str, ...] = ()
    refused: str = ""


def asked_in_words(config: Config, question: Question, now: float) -> ExplainedRequest:
    """Build the question that flags describe."""
    url = urlsplit(question.url)
    value = f"{config.token.scheme} {question.token}".strip()
    token = ((config.token.header, value),) if question.token else ()
    request = Request(
        method=question.method,
        host=url.netloc,
        path=question.url.partition("://")[2].removeprefix(url.netloc).partition("?")[0] or "/",
        headers=(*token, *question.headers),
        principal=question.agent,
        context=((ROUTE, question.route),) if question.route else (),
        elsewhere=credentials_elsewhere(url.query, ""),
        protocol=question.words.protocol,
        calls=question.words.calls,
    )
    if question.token:
        return ExplainedRequest(request, None, now, "by the token")
    delegation = assumed(config, question, now)
    origin = "assumed; give --token-file to verify one"
    return ExplainedRequest(request, delegation, now, origin, is_bare=question.is_bare)


def assumed(config: Config, question: Question, now: float) -> Delegation:
    """Build the delegation that a question describes; without a principal the agent's own."""
    issuer = question.issuer or config.issuers[0].issuer
    names = (question.agent, *question.earlier_actors)
    is_delegated = question.principal not in ("", question.agent)
    return Delegation(
        issuer=issuer,
        subject=question.principal or question.agent,
        actors=tuple(Actor(issuer, name) for name in names),
        scopes=frozenset(question.scopes),
        issued_at=now - question.token_age_seconds,
        expires_at=now + ASSUMED_LIFETIME_SECONDS,
        token_id=ASSUMED_ID,
        mode=Mode.ACT if is_delegated else Mode.AUTONOMOUS,
        claims=with_end(question.claims, now),
    )


def asked_of_record(recorded: RecordedRequest) -> ExplainedRequest:
    """Build the question that an audit record answered, as far as the record has it."""
    record, operation = recorded.record, recorded.operation
    why = ": ".join(filter(None, (record.reason, record.detail)))
    request = Request(
        method=operation.method,
        host=operation.host,
        path=operation.path,
        headers=tuple(operation.headers.items()),
        principal=record.agent,
        context=((ROUTE, operation.route),) if operation.route else (),
        proxy=operation.proxy,
        protocol=operation.protocol,
        calls=tuple(call.call() for call in recorded.calls),
    )
    is_unread = operation.protocol and not recorded.calls
    is_revoked = record.reason == Reason.TOKEN_REVOKED.code
    is_before_policy = recorded.mode is None or is_revoked or is_unread
    now = recorded.time.timestamp()
    return ExplainedRequest(
        request,
        _delegation_of(recorded, now),
        now,
        "as recorded",
        notes=(
            f"recorded    {': '.join(filter(None, (record.decision, why)))}",
            f"            at {recorded.time.isoformat()}, by policy {record.policy_version}",
            *(_NO_ARGUMENTS if recorded.calls and not is_before_policy else ()),
        ),
        refused=(why or record.decision) if is_before_policy else "",
    )


def _delegation_of(recorded: RecordedRequest, now: float) -> Delegation | None:
    """Return a record's delegation, None if the request was refused before it was known."""
    record = recorded.record
    if recorded.mode is None:
        return None
    return Delegation(
        issuer=record.issuer,
        subject=record.principal,
        actors=tuple(Actor(actor.get("iss", ""), actor.get("sub", "")) for actor in record.actors),
        scopes=frozenset(record.scopes),
        issued_at=record.issued_at,
        expires_at=now + ASSUMED_LIFETIME_SECONDS,
        mode=recorded.mode,
        claims=record.claims,
        by_svid=record.by_svid,
    )
