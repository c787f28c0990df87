"""Token services, clients of token endpoints and approvals that are wrong are noticed."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
import pytest

from authz.adapters.exchange.answer import AnswerError
from authz.config import load_text
from authz.core.approval import Approval, ApprovalError, elements_of, name_call
from authz.core.decision import Agent
from authz.core.delegation.exchange_settings import SubjectNeed
from authz.core.jose.key_set import KeySet
from authz.core.revocation_table import Revocations
from authz.core.sts.errors import TokenRequestDenied
from authz.core.sts.outcome import Issue, Outcome, TokenFacts
from authz.core.sts.request import read_request
from authz.core.sts.service import TokenService, refusal
from fuzz import token_world
from fuzz.approvals import NOW, TYPE, Answer, Asked, approve
from fuzz.breaking import until_found
from fuzz.exchange_answers import Given, accept
from fuzz.targets import Lab, WrongError, approvals, exchange_answers, token_requests
from support.token_service import AT_HOTEL, HOTEL, TRAVEL

pytestmark = pytest.mark.drawn
Members = dict[str, Any]
MANY = 4000  # examples at most: nearly all wrong ones are found within some hundred
LAB = Lab(cast("Any", None), lambda _: "")  # these targets ask no server


def changed(change: Callable[[Members, Agent], object]) -> token_world.Ask:
    """Return a service that issues tokens with other claims than it should."""

    def ask(
        core: TokenService, form: bytes, proof: str | None, client: Agent, now: float
    ) -> Outcome:
        outcome = token_world.ask(core, form, proof, client, now)
        if not isinstance(outcome, Issue):
            return outcome
        claims = dict(outcome.claims)
        change(claims, client)
        return msgspec.structs.replace(outcome, claims=claims)

    return ask


def _cut(claims: Members, _: Agent) -> None:
    claims["act"] = {"sub": claims["act"]["sub"]}


def _by_sub_alone(claims: Members, _: Agent) -> None:
    claims["sub"] = claims["sub_id"]["sub"]


def _of_another_issuer(claims: Members, _: Agent) -> None:
    claims["sub_id"] = {**claims["sub_id"], "iss": "https://idp.partner.example"}


WRONG_CLAIMS: Mapping[str, Callable[[Members, Agent], object]] = {
    "a wider scope": lambda claims, _: claims.update(scope="hotels:book trips:book trips:plan"),
    "another audience": lambda claims, _: claims.update(aud=AT_HOTEL),
    "one audience more": lambda claims, _: claims.update(aud=[claims["aud"], "x"]),
    "a chain that is cut": _cut,
    "a chain without the client": lambda claims, _: claims.update(act={"sub": TRAVEL}),
    "a later end": lambda claims, _: claims.update(exp=claims["exp"] + 1),
    "another principal": lambda claims, _: claims.update(sub="a:bob"),
    "a principal of two issuers": _by_sub_alone,
    "another issuer's principal": _of_another_issuer,
    "no key": lambda claims, _: claims.pop("cnf"),
    "another client": lambda claims, _: claims.update(client_id=HOTEL),
    "a claim of its own": lambda claims, _: claims.update(groups=["admins"]),
    "no details": lambda claims, _: claims.pop("authorization_details", None),
    "other details": lambda claims, _: claims.update(authorization_details=[{"type": "x"}]),
}


@pytest.mark.parametrize("change", WRONG_CLAIMS.values(), ids=list(WRONG_CLAIMS))
def test_a_wrong_token_is_noticed(change: Callable[[Members, Agent], object]) -> None:
    """No token has anything that its request, its subject token or the rules do not give."""
    with pytest.raises(WrongError):
        until_found(lambda draw: token_requests(replace(LAB, ask=changed(change)), draw), MANY)


def by_config(*changes: tuple[str, str], revoked: bool = True) -> token_world.Ask:
    """Return a service that goes by other rules than the reference."""
    world = token_world.service()
    config = load_text(token_world.config(*changes).encode(), "wrong.yaml")
    revocations = Revocations(token_world.revoked() if revoked else ())
    core = world._service(config, token_world.Consents(), revocations)
    return lambda _, *rest: token_world.ask(core, *rest)


WRONG_RULES: Mapping[str, Callable[[], token_world.Ask]] = {
    "any certificate": lambda: by_config(("  rules:\n", "  bind: none\n  rules:\n")),
    "a longer life": lambda: by_config(("lifetime: 1m", "lifetime: 5m")),
    "many uses": lambda: by_config(("    one_time: true", "    one_time: false")),
    "no revocations": lambda: by_config(revoked=False),
    "no consent": lambda: by_config(("consent: required", "consent: none")),
}


@pytest.mark.parametrize("wrong", WRONG_RULES.values(), ids=list(WRONG_RULES))
def test_a_wrong_rule_is_noticed(wrong: Callable[[], token_world.Ask]) -> None:
    """A service whose rules are wider in any way is caught."""
    ask = wrong()
    with pytest.raises(WrongError):
        until_found(lambda draw: token_requests(replace(LAB, ask=ask), draw), MANY)


def _lax(core: TokenService, form: bytes, proof: str | None, client: Agent, now: float) -> Outcome:
    """Read a form as most frameworks do: the last of two parameters counts."""
    try:
        given = dict(parse_qsl(form.decode("latin-1")))
        request = read_request(list(given.items()), proof)
    except TokenRequestDenied as denied:
        return refusal(denied, TokenFacts(client))
    return core.decide(client, request, token_world.TOKEN_ID, now)


def _failing(
    core: TokenService, form: bytes, proof: str | None, client: Agent, now: float
) -> Outcome:
    """Fail for a form that is not ASCII."""
    form.decode("ascii")
    json.dumps(proof and proof.split(".")[2])
    return token_world.ask(core, form, proof, client, now)


@pytest.mark.parametrize("wrong", [_lax, _failing])
def test_a_wrong_reading_of_forms_is_noticed(wrong: token_world.Ask) -> None:
    """Parameters that are sent twice, and exceptions, are caught."""
    with pytest.raises(WrongError):
        until_found(lambda draw: token_requests(replace(LAB, ask=wrong), draw), MANY)


def _any_answer(_: Given, body: bytes, __: KeySet) -> str:
    """Take what is there."""
    try:
        return str(json.loads(body)["access_token"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise AnswerError("none") from None


def _unverified(given: Given, body: bytes, keys: KeySet) -> str:
    """Believe the claims of a token without its signature."""
    token = _any_answer(given, body, keys)
    try:
        claims = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
        is_good = claims["sub"] == "alice" and set(claims["aud"]) <= set(
            given.question.expected.audiences
        )
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        is_good = False
    if not is_good:
        raise AnswerError("another's")
    return token


def by_settings(**changes: Any) -> Callable[[Given, bytes, KeySet], str]:
    """Return a client that goes by other settings than the reference."""

    def wrong(given: Given, body: bytes, keys: KeySet) -> str:
        expected = given.question.expected
        fields = {name: value for name, value in changes.items() if hasattr(expected, name)}
        rest = {name: value for name, value in changes.items() if name not in fields}
        settings = expected.settings.model_copy(update=rest)
        issuer = expected.issuer.model_copy(update={"exchange": settings})
        expected = msgspec.structs.replace(expected, issuer=issuer, settings=settings, **fields)
        question = msgspec.structs.replace(given.question, expected=expected)
        return accept(replace(given, question=question), body, keys)

    return wrong


WRONG_CLIENTS: Mapping[str, Callable[[Given, bytes, KeySet], str]] = {
    "any answer": _any_answer,
    "no signature": _unverified,
    "anybody": by_settings(subject=SubjectNeed.ANY),
    "more scopes": by_settings(accept_scopes=("write", "profile")),
    "no audience": by_settings(audiences=(), accept_audiences=("https://orders.corp.example",)),
    "opaque": by_settings(accept_opaque=True),
    "an exception": lambda given, body, keys: accept(given, body, keys)[:0] or str(1 // 0),
}


@pytest.mark.parametrize("wrong", WRONG_CLIENTS.values(), ids=list(WRONG_CLIENTS))
def test_a_wrong_client_is_noticed(wrong: Callable[[Given, bytes, KeySet], str]) -> None:
    """A client that accepts too much of a token endpoint is caught."""
    with pytest.raises(WrongError):
        until_found(lambda draw: exchange_answers(replace(LAB, accept=wrong), draw), MANY)


def _loosely(asked: Asked, same: Callable[[Any, Any], bool]) -> Answer:
    """Approve by comparing arguments in another way."""
    try:
        call = name_call(asked.operation, asked.resource, asked.names)
        details = {"authorization_details": json.loads(asked.claim)}
    except (ApprovalError, ValueError, RecursionError):
        return Answer(is_approved=False)
    for element in elements_of(details, TYPE):
        try:
            approval = Approval.read(element)
            approval.check(replace(call, arguments=approval.arguments), NOW)
        except ApprovalError:
            continue
        if same(approval.arguments, call.arguments):
            return Answer(is_approved=True, use=b"" if asked.once else None)
    return Answer(is_approved=False)


def _narrowed(asked: Asked) -> Answer:
    """Ignore members that are unknown."""
    try:
        known = [
            {
                name: value
                for name, value in one.items()
                if name not in ("limit", "privileges", "datatypes", "Type")
            }
            for one in json.loads(asked.claim)
        ]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return approve(asked)
    return approve(asked._replace(claim=json.dumps(known).encode()))


WRONG_APPROVALS: Mapping[str, Callable[[Asked], Answer]] = {
    "any arguments": lambda asked: _loosely(asked, lambda *_: True),
    "True is 1": lambda asked: _loosely(asked, lambda one, other: bool(one == other)),
    "as texts": lambda asked: _loosely(asked, lambda one, other: str(one) == str(other)),
    "fewer arguments": lambda asked: _loosely(
        asked, lambda one, other: all(name in other and other[name] == one[name] for name in one)
    ),
    "members that narrow": _narrowed,
    "no argument is named": lambda asked: approve(asked._replace(names=())),
    "no use": lambda asked: approve(asked._replace(once=False)),
    "by its text": lambda asked: approve(asked)._replace(use=asked.claim if asked.once else None),
}


@pytest.mark.parametrize("wrong", WRONG_APPROVALS.values(), ids=list(WRONG_APPROVALS))
def test_a_wrong_approval_is_noticed(wrong: Callable[[Asked], Answer]) -> None:
    """Approvals of other calls than they name, and by several names of their own, are caught."""
    with pytest.raises(WrongError):
        until_found(lambda draw: approvals(replace(LAB, approve=wrong), draw), MANY)
