"""Answers of a token endpoint fuzzed: texts mutated, odd members, and tokens of every kind.

The answer is a token that ``reference_exchange`` does not say no to, or one of the module's errors.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from hypothesis import strategies as st

from authz.adapters.exchange.answer import AnswerError, RefusedError, read_answer, read_refusal
from authz.adapters.exchange.endpoint import TokenEndpoint
from authz.adapters.exchange.question import ExchangeQuestion
from authz.adapters.fetched import FetchError
from authz.core.decision import Actor, Agent, Delegation, Mode
from authz.core.delegation import IssuerSettings
from authz.core.delegation.exchanged import ExchangeExpected
from authz.core.jose.jwk import parse_key_set
from authz.core.jose.key_set import KeySet
from authz.core.spiffe import SpiffeId
from authz.core.upstream_token import Upstream, UpstreamToken
from fuzz import exchange_reference
from fuzz.choices import Choices
from lab.issuer import MADE, Issuer, sign_json, sign_raw
from lab.mesh import AUDIENCE, ISSUER, ORCHESTRATOR, PAYMENTS, TRAVEL
from support.exchange_issuer import TYPE
from support.forged import altered, unsigned

Draw = Callable[..., Any]
Mutate = Callable[[Draw, bytes], bytes]
Members = dict[str, Any]

NOW: Final = 1_790_000_000.0
ORDERS: Final = "https://orders.corp.example"
ALSO: Final = "https://userinfo.corp.example"
GATEWAY: Final = "client-gateway"
_SETTINGS: Final[tuple[Members, ...]] = (
    {},
    {"actor": "required"},
    {"subject": "any", "accept_scopes": ("profile",)},
    {"subject_claims": ("tid", "oid"), "accept_audiences": (ALSO,)},
    {"accept_opaque": True, "max_lifetime": "60s"},
    {"requested_token_type": "jwt", "typ": ("at+jwt", "JWT"), "max_actors": 2},
)
_ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    7,
    -1.5,
    1e300,
    2**60,
    "",
    "x",
    [],
    ["x"],
    {},
    {"sub": TRAVEL},
    "a b",
)
_CLAIMS: Final = (
    *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "client_id", "act", "cnf"),
    *("tid", "oid", "nonce", "events", "typ", "token_use", "authorization_details"),
)
_MEMBERS: Final = (
    *("access_token", "issued_token_type", "token_type", "expires_in", "scope", "refresh_token"),
    *("error", "id_token"),
)
_TYPS: Final = ("at+jwt", "JWT", "jwt", "application/at+jwt", "dpop+jwt", "logout+jwt", "", 7, None)


@dataclass(frozen=True)
class Given:
    """What was asked for, and by which settings: for the endpoint, and as plain data."""

    settings: Members
    question: ExchangeQuestion
    actors: tuple[str, ...]
    actor: str
    mode: Mode
    claims: Members


class Answered(TokenEndpoint):
    """A token endpoint that has answered with these bytes, as all is that comes after them."""

    def __init__(self, issuer: IssuerSettings, keys: KeySet, body: bytes) -> None:
        """Take them; there is no connection, and so no credential."""
        assert issuer.exchange is not None
        self._issuer, self._settings = issuer, issuer.exchange
        self._keys, self._wall = _Keys(keys), lambda: NOW
        self._body = body

    def _answer(self, *_: object) -> Any:
        return read_answer(self._body, self._settings)


class _Keys:
    """Keys that never change."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def get(self, issuer: str) -> KeySet | None:
        """Return them, for their own issuer."""
        return self._keys if issuer == ISSUER else None

    def refresh(self, *_: object) -> bool:
        """Find nothing new."""
        return False


Accept = Callable[[Given, bytes, KeySet], str]
"""Returns the token that is accepted of an answer. Raises the module's errors."""


def accept(given: Given, body: bytes, keys: KeySet) -> str:
    """Read and check an answer, as the server does."""
    found = Answered(given.question.expected.issuer, keys, body).exchange(given.question)
    assert found.good_until > NOW, found
    return found.value


@lru_cache(1)
def _issuers() -> tuple[Issuer, Issuer, KeySet]:
    issuer, other = Issuer(ISSUER, AUDIENCE), Issuer("https://other.example", AUDIENCE)
    keys, refused = parse_key_set(issuer.jwks(), frozenset({"ES256"}), "sig")
    return issuer, other, KeySet(keys, refused, NOW, NOW + 1e6)


