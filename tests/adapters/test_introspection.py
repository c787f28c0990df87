"""Introspection's parts: the store of answers, the client and its breaker, and its credentials."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.fetched import FetchError
from authz.adapters.introspection import (
    IntrospectionClient,
    IntrospectionError,
    IntrospectionResult,
    Introspections,
)
from authz.adapters.introspection.answer import MAX_ANSWER_BYTES
from authz.adapters.introspection.store import AnswerStore, key_of
from authz.adapters.keys.store import KeyStore
from authz.adapters.oauth_client import Credential, CredentialError
from authz.adapters.oauth_client.credential import ASSERTION_SECONDS
from authz.adapters.oauth_client.failures import BREAKER_FAILURES, BREAKER_PAUSE_SECONDS
from authz.core.delegation import IntrospectionSettings, IssuerSettings
from authz.core.delegation.opaque import IntrospectionAnswer
from authz.core.needs import IntrospectionNeeded
from lab.ca import Authority
from lab.issuer import make_key
from lab.mesh import AUDIENCE, TRAVEL
from support.jwks_server import Behaviour, ScriptedServer, answer, held
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until

ISSUER = "https://opaque.example"
TOKEN = "opaque-of-the-adapter"


def says(body: str, status: int = 200) -> Behaviour:
    """An endpoint that answers this."""
    return answer(body.encode(), status, "application/json")


YES = says('{"active":true,"sub":"alice"}')
NO = says('{"active":false}')


@pytest.fixture
def endpoint() -> Iterator[ScriptedServer]:
    """An endpoint that says yes."""
    server = ScriptedServer(YES)
    yield server
    server.close()


def client_of(
    endpoint: ScriptedServer,
    results: list[tuple[str, bool]] | None = None,
    clock: Callable[[], float] | None = None,
    **more: Any,
) -> IntrospectionClient:
    """A client of it, with further settings; ``results`` are what it counts."""
    asked = {"url": endpoint.url, "insecure": True, "timeout": "10s", **more}
    issuer = IssuerSettings.model_validate(
        {"issuer": ISSUER, "audiences": (AUDIENCE,), "introspection": asked}
    )
    assert issuer.introspection is not None
    counted: list[tuple[str, bool]] = [] if results is None else results
    clocks = {} if clock is None else {"clock": (clock, clock)}
    store = AnswerStore() if clock is None else AnswerStore(monotonic=clock)
    return IntrospectionClient(
        issuer,
        issuer.introspection,
        KeyStore({}),
        store,
        lambda _, result, seconds: counted.append((result, seconds is None)),
        **clocks,
    )


# The store


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "wait"]), st.integers(0, 5), st.integers(1, 30)),
        max_size=60,
    )
)
def test_store_against_a_model(steps: list[tuple[str, int, int]]) -> None:
    """It returns the last answer of a key, active or not, until its end; it may forget, no more."""
    now = [0.0]
    store = AnswerStore(entries=8, max_bytes=10_000, monotonic=lambda: now[0])
    model: dict[int, tuple[IntrospectionAnswer, float]] = {}
    for step, number, seconds in steps:
        key = key_of(b"place", str(number))
        if step == "wait":
            now[0] += seconds
        elif step == "put":
            # By the wall clock, which may be set to anything.
            made = IntrospectionAnswer(seconds % 2 == 0, {}, b"x" * seconds, 7.0, 7.0 + seconds)
            store.put(key, made, now[0])
            model[number] = (made, now[0] + seconds)
            assert store.get(key) is made
        else:
            expected, ends = model.get(number, (None, 0.0))
            assert store.get(key) in ({expected, None} if now[0] < ends else {None})
        assert len(store) <= 8
        assert store._kept.currsize <= 10_000


def test_store_keeps_no_token() -> None:
    """What it holds of a token is a digest, which depends on the place as well."""
    assert len(key_of(b"a", TOKEN)) == 32
    assert key_of(b"a", TOKEN) != key_of(b"b", TOKEN)
    assert TOKEN.encode() not in key_of(b"a", TOKEN)


def test_nothing_shows_a_token() -> None:
    """Neither a need nor an answer has the token or its claims in its text."""
    need = IntrospectionNeeded(ISSUER, TOKEN, TRAVEL)
    made = IntrospectionAnswer(True, {"sub": "alice"}, b"alice", 0.0, 1.0)
    assert TOKEN not in f"{need!r} {need}"
    assert "alice" not in f"{made!r} {made}"


# The client


def test_both_clocks_end_an_answer(endpoint: ScriptedServer) -> None:
    """After max_age the answer is gone, and it is asked for again."""
    now = [1000.0]
    client = client_of(endpoint, clock=lambda: now[0], max_age="30s")
    client.ask(TOKEN, TRAVEL, SECONDS)
    kept = client.get(TOKEN)
    assert kept is not None
    assert (kept.answered_at, kept.usable_until) == (1000.0, 1030.0)
    now[0] = 1029.9
    client.ask(TOKEN, TRAVEL, SECONDS)
    assert endpoint.fetches == 1
    now[0] = 1030.0
    assert client.get(TOKEN) is None
    client.ask(TOKEN, TRAVEL, SECONDS)
    assert endpoint.fetches == 2


def test_equal_questions_share_a_call(endpoint: ScriptedServer) -> None:
    """Twenty who ask about a token at once cause one call; another token causes its own."""
    gate = threading.Event()
    endpoint.serve(held(gate, YES))
    counted: list[tuple[str, bool]] = []
    client = client_of(endpoint, counted)
    with ThreadPoolExecutor(21) as pool:
        same = [pool.submit(client.ask, TOKEN, f"{n}", SECONDS) for n in range(20)]
        wait_until(lambda: len(counted) == 19)
        other = pool.submit(client.ask, "other", TRAVEL, SECONDS)
        wait_until(lambda: endpoint.fetches == 2)
        gate.set()
        for one in [*same, other]:
            one.result(SECONDS)
    assert endpoint.fetches == 2
    assert sorted(counted) == [("active", False)] * 2 + [("shared", True)] * 19
    assert client.calls == 0


def test_who_leaves_first_harms_nobody(endpoint: ScriptedServer) -> None:
    """The one whose question began the call may leave; the answer is kept for the others."""
    gate = threading.Event()
    endpoint.serve(held(gate, NO))
    client = client_of(endpoint)
    with pytest.raises(IntrospectionError, match="in time"):
        client.ask(TOKEN, TRAVEL, 0.01)
    gate.set()
    wait_until(lambda: client.get(TOKEN) is not None)
    assert not client.is_cut_off


@pytest.mark.parametrize(
    ("behaviour", "is_failure"),
    [
        (says("", 500), True),
        (says("", 429), True),
        (says("", 401), True),
        (says("", 403), True),
        (says("", 404), True),
        (says("", 400), False),
        (says("{}"), False),
        (says(f'{{"active":true,"sub":"{"a" * MAX_ANSWER_BYTES}"}}'), False),
        (answer(b"<html>", 200, "text/html"), True),
        (NO, False),
    ],
    ids=["500", "429", "401", "403", "404", "400", "odd", "large", "html", "no"],
)
def test_what_counts_against_it(
    endpoint: ScriptedServer, behaviour: Behaviour, *, is_failure: bool
) -> None:
    """A server that fails or refuses us is left alone; a token that it refuses changes nothing."""
    endpoint.serve(behaviour)
    client = client_of(endpoint)
    for number in range(BREAKER_FAILURES):
        try:
            client.ask(f"{TOKEN}{number}", TRAVEL, SECONDS)
        except IntrospectionError:
            assert behaviour is not NO
    assert client.is_cut_off == is_failure


def test_cut_off_and_back(endpoint: ScriptedServer) -> None:
    """After so many failures nobody asks; after a pause one question tries."""
    endpoint.serve(says("", 503))
    counted: list[tuple[str, bool]] = []
    client = client_of(endpoint, counted)
    for _ in range(BREAKER_FAILURES + 1):
        with pytest.raises(IntrospectionError):
            client.ask(TOKEN, TRAVEL, SECONDS)
    assert endpoint.fetches == BREAKER_FAILURES
    endpoint.serve(YES)
    breaker = client._breakers._failing[TRAVEL]
    assert breaker._probe_at is not None
    breaker._probe_at -= BREAKER_PAUSE_SECONDS
    client.ask(TOKEN, TRAVEL, SECONDS)
    assert not client.is_cut_off
    results = [("failure", False)] * BREAKER_FAILURES + [("cut_off", True), ("active", False)]
    assert counted == results
    assert {result for result, _ in counted} < set(IntrospectionResult)


def test_an_issuer_that_is_not_configured() -> None:
    """Nobody is asked, and nothing is found."""
    introspections = Introspections(KeyStore({}))
    assert introspections.get(ISSUER, TOKEN) is None
    assert not introspections.ask(IntrospectionNeeded(ISSUER, TOKEN, TRAVEL), SECONDS)
    assert introspections.status() == ()


# Credentials


def pem(algorithm: str, password: bytes | None = None) -> bytes:
    """A new private key in PEM."""
    how = NoEncryption() if password is None else BestAvailableEncryption(password)
    return make_key(algorithm).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def credential(**more: Any) -> Credential:
    """Read the credential of these settings."""
    asked = {"url": "https://as.example/introspect", "client_id": "authz", **more}
    return Credential.read(IntrospectionSettings.model_validate(asked), ISSUER)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "PS256", "EdDSA"])
def test_assertions(tmp_path: Path, algorithm: str) -> None:
    """Each is short and of its own, by the key, for the issuer (RFC 7523 section 3)."""
    key = make_key(algorithm)
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    given = {"key_file": str(path), "algorithm": algorithm, "key_id": "k1"}
    made = credential(private_key_jwt=given)
    first, second = (made.parameters()["client_assertion"] for _ in range(2))
    claims = [
        jwt.decode(text, key.public_key(), [algorithm], audience=ISSUER) for text in (first, second)
    ]
    assert jwt.get_unverified_header(first)["kid"] == "k1"
    assert {claims[0]["iss"], claims[0]["sub"]} == {"authz"}
    assert claims[0]["exp"] - claims[0]["iat"] == ASSERTION_SECONDS
    assert claims[0]["jti"] != claims[1]["jti"]
    assert first not in repr(made)


@pytest.mark.parametrize(
    ("data", "algorithm", "words"),
    [
        (b"no key", "ES256", "must hold a private key in PEM"),
        (pem("ES256", b"password"), "ES256", "not encrypted"),
        (pem("RS256"), "ES256", "no key for ES256"),
        (pem("ES256"), "RS256", "no key for RS256"),
        (pem("ES384"), "ES256", "no key for ES256"),
        (pem("ES256"), "EdDSA", "no key for EdDSA"),
    ],
    ids=["text", "encrypted", "rsa-ec", "ec-rsa", "curve", "ec-okp"],
)
def test_unusable_keys(tmp_path: Path, data: bytes, algorithm: str, words: str) -> None:
    """A key that can't sign so is told before anything is asked."""
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    with pytest.raises(CredentialError, match=words):
        credential(private_key_jwt={"key_file": str(path), "algorithm": algorithm})


