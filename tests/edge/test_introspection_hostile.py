"""An introspection endpoint that is slow, wrong, hostile or gone: a reason, and never an allow."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.introspection.answer import AnswerError, SignedReader
from authz.adapters.keys.store import KeyStore
from authz.core.delegation import IssuerSettings
from authz.core.jose.jwk import parse_key_set
from authz.core.jose.key_set import KeySet
from authz.core.spiffe.svid import checked_svid
from lab.ca import Authority
from lab.config_builder import ConfigBuilder
from lab.issuer import MADE, SigningKey, sign_raw
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL
from support.jwks_server import Behaviour, ScriptedServer, answer, ec_key, held, key_set, raw
from support.opaque_issuer import opaque_config
from support.world import READ, World, check_request, reason_of, wait_until

ISSUER = "https://opaque.example"
TOKEN = "opaque-s3cret-t0ken"
MADE.append(TOKEN)
SIGNED = "application/token-introspection+jwt"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def members(**changes: Any) -> dict[str, Any]:
    """The members of a good answer about alice's token; a change to None leaves a member out."""
    now = int(time.time())
    found = {
        "active": True,
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "client_id": "travel-client",
        "scope": READ,
        "token_type": "Bearer",
        "act": {"sub": TRAVEL},
        "iat": now,
        "exp": now + 600,
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def says(body: object, status: int = 200, content_type: str = "application/json") -> Behaviour:
    """An endpoint that answers this, JSON or bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer(data, status, content_type)


GOOD = members()


@pytest.fixture
def endpoint() -> Iterator[ScriptedServer]:
    """An endpoint that gives the good answer."""
    server = ScriptedServer(says(members()))
    yield server
    server.close()


def config(
    endpoint: ScriptedServer, more: dict[str, Any] | None = None, **keys: Any
) -> ConfigBuilder:
    """A config that asks it, with further keys of introspection and of the issuer."""
    asked = {"url": endpoint.url, "insecure": True, "timeout": "10s", **(more or {})}
    return opaque_config(ISSUER, asked, **{"keys": {}, **keys})


@pytest.fixture
def world(tmp_path: Path, endpoint: ScriptedServer) -> Iterator[World]:
    """A service that asks it."""
    with World(tmp_path, config(endpoint)) as made:
        yield made


def said(world: World, endpoint: ScriptedServer, behaviour: Behaviour) -> str:
    """The reason for the token when the endpoint behaves like this."""
    endpoint.serve(behaviour)
    return reason_of(world.ask(TOKEN))


# By name: the behaviour, and what the record's detail says of it.
SAYING_NOTHING: dict[str, tuple[Behaviour, str]] = {
    "html": (says(b"<html>", content_type="text/html"), "content-type"),
    "jwt": (says(GOOD, content_type="application/jwt"), "content-type"),
    "signed, not asked for": (says(GOOD, content_type=SIGNED), "content-type"),
    "huge": (says({**GOOD, "pad": "x" * 70_000}), "larger than"),
    "redirect": (answer(b"", 302, headers={"location": "/allow"}), "status 302"),
    "created": (says(GOOD, 201), "status 201"),
    "401": (says(GOOD, 401), "status 401"),
    "403": (says(GOOD, 403), "status 403"),
    "500": (says(GOOD, 500), "status 500"),
    "503": (says(GOOD, 503), "status 503"),
    "empty": (says(b""), "JSON"),
    "list": (says([]), "active"),
    "list of one": (says([GOOD]), "active"),
    "true": (says(True), "active"),
    "no active": (says(members(active=None)), "active"),
    "active is a text": (says(members(active="true")), "active"),
    "active is a number": (says(members(active=1)), "active"),
    "active is a list": (says(members(active=[True])), "active"),
    "active twice": (says(b'{"active":true,' + json.dumps(GOOD).encode()[1:]), "twice"),
    "active no and yes": (says(b'{"active":false,"active":true,"sub":"alice"}'), "twice"),
    "NaN": (says(json.dumps(GOOD).encode().replace(b'"sub"', b'"a":NaN,"sub"')), "JSON"),
    "truncated": (says(json.dumps(GOOD).encode()[:-20]), "JSON"),
    "two values": (says(json.dumps(GOOD).encode() + b"{}"), "JSON"),
    "deep": (says(b'{"active":true,"a":' + b"[" * 40 + b"]" * 40 + b"}"), "deeper"),
    "not UTF-8": (says(b'{"active":true,"sub":"\xe9"}'), "JSON"),
    "cut off": (raw(HEAD + b"content-length: 5000\r\n\r\n" + json.dumps(GOOD).encode()), ""),
    "gzip": (raw(HEAD + b"content-encoding: gzip\r\n\r\n"), "content-encoding"),
    "garbage": (raw(b"garbage"), ""),
    "nothing": (raw(), ""),
}


@pytest.mark.parametrize(
    ("behaviour", "detail"), SAYING_NOTHING.values(), ids=SAYING_NOTHING.keys()
)
def test_answers_that_say_nothing(
    world: World, endpoint: ScriptedServer, behaviour: Behaviour, detail: str
) -> None:
    """Nothing but a whole, strict answer with the right type and status counts."""
    endpoint.paths["/allow"] = says(members())
    assert said(world, endpoint, behaviour) == "status_unavailable"
    assert detail in world.audit_records()[0]["detail"]
    assert endpoint.fetches == 1
    assert said(world, endpoint, says(members())) == "allow"  # and nothing was remembered


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "allow"),
        ({"iss": None}, "allow"),
        ({"iat": None}, "allow"),
        ({"exp": None}, "allow"),
        ({"exp": None, "iat": None, "iss": None}, "allow"),
        ({"aud": ["https://other.example", AUDIENCE]}, "allow"),
        ({"token_type": "bearer"}, "allow"),
        ({"token_type": None}, "allow"),
        ({"jti": "one"}, "allow"),
        ({"active": False}, "token_inactive"),
        ({"iss": "https://other.example"}, "token_issuer"),
        ({"iss": ISSUER + "/"}, "token_issuer"),
        ({"iss": 1}, "token_issuer"),
        ({"aud": "https://other.example"}, "token_audience"),
        ({"aud": []}, "token_audience"),
        ({"aud": None, "token_type": None}, "token_typ"),
        ({"aud": {"a": 1}}, "token_claim"),
        ({"exp": 1}, "token_expired"),
        ({"exp": 1, "iat": None}, "token_expired"),
        ({"exp": "9999999999"}, "token_claim"),
        ({"exp": True}, "token_claim"),
        ({"exp": 9_999_999_999}, "token_lifetime"),
        ({"iat": 9_999_999_999}, "token_not_yet_valid"),
        ({"iat": 1, "exp": None}, "token_lifetime"),
        ({"iat": "now"}, "token_claim"),
        ({"nbf": 9_999_999_999}, "token_not_yet_valid"),
        ({"sub": 1}, "token_claim"),
        ({"sub": None, "username": "alice"}, "token_claim"),
        ({"sub": None, "act": None, "uid": "alice"}, "token_claim"),
        ({"sub": "al\u0007ice"}, "token_claim"),
        ({"token_type": "mac"}, "token_typ"),
        ({"token_type": "refresh_token"}, "token_typ"),
        ({"token_type": 1}, "token_typ"),
        ({"token_type": "DPoP"}, "cnf_unsupported"),
        ({"token_use": "refresh_token"}, "token_typ"),
        ({"token_use": "access_token"}, "allow"),
        ({"typ": "Refresh"}, "token_typ"),
        ({"nonce": "n"}, "token_typ"),
        ({"cnf": {"x5t#S256": "another"}}, "cnf_mismatch"),
        ({"cnf": {"jkt": "another"}}, "pop_missing"),
        ({"cnf": {"kid": "1"}}, "cnf_unsupported"),
        ({"act": None}, "actor_missing"),
        ({"act": {"sub": PAYMENTS}}, "actor_mismatch"),
        ({"act": {"sub": TRAVEL, "iss": "https://other.example"}}, "actor_mismatch"),
        ({"act": TRAVEL}, "actor_malformed"),
        ({"scope": "other"}, "scope"),
        ({"scope": 7}, "token_claim"),
        ({"scope": "a  b"}, "token_claim"),
        ({"status": {"status_list": {}}}, "token_claim"),
    ],
    ids=str,
)  # fmt: skip
def test_answers_are_judged_as_claims(
    world: World, endpoint: ScriptedServer, changes: dict[str, Any], reason: str
) -> None:
    """Whose token it is, for whom, until when and by whom: as of a JWT's claims."""
    found = said(world, endpoint, says(members(**changes)))
    assert found == reason, world.audit_records()[0]["detail"]
    assert reason_of(world.ask(TOKEN, path="/finance/other")) == reason
    assert endpoint.fetches == 1  # whatever it says, it is asked once


def test_a_bound_token(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """A token that the answer binds to the caller's certificate is of use to that caller."""
    with World(tmp_path, config(endpoint)) as world:
        message = check_request(world.svid, [("authorization", f"Bearer {TOKEN}")])
        other = world.authority.issue(TRAVEL)

        own = checked_svid(world.svid.certificate_pem, time.time(), "it").thumbprint
        endpoint.serve(says(members(cnf={"x5t#S256": own})))
        assert reason_of(world.check(message)) == "allow"
        headers = [("authorization", f"Bearer {TOKEN}")]
        assert reason_of(world.check(check_request(other, headers))) == "cnf_mismatch"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("a b", "token_malformed"),
        ("a\u00e4", "token_malformed"),
        ("a=b", "token_malformed"),
        ("x" * 9000, "token_too_large"),
        ("a.b.c", "token_malformed"),  # of the form of a JWS
    ],
)
def test_what_is_no_token(world: World, endpoint: ScriptedServer, token: str, reason: str) -> None:
    """Nobody is asked about what can't be an opaque token."""
    assert reason_of(world.ask(token)) == reason
    assert endpoint.fetches == 0


