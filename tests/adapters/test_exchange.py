"""Exchange of tokens (RFC 8693) with a real token endpoint: what is asked, what is accepted."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.adapters.exchange import ExchangeResult, Exchanges, TokenExchanger
from authz.adapters.exchange.answer import MAX_ANSWER_BYTES
from authz.adapters.keys.store import KeySourceConfig, KeyStore
from authz.adapters.oauth_client.failures import BREAKER_FAILURES, BREAKER_PAUSE_SECONDS
from authz.core.decision import Actor, Agent, Allow, Delegation, Mode, Permit
from authz.core.delegation import IssuerSettings, TokenSettings
from authz.core.jose import KeySettings
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.spiffe import SpiffeId
from authz.core.upstream_token import Upstream, UpstreamCredential, UpstreamToken
from lab.ca import Authority
from lab.issuer import Issuer, JwksServer, b64, sign_json
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL
from support.exchange_issuer import CLIENT, SECRET, SVID_ID, TYPE, ExchangeIssuer
from support.jwks_server import Behaviour, answer, ec_key, raw
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until

ORDERS: Final = "https://orders.corp.example"
SCOPE: Final = "balance:read orders:read"
UPSTREAM: Final = Upstream(UpstreamToken.EXCHANGE, audience=ORDERS, issuer=ISSUER)
EARLIER: Final = "spiffe://corp.example/ns/agents/sa/orchestrator"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """The issuer whose tokens are exchanged."""
    return Issuer(ISSUER, AUDIENCE)


@pytest.fixture(scope="module")
def keys(issuer: Issuer) -> Iterator[KeyStore]:
    """The issuer's keys."""
    with ExitStack() as opened:
        jwks = opened.enter_context(closing(JwksServer(issuer)))
        settings = KeySettings.model_validate(
            {"jwks_uri": f"{jwks.url}/jwks", "insecure": True, "cooldown": "1s"}
        )
        store = KeyStore({ISSUER: KeySourceConfig(settings, frozenset({"ES256"}))})
        opened.enter_context(closing(store))
        store.start()
        wait_until(lambda: store.get(ISSUER) is not None)
        yield store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the client's secret is."""
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture
def server(issuer: Issuer) -> Iterator[ExchangeIssuer]:
    """The issuer's token endpoint."""
    with ExchangeIssuer(issuer) as running:
        yield running


class Exchanging:
    """The exchanges of one config, with a clock that the test sets if it wants."""

    def __init__(
        self,
        keys: KeyStore,
        server: ExchangeIssuer,
        folder: Path,
        clock: Callable[[], float] | None = None,
        **more: Any,
    ) -> None:
        """Read a secret, and prepare; ``more`` are settings of exchange."""
        secret = folder / "secret"
        if not secret.exists():  # a new file is read once it has rested, which takes a second
            secret.write_text(f"{SECRET}\n")
        given = {"client_id": CLIENT, "client_secret_file": str(secret)}
        asked = {"url": server.url, "timeout": "10s", "insecure": True, **given, **more}
        asked = {name: value for name, value in asked.items() if value is not None}
        self.settings = IssuerSettings.model_validate(
            {
                "issuer": ISSUER,
                "audiences": (AUDIENCE,),
                "keys": {"jwks_uri": "https://as.example/jwks"},
                "exchange": asked,
            }
        )
        self.counted: list[str] = []
        clocks = {} if clock is None else {"wall": clock, "monotonic": clock}
        self.all = Exchanges(keys, lambda _, result, __: self.counted.append(result), **clocks)
        made = self.all.prepare([self.settings], TokenSettings())
        assert made is not None
        self.exchanger: TokenExchanger = made
        self.all.reconfigure(made)
        self.now = clock or time.time

    def exchange(self, allow: Allow, token: str, seconds: float = SECONDS) -> UpstreamCredential:
        """Obtain a credential as the edge does."""
        asked = request_of(token)
        kept = self.exchanger.remembered(allow, asked, self.now())
        if kept is not None:
            return kept
        return self.exchanger.exchange(allow, asked, "id", now=self.now(), seconds=seconds)

    def refusal(self, allow: Allow, token: str) -> tuple[str, str]:
        """Return the reason and the detail of the refusal that must come."""
        with pytest.raises(Denied) as refused:
            self.exchange(allow, token)
        return refused.value.reason.code, refused.value.detail