@pytest.mark.parametrize("data", [b"", b"\n", b"a\x00b", "ä".encode(), b"x" * 5000, b"a\nb"])
def test_unusable_secrets(tmp_path: Path, data: bytes) -> None:
    """A file that holds no secret is told, without a part of it."""
    path = tmp_path / "secret"
    path.write_bytes(data)
    with pytest.raises(CredentialError, match="client_secret_file"):
        credential(client_secret_file=str(path))


def test_unusable_certificates(tmp_path: Path) -> None:
    """A certificate needs its own key, and both have to be there."""
    authority = Authority(tmp_path / "pki")
    one, other = authority.issue(TRAVEL), authority.issue(TRAVEL)
    for key in (other.key_path, tmp_path / "missing", one.certificate_path):
        tls = {"certificate": str(one.certificate_path), "private_key": str(key)}
        with pytest.raises(CredentialError, match="tls"):
            credential(tls=tls)
    assert credential(
        tls={"certificate": str(one.certificate_path), "private_key": str(one.key_path)}
    ).parameters() == {"client_id": "authz"}


def test_a_context_is_made_anew_for_other_files_alone(tmp_path: Path) -> None:
    """Each question shows the certificate as it is now, and costs no look at all CAs."""
    authority = Authority(tmp_path / "pki")
    one, other = authority.issue(TRAVEL), authority.issue(TRAVEL)
    tls = {"certificate": str(one.certificate_path), "private_key": str(one.key_path)}
    made = credential(tls=tls)
    first = made.context()
    assert first is not None
    assert made.context() is not first  # written just now: the next write may leave the same times
    wait_until(lambda: made.context() is made.context())
    settled = made.context()

    other.certificate_path.rename(one.certificate_path)
    with pytest.raises(FetchError, match="does not belong to the certificate"):
        made.context()
    other.key_path.rename(one.key_path)
    assert made.context() is not settled
    one.key_path.unlink()
    with pytest.raises(FetchError, match="can't be read"):
        made.context()