@lru_cache(len(_SETTINGS))
def _issuer(at: int) -> IssuerSettings:
    own = {name: _SETTINGS[at][name] for name in ("typ", "max_actors") if name in _SETTINGS[at]}
    more = {name: value for name, value in _SETTINGS[at].items() if name not in own}
    exchange = {"url": "https://as.example/t", "client_id": "a", "client_secret_file": "/s", **more}
    made = {"issuer": ISSUER, "audiences": (AUDIENCE,), "keys": {"jwks_uri": f"{ISSUER}/jwks"}}
    return IssuerSettings.model_validate({**made, **own, "exchange": exchange})


def check(accepts: Accept, draw: Draw, mutate: Mutate) -> tuple[str, str]:
    """Have one drawn answer read: what came of it, and what is wrong with that."""
    r = Choices.of(draw(st.integers(0, 2**64)))
    issuer, _, keys = _issuers()
    given, made = _given(r), len(MADE)
    body = _body(r, given)
    del MADE[made:]  # as in ``token_requests``
    if draw(st.integers(0, 7)) == 7:
        body = mutate(draw, body)
    what = f"{body!r} for {given.settings} {given.actors} {given.actor} {given.mode}"
    wrong = _wrong_refusal(r.choice([400, 401, 403, 500]), body)
    if wrong:
        return "", f"{wrong} of {what}"
    try:
        token = accepts(given, body, keys)
    except (AnswerError, RefusedError, FetchError) as error:
        quoted = str(error) in body.decode("utf-8", "replace") or not str(error).isprintable()
        return type(error).__name__, f"{error} is quoted from {what}" if quoted else ""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return "", f"{type(error).__name__}: {error} for {what}"
    public = {name: key.private.public_key() for name, key in issuer.keys.items()}
    why_not = exchange_reference.why_not(token, body, given, public)
    return "accepted", f"{why_not}: {what}" if why_not else ""


def _wrong_refusal(status: int, body: bytes) -> str:
    """A refusal says nothing that the issuer wrote, and is the issuer's only by a known code."""
    told = read_refusal(status, body)
    if isinstance(told, RefusedError) and not exchange_reference.is_refusal(body, str(told)):
        return f"refused by {told}"
    return ""


def _given(r: Choices) -> Given:
    at = r.randrange(len(_SETTINGS))
    issuer = _issuer(at)
    assert issuer.exchange is not None
    actors = r.choice([(TRAVEL,), (TRAVEL, ORCHESTRATOR), (TRAVEL, "batch", PAYMENTS)])
    mode = r.choice([Mode.ACT, Mode.ACT, Mode.MAPPED, Mode.AUTONOMOUS])
    claims = {"iss": ISSUER, "sub": "alice", "tid": "t1", "oid": "o1"}
    delegation = Delegation(
        ISSUER,
        "alice",
        tuple(Actor(ISSUER, name) for name in actors),
        frozenset({"read", "write"}),
        NOW - 10,
        NOW + 600,
        "j",
        mode=mode,
        claims=claims,
    )
    actor = r.choice(["", "", GATEWAY])
    expected = ExchangeExpected(
        issuer,
        issuer.exchange,
        delegation,
        Agent(SpiffeId.parse(TRAVEL)),
        r.choice([(ORDERS,), (ORDERS, f"{ORDERS}/v2")]),
        frozenset({"read"}),
        actor,
    )
    upstream = Upstream(UpstreamToken.EXCHANGE, audience=ORDERS, issuer=ISSUER)
    question = ExchangeQuestion("clients-own-token", upstream, expected, b"k", NOW + 600)
    return Given(_SETTINGS[at], question, actors, actor, mode, claims)