@pytest.fixture
def exchanging(keys: KeyStore, server: ExchangeIssuer, folder: Path) -> Exchanging:
    """Exchanges with a secret."""
    return Exchanging(keys, server, folder)


def request_of(token: str) -> Request:
    """A request with this token."""
    return Request("GET", "orders", "/", (("authorization", f"Bearer {token}"),))


def allow_of(
    issuer: Issuer,
    agent: str = TRAVEL,
    upstream: Upstream = UPSTREAM,
    mode: Mode = Mode.ACT,
    earlier: tuple[str, ...] = (),
    **changes: Any,
) -> tuple[Allow, str]:
    """What the pipeline allows for a token with changes, and the token."""
    act: dict[str, Any] = {"sub": agent}
    inner = act
    for name in earlier:
        inner["act"] = {"sub": name}
        inner = inner["act"]
    token = issuer.token(agent, scope=SCOPE, **{"act": act, **changes})
    claims = jwt.decode(token, options={"verify_signature": False})
    delegation = Delegation(
        issuer=claims["iss"],
        subject=claims["sub"],
        actors=tuple(Actor(claims["iss"], name) for name in (agent, *earlier)),
        scopes=frozenset(claims.get("scope", "").split()),
        issued_at=claims["iat"],
        expires_at=claims["exp"],
        mode=mode,
        claims=claims,
        token_hash="hash",
    )
    allow = Allow(
        Agent(SpiffeId.parse(agent)), delegation, Permit("a", "p"), claims["exp"], upstream=upstream
    )
    return allow, token


def bearer(credential: UpstreamCredential) -> dict[str, Any]:
    """The claims of the token in a credential."""
    kind, _, token = credential.value.partition(" ")
    assert (credential.header, kind) == ("authorization", "Bearer")
    return jwt.decode(token, options={"verify_signature": False})


# What is asked, and a good answer


def test_a_token_is_exchanged(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer
) -> None:
    """The upstream gets another token, for it alone, of the same person and agent."""
    allow, token = allow_of(issuer)
    got = exchanging.exchange(allow, token)
    claims = bearer(got)
    assert (claims["aud"], claims["sub"], claims["act"]) == (ORDERS, "alice", {"sub": TRAVEL})
    assert got.value == f"Bearer {server.tokens[0]}" != f"Bearer {token}"
    assert (got.gets, got.audience) == (UpstreamToken.EXCHANGE, ORDERS)
    assert server.tokens[0] not in repr(got)
    assert server.tokens[0] not in got.credential_id
    assert server.forms == [
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": token,
            "subject_token_type": f"{TYPE}access_token",
            "requested_token_type": f"{TYPE}access_token",
            "audience": ORDERS,
            "scope": SCOPE,
        }
    ]
    assert exchanging.exchange(allow, token) is got
    assert exchanging.counted == [ExchangeResult.EXCHANGED]


def test_scopes_are_those_of_route_and_token(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer
) -> None:
    """No more is asked for than both have; with nothing in common, nobody is asked."""
    narrow = Upstream(
        UpstreamToken.EXCHANGE,
        resource=ORDERS,
        issuer=ISSUER,
        scopes=frozenset({"orders:read", "orders:write"}),
    )
    allow, token = allow_of(issuer, upstream=narrow)
    assert bearer(exchanging.exchange(allow, token))["scope"] == "orders:read"
    assert (server.forms[0]["scope"], server.forms[0]["resource"]) == ("orders:read", ORDERS)
    none = Upstream(UpstreamToken.EXCHANGE, audience=ORDERS, issuer=ISSUER, scopes=frozenset({"x"}))
    allow, token = allow_of(issuer, upstream=none)
    assert exchanging.refusal(allow, token)[0] == "exchange_refused"
    assert server.calls == 1


def test_whose_tokens_are_exchanged(
    exchanging: Exchanging,
    server: ExchangeIssuer,
    keys: KeyStore,
    issuer: Issuer,
    folder: Path,
) -> None:
    """Those of the issuer, and of subjects_from; and never the lack of a token."""
    other = "https://other.example"
    allow, token = allow_of(issuer, iss=other)
    reason, detail = exchanging.refusal(allow, token)
    assert (reason, server.calls) == ("exchange_refused", 0)
    assert "subjects_from" in detail
    trusting = Exchanging(keys, server, folder, subjects_from=(other,))
    assert bearer(trusting.exchange(allow, token))["iss"] == ISSUER
    bare, _ = allow_of(issuer, mode=Mode.BOOTSTRAP)
    assert exchanging.refusal(bare, "x")[0] == "exchange_refused"
    unknown = Upstream(UpstreamToken.EXCHANGE, audience=ORDERS, issuer="https://nobody.example")
    assert exchanging.refusal(*allow_of(issuer, upstream=unknown))[0] == "exchange_unavailable"