def test_no_agent_no_question(world: World, endpoint: ScriptedServer) -> None:
    """Nobody is asked before we know who calls."""
    message = check_request(None, [("authorization", f"Bearer {TOKEN}")], principal="")
    assert reason_of(world.check(message)) == "agent_missing"
    assert endpoint.fetches == 0


def test_what_is_sent(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """The question is a form with the token, and the credential is form-encoded in basic."""
    secret = tmp_path / "secret"
    secret.write_text("p+ss w%rd\n")
    more = {"client_id": "a:b", "client_secret_file": str(secret)}
    with World(tmp_path, config(endpoint, more)) as world:
        assert reason_of(world.ask(TOKEN)) == "allow"
    path, head = endpoint.requests[0]
    assert path == "/jwks"
    assert head["authorization"] == "Basic YSUzQWI6cCUyQnNzK3clMjVyZA=="
    assert head["accept"] == "application/json"
    assert head["content-type"] == "application/x-www-form-urlencoded"
    assert endpoint.bodies == [f"token={TOKEN}&token_type_hint=access_token".encode()]


def test_slow(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """A check is answered within its caller's deadline; the answer that comes later is of use."""
    gate = threading.Event()
    endpoint.serve(held(gate, says(members())))
    with World(tmp_path, config(endpoint)) as world:
        message = check_request(world.svid, [("authorization", f"Bearer {TOKEN}")])
        assert reason_of(world.check(message, 0.3)) == "status_unavailable"
        assert "in time" in world.audit_records()[0]["detail"]
        gate.set()
        wait_until(lambda: not world.parts.introspections.status()[0].calls)
        assert reason_of(world.check(message, 0.04)) == "allow"  # no time to ask: it is known
        assert endpoint.fetches == 1


def test_no_time_is_left(world: World, endpoint: ScriptedServer) -> None:
    """With the caller's deadline too near nobody is asked."""
    message = check_request(world.svid, [("authorization", f"Bearer {TOKEN}")])
    assert reason_of(world.check(message, 0.03)) == "status_unavailable"
    assert endpoint.fetches == 0


def test_a_byte_at_a_time(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """An answer that trickles ends by timeout."""
    body = json.dumps(members()).encode()
    parts = [HEAD + b"\r\n", *(bytes([byte]) for byte in body)]
    with World(tmp_path, config(endpoint, {"timeout": "300ms"})) as world:
        assert said(world, endpoint, raw(*parts, pause_seconds=0.05)) == "status_unavailable"


def test_single_flight(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """Twenty checks with the same new token cause one call, and all are allowed by its answer."""
    gate = threading.Event()
    endpoint.serve(held(gate, says(members())))
    roomy = config(endpoint).with_(("server", "max_waiting"), 100)
    with World(tmp_path, roomy) as world, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(world.ask, TOKEN, path=f"/finance/{number}") for number in range(20)]
        wait_until(lambda: world.parts.bulkhead.status().waiting == 20)
        gate.set()
        assert {reason_of(one.result(60)) for one in asked} == {"allow"}
        assert endpoint.fetches == 1


def test_checks_that_wait_are_bounded(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """One agent's made-up tokens take half of the places to wait, and leave the rest to others."""
    gate = threading.Event()
    endpoint.serve(held(gate, says({"active": False})))
    with World(tmp_path, config(endpoint)) as world, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(world.ask, f"made-up-{number}") for number in range(2)]
        wait_until(lambda: world.parts.bulkhead.status().waiting == 2)
        assert reason_of(world.ask("made-up-more")) == "overloaded"
        svid = world.authority.issue(PAYMENTS)
        headers = [("authorization", "Bearer made-up-other")]
        message = check_request(svid, headers, principal=PAYMENTS)
        other = pool.submit(world.check, message)
        wait_until(lambda: world.parts.bulkhead.status().waiting == 3)
        gate.set()
        reasons = {reason_of(one.result(60)) for one in [*asked, other]}
        assert reasons == {"token_inactive"}


def test_an_answer_ends(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """No cache keeps an allow or a refusal for longer than max_age."""
    roomy = config(endpoint, {"max_age": "1s"}).with_(("cache",), {"ttl": "1h", "deny_ttl": "0s"})
    with World(tmp_path, roomy) as world:
        assert reason_of(world.ask(TOKEN)) == "allow"
        endpoint.serve(says({"active": False}))
        wait_until(lambda: reason_of(world.ask(TOKEN)) == "token_inactive")
        assert endpoint.fetches == 2
        endpoint.serve(says(members()))
        wait_until(lambda: reason_of(world.ask(TOKEN)) == "allow")
        assert endpoint.fetches == 3
        endpoint.serve(says("", 500))
        wait_until(lambda: reason_of(world.ask(TOKEN)) == "status_unavailable")


def test_prefixes(tmp_path: Path, endpoint: ScriptedServer) -> None:
    """The longest prefix that fits decides who is asked, and whose token it then is."""
    other = ScriptedServer(says(members(iss=None, sub="mallory")))
    text = (
        f"[{{issuer: 'https://b.example', audiences: [{AUDIENCE}], introspection: "
        f"{{url: '{other.url}', insecure: true, timeout: 10s, prefixes: [op, b_, opaque-x]}}}}]"
    )
    try:
        both = config(endpoint, {"prefixes": ["opaque-"]}).with_items(("issuers",), text)
        with World(tmp_path, both) as world:
            assert reason_of(world.ask(TOKEN)) == "allow"
            assert (endpoint.fetches, other.fetches) == (1, 0)
            for token in ("op_1", "b_1", "opaque-x1"):
                assert reason_of(world.ask(token)) == "policy_denied"
                assert world.audit_records()[-1]["issuer"] == "https://b.example"
            assert (endpoint.fetches, other.fetches) == (1, 3)
            assert reason_of(world.ask("else")) == "token_issuer"
            assert (endpoint.fetches, other.fetches) == (1, 3)
    finally:
        other.close()


# Signed answers (RFC 9701)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    """The issuer's key."""
    return ec_key("as-1")


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client's secret, in a file that rests: a fresh one would be waited for."""
    path = tmp_path_factory.mktemp("secret") / "secret"
    path.write_text("secret")
    return path


def signed(key: SigningKey, *parts: Any, **more: Any) -> Behaviour:
    """A signed answer, as ``signed_text``."""
    return says(signed_text(key, *parts, **more).encode(), content_type=SIGNED)


def signed_text(
    key: SigningKey, header: dict[str, Any] | None = None, said: object = None, **changes: Any
) -> str:
    """A signed answer, with changes of its header and claims; None leaves a member out."""
    now = int(time.time())
    head = {"alg": "ES256", "kid": key.key_id, "typ": "token-introspection+jwt", **(header or {})}
    claims = {
        "iss": ISSUER,
        "aud": "authz",
        "iat": now,
        "token_introspection": members() if said is None else said,
        **changes,
    }
    texts = (
        json.dumps({name: value for name, value in part.items() if value is not None}).encode()
        for part in (head, claims)
    )
    return sign_raw(key, *texts)


@pytest.fixture
def signing(
    tmp_path: Path, endpoint: ScriptedServer, key: SigningKey, secret: Path
) -> Iterator[World]:
    """A service that requires signed answers."""
    keys = tmp_path / "keys.json"
    keys.write_bytes(key_set(key))
    more = {"client_id": "authz", "client_secret_file": str(secret), "signed": "required"}
    given = config(endpoint, more, keys={"file": str(keys)}, algorithms=["ES256"])
    with World(tmp_path, given) as made:
        yield made


def test_a_signed_answer(signing: World, endpoint: ScriptedServer, key: SigningKey) -> None:
    """A good one counts; its token_introspection is the answer."""
    assert said(signing, endpoint, signed(key)) == "allow"
    assert endpoint.requests[0][1]["accept"] == SIGNED


def test_a_signed_no(signing: World, endpoint: ScriptedServer, key: SigningKey) -> None:
    """An inactive token is inactive."""
    assert said(signing, endpoint, signed(key, said={"active": False})) == "token_inactive"


@pytest.mark.parametrize(
    ("header", "changes", "detail"),
    [
        ({"typ": "JWT"}, {}, "typ"),
        ({"typ": "at+jwt"}, {}, "typ"),
        ({"typ": None}, {}, "typ"),
        ({"alg": "none"}, {}, "alg"),
        ({"alg": "RS256"}, {}, "alg"),
        ({"kid": "other"}, {}, "no such key"),
        ({"kid": None}, {}, "kid"),
        ({"crit": ["x"]}, {}, "critical"),
        ({}, {"iss": "https://other.example"}, "iss"),
        ({}, {"iss": None}, "iss"),
        ({}, {"aud": "other"}, "aud"),
        ({}, {"aud": AUDIENCE}, "aud"),
        ({}, {"aud": None}, "aud"),
        ({}, {"iat": 1_700_000_000}, "iat"),
        ({}, {"iat": 9_999_999_999}, "iat"),
        ({}, {"iat": None}, "iat"),
        ({}, {"iat": "now"}, "iat"),
        ({}, {"token_introspection": None}, "active"),
        ({}, {"token_introspection": "yes"}, "active"),
        ({}, {"token_introspection": {"sub": "alice"}}, "active"),
    ],
    ids=str,
)
def test_signed_answers_that_say_nothing(  # noqa: PLR0917 - fixtures and parameters
    signing: World,
    endpoint: ScriptedServer,
    key: SigningKey,
    header: dict[str, Any],
    changes: dict[str, Any],
    detail: str,
) -> None:
    """One of another kind, issuer, audience or time is not believed."""
    assert said(signing, endpoint, signed(key, header, **changes)) == "status_unavailable"
    assert detail in signing.audit_records()[0]["detail"]


def test_a_forged_signature(signing: World, endpoint: ScriptedServer, key: SigningKey) -> None:
    """Another key under the same name does not verify."""
    assert said(signing, endpoint, signed(ec_key(key.key_id))) == "status_unavailable"
    assert "does not verify" in signing.audit_records()[0]["detail"]


def test_keys_that_are_too_old(key: SigningKey) -> None:
    """A key set that was not confirmed for its max_age verifies no answer, as it does no token."""
    given = {"issuer": ISSUER, "audiences": ("a",), "keys": {"file": "keys.json"}}
    store, now = KeyStore({}), time.time()
    keys = parse_key_set(key_set(key), frozenset({"ES256"}))[0]
    reader = SignedReader(IssuerSettings.model_validate(given), "authz", store, 30.0)
    body = signed_text(key).encode()
    for usable_until, is_good in ((now + 60, True), (now - 1, False)):
        store._sets[ISSUER] = KeySet(keys, (), now - 100, usable_until)
        if is_good:
            assert reader.read(body, now, 0.0).is_active
            continue
        with pytest.raises(AnswerError, match="no usable key set"):
            reader.read(body, now, 0.0)


def test_an_unsigned_answer(signing: World, endpoint: ScriptedServer) -> None:
    """Plain JSON is refused where a signature is required."""
    assert said(signing, endpoint, says(members())) == "status_unavailable"
    assert "not signed" in signing.audit_records()[0]["detail"]


def test_over_tls(tmp_path: Path) -> None:
    """The endpoint's certificate must be of the CA in ca_file."""
    authority, stranger = Authority(tmp_path / "as"), Authority(tmp_path / "other")
    server = ScriptedServer(says(members()), authority.issue(dns=("localhost",)))
    try:
        for ca, expected in ((authority, "allow"), (stranger, "status_unavailable")):
            folder = tmp_path / expected
            folder.mkdir()
            asked = {"url": server.url, "ca_file": str(ca.path), "timeout": "10s"}
            with World(folder, opaque_config(ISSUER, asked)) as world:
                assert reason_of(world.ask(TOKEN)) == expected
    finally:
        server.close()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "allow"),
        ({"grant_type": "client_credentials"}, "allow"),
        ({"username": "alice"}, "token_claim"),
        ({"Username": "alice"}, "token_claim"),
        ({"uid": "alice"}, "token_claim"),
        ({"ext": {"email": "alice@corp.example"}}, "token_claim"),
        ({"sub": ""}, "token_claim"),
    ],
)
def test_whose_token_without_sub(
    tmp_path: Path, endpoint: ScriptedServer, more: dict[str, Any], reason: str
) -> None:
    """Without sub it is the client's own, unless the answer may name a user in another member."""
    mapped = {"claim": "client_id", "map": {"travel-client": TRAVEL}}
    own = (
        config(endpoint, actor=mapped)
        .with_(("routes", "finance", "modes"), ["delegated", "autonomous"])
        .with_items(
            ("principals",),
            f"[{{match: {{issuer: '{ISSUER}', subjects: [travel-client]}}, "
            "grants: [finance-read]}]",
        )
    )
    with World(tmp_path, own) as world:
        assert said(world, endpoint, says(members(sub=None, act=None) | more)) == reason