def _body(r: Choices, given: Given) -> bytes:
    kind = given.settings.get("requested_token_type", "access_token")
    members: Members = {
        "access_token": _token(r, given),
        "issued_token_type": f"{TYPE}{kind}",
        "token_type": r.nearly(["Bearer", "bearer"], ["DPoP", "N_A", "Bearer "]),
        "expires_in": r.nearly([50, 50.5], [0, -5, "50", 2**33, 5e9, True, 400]),
        "scope": r.nearly(["read"], ["read write", "", "profile read", " read", "read  read"]),
    }
    for name in ("expires_in", "scope"):
        if r.random() < 0.2:
            del members[name]
    for _ in range(r.nearly([0], [1, 1, 2], 0.4)):
        members[r.choice(_MEMBERS)] = r.choice([*_ODD, f"{TYPE}jwt", "invalid_grant", "a.b.c"])
    for _ in range(r.nearly([0], [1], 0.2)):
        members.pop(r.choice(_MEMBERS), None)
    body = json.dumps(members).encode()
    if r.is_odd(0.1):  # said twice
        body = body[:-1] + b', "token_type": "DPoP"}'
    return body


def _token(r: Choices, given: Given) -> str:
    """Return an exchanged token: good, or nearly so, or of another kind, or forged."""
    issuer, other, _ = _issuers()
    claims: Members = {
        "iss": ISSUER,
        "sub": r.nearly(["alice"], ["bob", TRAVEL, "Alice"]),
        "aud": _audience(r, given),
        "iat": int(NOW),
        "exp": int(NOW) + r.nearly([55, 58], [300, 9000, -5, 2]),
        "jti": secrets.token_hex(4),
        "client_id": GATEWAY,
        "scope": r.nearly(["read", ""], ["read write", "read profile", ["read"], ["read", 7]]),
        "tid": r.nearly(["t1"], ["t2"]),
        "oid": r.nearly(["o1"], ["o2", None, 7]),
        "act": _act(r, given),
    }
    for _ in range(r.nearly([0], [1, 1, 2], 0.5)):
        claims[r.choice(_CLAIMS)] = r.choice([*_ODD, ISSUER, [ORDERS], [ORDERS, AUDIENCE], NOW])
    typ = r.nearly(given.settings.get("typ", ["at+jwt"]), _TYPS)
    header = {"alg": "ES256", "kid": issuer.current.key_id, "typ": typ}
    claims = {name: value for name, value in claims.items() if value is not None}
    token = sign_json(issuer.current, header, claims)
    if r.is_odd(0.1) or (given.settings.get("accept_opaque") and r.random() < 0.5):
        return r.choice(["opaque-token", "a.b", "a.b.c.d"])
    if not r.is_odd(0.2):
        return token
    return r.choice(
        [
            unsigned(claims),
            altered(token, sub="alice", exp=int(NOW) + 50, aud=ORDERS),
            sign_json(other.current, header, claims),
            sign_json(issuer.current, header | {"kid": "unknown"}, claims),
            sign_json(issuer.current, header | {"crit": ["x"]}, claims),
            sign_raw(issuer.current, json.dumps(header).encode(), _doubled(claims)),
            f"{token}=",
            f"{token[:-4]}AAAA",
            f"{token}\r\nx: y",
            "clients-own-token",
            "a" * 20_000,
        ]
    )


def _doubled(claims: Members) -> bytes:
    return json.dumps(claims).encode()[:-1] + b', "sub": "alice"}'


def _audience(r: Choices, given: Given) -> Any:
    asked = list(given.question.expected.audiences)
    known = [*asked, *given.settings.get("accept_audiences", ())]
    good = [asked, known] if len(asked) > 1 else [asked, known, asked[0]]
    return r.nearly(
        good, [AUDIENCE, [*asked, AUDIENCE], [*asked, ALSO], [], asked[-1], [*asked, 7]]
    )


def _act(r: Choices, given: Given) -> Members | None:
    chain = [*([given.actor] if given.actor else []), *given.actors]
    if r.random() < 0.2:
        return None
    odd = [
        [*chain[1:]],
        [*chain[:-1]],
        [*chain, ORCHESTRATOR],
        [PAYMENTS, *chain[1:]],
        [*chain[::-1]],
        [TRAVEL, *chain],
    ]
    act: Members | None = None
    for name in reversed(r.nearly([chain], odd, 0.4)):
        act = {"sub": name, **({"act": act} if act else {})}
        if r.is_odd(0.2):
            act["iss"] = r.choice([ISSUER, "spiffe://corp.example", "https://evil.example", 7])
        if r.is_odd(0.1):
            act[r.choice(["cnf", "sub_profile", "aud"])] = r.choice(_ODD)
    return act