# How this server authenticates


def test_client_authentication(
    keys: KeyStore, issuer: Issuer, folder: Path, tmp_path: Path
) -> None:
    """A secret, a signed assertion, a certificate and a JWT-SVID are each accepted."""
    authority = Authority(tmp_path / "pki")
    key = ec_key("authz-key")
    file = tmp_path / "key.pem"
    file.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    svid_file, shown = tmp_path / "token.svid", authority.issue(SVID_ID)
    now = int(time.time())
    claims = {"sub": SVID_ID, "aud": ISSUER, "exp": now + 600}
    svid_file.write_text(sign_json(key, {"alg": "ES256", "kid": "authz-key"}, claims))
    certificate = {
        "certificate": str(shown.certificate_path),
        "private_key": str(shown.key_path),
    }
    ways: list[dict[str, Any]] = [
        {},
        {"private_key_jwt": {"key_file": str(file)}},
        {"spiffe_jwt_file": str(svid_file), "client_id": None},
        {"tls": certificate},
    ]
    for way in ways:
        tls = authority.issue(dns=("localhost",))
        asks = authority.path if "tls" in way else None
        with ExchangeIssuer(issuer, tls, asks) as server:
            server.key = server.svids = key
            secret: dict[str, Any] = {} if not way else {"client_secret_file": None}
            given: dict[str, Any] = {"ca_file": str(authority.path), **secret, **way}
            exchanging = Exchanging(keys, server, folder, **given)
            assert bearer(exchanging.exchange(*allow_of(issuer)))["aud"] == ORDERS, way


def test_a_jwt_svid_is_read_each_time(
    keys: KeyStore, issuer: Issuer, server: ExchangeIssuer, folder: Path, tmp_path: Path
) -> None:
    """A file that is not there yet refuses requests, and heals by itself."""
    key, file = ec_key("svid"), tmp_path / "token.svid"
    server.svids = key
    given: dict[str, Any] = {"client_id": None, "client_secret_file": None}
    exchanging = Exchanging(keys, server, folder, spiffe_jwt_file=str(file), **given)
    allow, token = allow_of(issuer)
    reason, detail = exchanging.refusal(allow, token)
    assert (reason, server.calls) == ("exchange_unavailable", 0)
    assert "spiffe_jwt_file can't be read" in detail
    claims = {"sub": SVID_ID, "aud": ISSUER, "exp": int(time.time()) + 600}
    file.write_text(sign_json(key, {"alg": "ES256", "kid": "svid"}, claims))
    assert bearer(exchanging.exchange(allow, token))["aud"] == ORDERS


def test_a_wrong_secret_is_our_fault(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """invalid_client refuses as unavailable, and opens the breaker."""
    exchanging = Exchanging(keys, server, folder, client_id="somebody")
    for _ in range(BREAKER_FAILURES):
        assert exchanging.refusal(*allow_of(issuer))[0] == "exchange_unavailable"
    assert set(server.refused) == {"invalid_client"}
    assert exchanging.all.status().endpoints[0].is_cut_off
    assert exchanging.refusal(*allow_of(issuer))[0] == "exchange_unavailable"
    assert server.calls == BREAKER_FAILURES


def test_an_actor_token(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path, tmp_path: Path
) -> None:
    """It is sent as its file is; the answer must name its subject, then the agent, and all."""
    key, file = ec_key("svid"), tmp_path / "token.actor"
    file.write_text(sign_json(key, {"alg": "ES256"}, {"sub": SVID_ID, "aud": ISSUER}))
    exchanging = Exchanging(keys, server, folder, actor_token={"file": str(file)}, actor="required")
    allow, token = allow_of(issuer, earlier=(EARLIER,))
    claims = bearer(exchanging.exchange(allow, token))
    assert claims["act"] == {"sub": SVID_ID, "act": {"sub": TRAVEL, "act": {"sub": EARLIER}}}
    assert server.forms[0]["actor_token"] == file.read_text()
    for act in (
        {"sub": TRAVEL, "act": {"sub": EARLIER}},
        {"sub": SVID_ID},
        {"sub": SVID_ID, "act": {"sub": PAYMENTS, "act": {"sub": EARLIER}}},
    ):
        server.claims = {"act": act}
        assert "its token" in exchanging.refusal(*allow_of(issuer, earlier=(EARLIER,)))[1]


# Which answers are refused


def opaque() -> Behaviour:
    """An answer with an opaque token."""
    return answered({"access_token": "opaque-and-unreadable", "expires_in": 60})


def answered(members: dict[str, Any]) -> Behaviour:
    """An answer with these members."""
    said = {"issued_token_type": f"{TYPE}access_token", "token_type": "Bearer", **members}
    return answer(json.dumps(said).encode(), 200, "application/json")


BAD: Final[dict[str, dict[str, Any]]] = {
    "subject": {"claims": {"sub": "mallory"}},
    "no subject": {"claims": {"sub": None}},
    "issuer": {"claims": {"iss": "https://evil.example"}},
    "no issuer": {"claims": {"iss": None}},
    "audience": {"claims": {"aud": "https://payments.corp.example"}},
    "more audiences": {"claims": {"aud": [ORDERS, "https://payments.corp.example"]}},
    "odd audiences": {"claims": {"aud": [ORDERS, 1]}},
    "no audience": {"claims": {"aud": None}},
    "scope": {"claims": {"scope": f"{SCOPE} admin"}, "members": {"scope": None}},
    "scope told": {"members": {"scope": f"{SCOPE} admin"}},
    "odd scope": {"members": {"scope": ["admin"]}},
    "actor": {"claims": {"act": {"sub": PAYMENTS}}},
    "chain longer": {"claims": {"act": {"sub": TRAVEL, "act": {"sub": PAYMENTS}}}},
    "odd actor": {"claims": {"act": "travel"}},
    "expired": {"claims": {"exp": 1_000_000_000, "iat": 999_999_000}},
    "ends too soon": {"members": {"expires_in": 0}},
    "negative": {"members": {"expires_in": -5}},
    "odd end": {"members": {"expires_in": "300"}},
    "lives too long": {"seconds": 7300},
    "lives longer than told": {"seconds": 7300, "members": {"expires_in": 60}},
    "DPoP": {"members": {"token_type": "DPoP"}},
    "N_A": {"members": {"token_type": "N_A"}},
    "no kind": {"members": {"token_type": None}},
    "bound": {"claims": {"cnf": {"jkt": "a"}}},
    "another type": {"members": {"issued_token_type": f"{TYPE}id_token"}},
    "no type": {"members": {"issued_token_type": None}},
    "an ID token": {"header": {"typ": "JWT"}, "claims": {"nonce": "n"}},
    "another kind": {"header": {"typ": "logout+jwt"}},
    "unknown key": {"header": {"kid": "nobody's"}},
    "no token": {"members": {"access_token": None}},
    "a header in it": {"members": {"access_token": "a\r\nx-admin: yes"}},
    "opaque": {"behaviour": opaque()},
    "empty": {"behaviour": answer(b"", 200, "application/json")},
    "a list": {"behaviour": answer(b"[]", 200, "application/json")},
    "twice": {"behaviour": answer(b'{"access_token":"a","access_token":"b"}', 200, None)},
    "huge": {"behaviour": answer(b" " * (MAX_ANSWER_BYTES + 1), 200, "application/json")},
}


@pytest.mark.parametrize("how", BAD.values(), ids=BAD)
def test_bad_answers(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer, how: dict[str, Any]
) -> None:
    """No such answer reaches an upstream; it is remembered briefly, and harms no other token."""
    allow, token = allow_of(issuer)
    for name, value in how.items():
        setattr(server, name, value)
    reason, detail = exchanging.refusal(allow, token)
    assert reason == "exchange_unavailable"
    assert not any(made in detail for made in server.tokens)
    assert exchanging.refusal(allow, token) == (reason, detail)
    assert server.calls == 1  # the agent can't make the issuer work again and again
    for _ in range(BREAKER_FAILURES):
        exchanging.refusal(*allow_of(issuer))
    assert not exchanging.all.status().endpoints[0].is_cut_off
    assert set(exchanging.counted) == {ExchangeResult.INVALID}


def test_an_unsigned_answer(exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer) -> None:
    """A token with alg none, with another's signature or with none is refused."""
    allow, token = allow_of(issuer)
    good = exchanging.exchange(allow, token).value.removeprefix("Bearer ")
    header, payload, signature = good.split(".")
    none = b64(json.dumps({"alg": "none", "typ": "at+jwt", "kid": "k"}).encode())
    for forged in (
        f"{none}.{payload}.",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[::-1]}",
        jwt.encode(bearer(exchanging.exchange(allow, token)), "a" * 32, "HS256"),
    ):
        server.behaviour = answered({"access_token": forged, "expires_in": 60})
        assert exchanging.refusal(*allow_of(issuer))[0] == "exchange_unavailable"


def test_the_same_token_back(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer
) -> None:
    """An issuer that hands the client's token back has exchanged nothing."""
    allow, token = allow_of(issuer, aud=[AUDIENCE, ORDERS])
    server.behaviour = answered({"access_token": token, "expires_in": 60})
    assert "the client's own token" in exchanging.refusal(allow, token)[1]


def test_a_cut_chain(exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer) -> None:
    """An act that leaves out an earlier actor is refused; no act at all only if it is required."""
    server.claims = {"act": {"sub": TRAVEL}}
    reason, detail = exchanging.refusal(*allow_of(issuer, earlier=(EARLIER,)))
    assert (reason, "earlier actors" in detail) == ("exchange_unavailable", True)
    server.claims = {"act": None}
    assert "act" not in bearer(exchanging.exchange(*allow_of(issuer, earlier=(EARLIER,))))


def test_what_settings_open(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """An act can be required, a subject free, compared by other claims, and scopes added."""

    def made(**more: Any) -> Exchanging:
        return Exchanging(keys, server, folder, **more)

    server.claims = {"act": None}
    assert "no act" in made(actor="required").refusal(*allow_of(issuer))[1]
    server.claims = {"sub": "pairwise-1", "oid": "a1"}
    assert bearer(made(subject="any").exchange(*allow_of(issuer)))["sub"] == "pairwise-1"
    by_oid = made(subject_claims=("oid",))
    assert bearer(by_oid.exchange(*allow_of(issuer, oid="a1")))["oid"] == "a1"
    assert by_oid.refusal(*allow_of(issuer, oid="a2"))[0] == "exchange_unavailable"
    assert by_oid.refusal(*allow_of(issuer))[0] == "exchange_unavailable"  # it has none
    server.claims = {"aud": [ORDERS, "account"]}
    wide = made(accept_audiences=("account",))
    assert "account" in bearer(wide.exchange(*allow_of(issuer)))["aud"]
    server.claims = {"scope": f"{SCOPE} profile"}
    assert made().refusal(*allow_of(issuer))[0] == "exchange_unavailable"
    assert (
        "profile" in bearer(made(accept_scopes=("profile",)).exchange(*allow_of(issuer)))["scope"]
    )


def test_opaque_tokens_by_choice(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """With accept_opaque one passes if it says when it ends; a JWT is still verified."""
    exchanging = Exchanging(keys, server, folder, accept_opaque=True)
    server.behaviour = opaque()
    got = exchanging.exchange(*allow_of(issuer))
    assert got.value == "Bearer opaque-and-unreadable"
    assert got.good_until <= time.time() + 60
    server.behaviour = answered({"access_token": "opaque-without-an-end"})
    assert "when its token ends" in exchanging.refusal(*allow_of(issuer))[1]
    server.behaviour, server.claims = None, {"sub": "mallory"}
    assert exchanging.refusal(*allow_of(issuer))[0] == "exchange_unavailable"


# What the issuer refuses, and what fails


@pytest.mark.parametrize(
    ("status", "code", "reason", "opens"),
    [
        (400, "invalid_request", "exchange_refused", False),
        (400, "invalid_target", "exchange_refused", False),
        (400, "invalid_scope", "exchange_refused", False),
        (400, "invalid_grant", "exchange_refused", False),
        (403, "access_denied", "exchange_refused", False),
        (400, "made_up_<script>", "exchange_unavailable", False),
        (400, "invalid_client", "exchange_unavailable", True),
        (400, "unauthorized_client", "exchange_unavailable", True),
        (400, "unsupported_grant_type", "exchange_unavailable", True),
        (401, "invalid_client", "exchange_unavailable", True),
        (401, "invalid_request", "exchange_unavailable", True),
        (403, "made_up", "exchange_unavailable", True),
        (404, "x", "exchange_unavailable", True),
        (429, "slow_down", "exchange_unavailable", True),
        (500, "server_error", "exchange_unavailable", True),
        (302, "x", "exchange_unavailable", True),
    ],
)
def test_refusals(  # noqa: PLR0917 - one row of the table
    exchanging: Exchanging,
    server: ExchangeIssuer,
    issuer: Issuer,
    status: int,
    code: str,
    reason: str,
    opens: bool,  # noqa: FBT001 - likewise
) -> None:
    """Errors about the token are the client's; all others are not, and only some of them fail."""
    elsewhere = {"location": f"{server.url}?again"}
    server.behaviour = answer(
        json.dumps({"error": code}).encode(), status, "application/json", elsewhere
    )
    for _ in range(BREAKER_FAILURES):
        got, detail = exchanging.refusal(*allow_of(issuer))
        assert got == reason
        assert "<" not in detail
    assert server.calls == BREAKER_FAILURES  # and no redirect was followed
    assert exchanging.all.status().endpoints[0].is_cut_off == opens


def test_a_refusal_is_remembered_briefly(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """A repeated request makes no work for the issuer; a few seconds later it is asked again."""
    now = [time.time()]
    exchanging = Exchanging(keys, server, folder, lambda: now[0])
    server.behaviour = answer(b'{"error":"invalid_target"}', 400, "application/json")
    allow, token = allow_of(issuer)
    for _ in range(3):
        assert exchanging.refusal(allow, token)[0] == "exchange_refused"
    assert (server.calls, exchanging.counted) == (1, [ExchangeResult.DENIED])
    server.behaviour = None
    now[0] += 5.1
    assert bearer(exchanging.exchange(allow, token))["aud"] == ORDERS


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"),
        raw(b""),
        raw(b"\x15\x03\x01\x00\x02\x02\x28"),
        answer(b"<html>", 200, "text/html"),
    ],
    ids=["half a body", "nothing", "TLS", "a page"],
)
def test_broken_answers(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer, behaviour: Behaviour
) -> None:
    """They count as failures: the agent whose calls fail is cut off, and then tries once."""
    server.behaviour = behaviour
    allow, token = allow_of(issuer)
    for _ in range(BREAKER_FAILURES):
        assert exchanging.refusal(allow, token)[0] == "exchange_unavailable"
    server.behaviour = None
    assert "not asked for now" in exchanging.refusal(allow, token)[1]
    other, others = allow_of(issuer, PAYMENTS)
    assert bearer(exchanging.exchange(other, others))["act"] == {"sub": PAYMENTS}  # not cut off
    breaker = exchanging.exchanger.clients[ISSUER]._breakers._failing[TRAVEL]
    assert breaker._probe_at is not None
    breaker._probe_at -= BREAKER_PAUSE_SECONDS
    assert bearer(exchanging.exchange(allow, token))["aud"] == ORDERS


# Once, in time, and not for too long


def test_single_flight(exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer) -> None:
    """Forty threads with a token cause one call, and get the same credential."""
    allow, token = allow_of(issuer)
    server.gate = threading.Event()
    with ThreadPoolExecutor(40) as pool:
        asking = [pool.submit(exchanging.exchange, allow, token) for _ in range(40)]
        wait_until(lambda: exchanging.counted.count(ExchangeResult.SHARED) == 39)
        server.gate.set()
        got = {one.result(SECONDS).value for one in asking}
    assert (len(got), server.calls) == (1, 1)


def test_who_leaves_first_harms_nobody(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer
) -> None:
    """A check ends by its own deadline; the call goes on, and its token is kept."""
    allow, token = allow_of(issuer)
    server.gate = threading.Event()
    for seconds in (0.0, 0.01):
        with pytest.raises(Denied, match="time") as refused:
            exchanging.exchange(allow, token, seconds)
        assert refused.value.reason is Reason.EXCHANGE_UNAVAILABLE
    server.gate.set()
    wait_until(lambda: exchanging.exchanger.remembered(allow, request_of(token), time.time()))
    assert server.calls == 1
    assert not exchanging.all.status().endpoints[0].is_cut_off


def test_a_slow_issuer(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """A call ends by timeout, however slowly the answer comes, and counts as a failure."""
    exchanging = Exchanging(keys, server, folder, timeout="200ms")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    server.behaviour = raw(head, *([b"{"] * 9), pause_seconds=0.3)
    assert exchanging.refusal(*allow_of(issuer))[0] == "exchange_unavailable"
    wait_until(lambda: exchanging.counted == [ExchangeResult.FAILURE])


def test_no_use_beyond_its_life(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """At every moment what is handed out is still good, and for no longer than the client's token.

    A token is renewed in its last fifth, in the background; if that fails, it is used to its end.
    """
    start = time.time()
    now = [start]
    exchanging = Exchanging(keys, server, folder, lambda: now[0])
    allow, token = allow_of(issuer, exp=int(start) + 400)
    server.seconds = 100
    first = exchanging.exchange(allow, token)
    end = bearer(first)["exp"]
    assert first.good_until <= start + 80 + 1
    now[0] = first.good_until - 0.5
    assert exchanging.exchange(allow, token) is first
    assert server.calls == 1
    now[0] = first.good_until + 0.5  # the last fifth
    server.behaviour = answer(b"", 503)
    again = exchanging.exchange(allow, token)
    wait_until(lambda: exchanging.counted[-1] == ExchangeResult.FAILURE)
    assert again.value == first.value
    assert now[0] < again.good_until <= now[0] + 2
    server.behaviour, now[0] = None, again.good_until + 0.1
    assert exchanging.exchange(allow, token).value == first.value
    wait_until(lambda: len(server.tokens) == 2)
    wait_until(lambda: exchanging.all.status().endpoints[0].calls == 0)
    renewed = exchanging.exchange(allow, token)
    assert renewed.value == f"Bearer {server.tokens[1]}"
    now[0] = end + 1000.0
    allow, token = allow_of(issuer, exp=int(start) + 130)
    short = Exchanging(keys, server, folder, lambda: start)
    assert short.exchange(allow, token).good_until <= start + 130


def test_a_clock_set_back(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """A token that was asked for in the future is asked for again."""
    now = [time.time()]
    exchanging = Exchanging(keys, server, folder, lambda: now[0])
    allow, token = allow_of(issuer)
    exchanging.exchange(allow, token)
    now[0] -= 20
    exchanging.exchange(allow, token)
    assert server.calls == 2


def test_a_refused_renewal_ends_it(
    keys: KeyStore, server: ExchangeIssuer, issuer: Issuer, folder: Path
) -> None:
    """When the issuer refuses to renew, as after a log-out, the token is not used any more."""
    now = [time.time()]
    exchanging = Exchanging(keys, server, folder, lambda: now[0])
    allow, token = allow_of(issuer)
    first = exchanging.exchange(allow, token)
    now[0] = first.good_until + 0.5
    server.behaviour = answer(b'{"error":"invalid_request"}', 400, "application/json")
    exchanging.exchange(allow, token)
    wait_until(lambda: exchanging.counted[-1] == ExchangeResult.DENIED)
    assert exchanging.refusal(allow, token)[0] == "exchange_refused"


def test_nothing_is_shared_across_questions(
    exchanging: Exchanging, server: ExchangeIssuer, issuer: Issuer
) -> None:
    """Another token, agent, audience, resource or scope is another exchange."""
    allow, token = allow_of(issuer)
    exchanging.exchange(allow, token)
    for changes in (
        {"audience": f"{ORDERS}/v2"},
        {"audience": "", "resource": ORDERS},
        {"scopes": frozenset({"orders:read"})},
    ):
        upstream = Upstream(
            UpstreamToken.EXCHANGE,
            issuer=ISSUER,
            **{"audience": ORDERS, **changes},  # type: ignore[arg-type]
        )
        exchanging.exchange(*allow_of(issuer, upstream=upstream))
    exchanging.exchange(*allow_of(issuer, PAYMENTS))
    assert server.calls == 5


def test_a_new_key_of_the_issuer(
    exchanging: Exchanging, issuer: Issuer, server: ExchangeIssuer
) -> None:
    """A token signed by a key that was just published is accepted: the keys are fetched."""
    allow, token = allow_of(issuer)
    issuer.rotate()
    wait_until(lambda: _is_exchanged(exchanging, issuer))  # fetched once in a cooldown
    assert server.tokens
    assert bearer(exchanging.exchange(allow, token))["aud"] == ORDERS


def _is_exchanged(exchanging: Exchanging, issuer: Issuer) -> bool:
    try:
        exchanging.exchange(*allow_of(issuer))
    except Denied:
        return False
    return True
