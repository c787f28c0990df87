"""Issuers' keys: which are used, how they are fetched, what happens when that fails."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.keys import Key, KeySettings, KeySource, KeyStore, KeyVerifyError
from authz.keys.fetch import FetchError, fetch
from authz.keys.jwk import KeySetError, parse_key_set
from lab.ca import Authority
from lab.issuer import Issuer, JwksServer, SigningKey, make_key

ALL = frozenset({"ES256", "ES384", "RS256", "PS256", "Ed25519"})
URL = "https://as.example"


def jwk(algorithm: str = "ES256", **changes: Any) -> dict[str, Any]:
    """A public JWK, with changes; None leaves a member out."""
    members = SigningKey("k", algorithm, make_key(algorithm)).jwk() | changes
    return {name: value for name, value in members.items() if value is not None}


def refusal(key: dict[str, Any]) -> str:
    """Why a key is refused, in a set with a good one."""
    document = json.dumps({"keys": [key, jwk(kid="good")]}).encode()
    keys, refused = parse_key_set(document, ALL)
    assert set(keys) == {"good"}
    return refused[0][1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kid": None}, "kid"),
        ({"kid": 7}, "kid"),
        ({"kid": "k" * 300}, "kid"),
        ({"kty": "oct", "k": "AAAA"}, "symmetric"),
        ({"d": "AAAA"}, "private"),
        ({"use": "enc"}, "use"),
        ({"key_ops": ["sign"]}, "key_ops"),
        ({"key_ops": "verify"}, "key_ops"),
        ({"alg": "ES512"}, "algorithms"),
        ({"alg": "HS256"}, "algorithms"),
        ({"crv": "secp256k1"}, "curve"),
        ({"kty": "XX"}, "kind"),
        ({"x": "AAAA"}, "numbers"),
        ({"x": None}, "numbers"),
        ({"y": 5}, "numbers"),
    ],
)
def test_unusable_key(changes: dict[str, Any], why: str) -> None:
    """A key that can't be used is named with its fault, and spoils no other."""
    assert why in refusal(jwk(**changes))


def test_weak_rsa() -> None:
    """RSA below 2048 bits is not used."""
    weak = SigningKey("k", "RS256", rsa.generate_private_key(65537, 1024)).jwk()

    assert "1024" in refusal(weak)
    assert "exponent" in refusal(jwk("RS256", e="Aw"))


def test_doubled_kid() -> None:
    """Two keys of one kid are both refused."""
    document = json.dumps({"keys": [jwk(), jwk(), jwk(kid="good")]}).encode()
    keys, refused = parse_key_set(document, ALL)

    assert set(keys) == {"good"}
    assert len(refused) == 2


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"keys":[]}',
        b'{"keys":{}}',
        b'{"keys":[1,"a",null]}',
        b"<html>",
        b'{"keys":[],"keys":[]}',
        json.dumps({"keys": [{}] * 101}).encode(),
        b" " * (256 * 1024 + 1),
    ],
)
def test_no_key_set(document: bytes) -> None:
    """A document without a usable key is refused as a whole."""
    with pytest.raises(KeySetError):
        parse_key_set(document, ALL)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["keys", "kty", "kid", "crv", "x", "y", "n", "e"]), inner),
    max_leaves=10,
))  # fmt: skip
def test_any_key_set(document: Any) -> None:
    """Any JSON is a key set or refused, and nothing else comes out."""
    with pytest.raises(KeySetError):
        parse_key_set(json.dumps({"keys": document}).encode(), ALL)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "PS256", "Ed25519"])
def test_verify(algorithm: str) -> None:
    """A key verifies what its private half signed, with its own algorithm only."""
    private = SigningKey("k", algorithm, make_key(algorithm))
    key = parse_key_set(json.dumps({"keys": [private.jwk()]}).encode(), ALL)[0]["k"]
    signature = private.sign(b"data")

    key.verify(algorithm, b"data", signature)
    for wrong in ("none", "HS256", "ES512"):
        with pytest.raises(KeyVerifyError):
            key.verify(wrong, b"data", signature)
    for data, bad in ((b"other", signature), (b"data", signature[:-1]), (b"data", b"")):
        with pytest.raises(KeyVerifyError):
            key.verify(algorithm, data, bad)


@pytest.fixture
def server() -> Iterator[JwksServer]:
    """A key server with one issuer."""
    running = JwksServer(Issuer(URL, "aud"))
    yield running
    running.close()


def settings(server: JwksServer, **changes: Any) -> KeySettings:
    """Settings that fetch from the server, quickly."""
    values: dict[str, Any] = {
        "jwks_uri": f"{server.url}/jwks",
        "insecure": True,
        "cooldown": 1.0,
        "timeout": 0.5,
    }
    return KeySettings(**(values | changes))


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"status": 404}, "404"),
        ({"status": 500}, "500"),
        ({"status": 204}, "204"),
        ({"status": 302, "headers": {"location": "http://127.0.0.1:1/"}}, "302"),
        ({"body": b"x" * 300_000}, "larger"),
        ({"headers": {"content-encoding": "gzip"}}, "content-encoding"),
        ({"delay_seconds": 0.8}, "Timeout"),
    ],
)
def test_fetch_faults(server: JwksServer, fault: dict[str, Any], why: str) -> None:
    """An endpoint that misbehaves is an error with a short reason, in bounded time."""
    for name, value in fault.items():
        setattr(server.faults, name, value)
    begun = time.monotonic()
    with pytest.raises(FetchError, match=why):
        fetch(settings(server))

    assert time.monotonic() - begun < 1.2


def test_fetch_drip() -> None:
    """A body that comes byte by byte ends at the total deadline."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            for _ in range(40):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks"
    begun = time.monotonic()
    with pytest.raises(FetchError, match="too long"):
        fetch(KeySettings(jwks_uri=url, insecure=True, timeout=0.4))
    assert time.monotonic() - begun < 1.0
    thread.join()
    listener.close()


def test_fetch_unreachable() -> None:
    """A refused connection and an unknown name are errors."""
    for url in ("http://127.0.0.1:1/jwks", "http://no-such-host.invalid/jwks"):
        with pytest.raises(FetchError):
            fetch(KeySettings(jwks_uri=url, insecure=True, timeout=1.0))


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "224.0.0.1", "0.0.0.0"]
)
def test_fetch_refuses_metadata_addresses(host: str) -> None:
    """Addresses where no issuer is are not connected to."""
    with pytest.raises(FetchError, match="link-local"):
        fetch(KeySettings(jwks_uri=f"http://{host}/jwks", insecure=True))


def test_fetch_checks_certificates(tmp_path: Path) -> None:
    """HTTPS needs a certificate of the trusted CA, for the right name."""
    authority = Authority(tmp_path / "pki")
    server = JwksServer(Issuer(URL, "aud"))
    leaf = authority.issue(dns=("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.certificate_path, leaf.key_path)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    port = server._server.server_port
    good: dict[str, Any] = {"ca_file": str(authority.path), "timeout": 2.0}
    try:
        assert b"keys" in fetch(KeySettings(jwks_uri=f"https://localhost:{port}/jwks", **good))
        with pytest.raises(FetchError):
            fetch(KeySettings(jwks_uri=f"https://127.0.0.1:{port}/jwks", **good))
        with pytest.raises(FetchError):
            fetch(KeySettings(jwks_uri=f"https://localhost:{port}/jwks", timeout=2.0))
    finally:
        server.close()


def test_fetch_file(tmp_path: Path) -> None:
    """A file is read; one that is missing or huge is an error."""
    path = tmp_path / "jwks.json"
    with pytest.raises(FetchError, match="No such file"):
        fetch(KeySettings(file=str(path)))
    path.write_bytes(b"{}")
    assert fetch(KeySettings(file=str(path))) == b"{}"
    path.write_bytes(b" " * 300_000)
    with pytest.raises(FetchError, match="larger"):
        fetch(KeySettings(file=str(path)))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"jwks_uri": "https://a/", "file": "b"},
        {"jwks_uri": "http://a/"},
        {"jwks_uri": "HTTP://a/"},
        {"jwks_uri": "ftp://a/"},
        {"jwks_uri": "https://u:p@a/"},
        {"jwks_uri": "https:///x"},
        {"jwks_uri": "https://a/", "cooldown": 0.5},
    ],
)
def test_settings_refused(values: dict[str, Any]) -> None:
    """Settings that name no source, two, or an unsafe one are errors."""
    with pytest.raises(ValidationError):
        KeySettings(**values)


def store_of(server: JwksServer, **changes: Any) -> KeyStore:
    """A started store with one issuer, once it has its keys."""
    store = KeyStore({URL: KeySource(settings(server, **changes), ALL)})
    store.start()
    end = time.monotonic() + 3
    while not store.ready() and time.monotonic() < end:
        time.sleep(0.005)
    return store


def test_rotation_on_first_use(server: JwksServer) -> None:
    """A key that was just published is known after one refresh."""
    assert server.issuer
    store = store_of(server)
    time.sleep(1.0)
    key = server.issuer.rotate()

    assert store.refresh(URL, key.key_id, 1.0)
    assert server.fetches == 2
    store.close()


def test_single_flight_and_cooldown(server: JwksServer) -> None:
    """Twenty who miss a key cause one fetch; a thousand more within the cooldown none."""
    store = store_of(server)
    time.sleep(1.0)
    server.faults.delay_seconds = 0.2
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(store.refresh(URL, f"no-{n}", 1.0)))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begun = time.monotonic()
    for number in range(1000):
        assert not store.refresh(URL, f"never-{number}", 1.0)

    assert results == [False] * 20
    assert server.fetches == 2
    assert time.monotonic() - begun < 0.7
    store.close()


def test_known_keys_never_wait(server: JwksServer) -> None:
    """While a fetch hangs, known keys are there at once."""
    store = store_of(server, timeout=2.0)
    time.sleep(1.0)
    server.faults.delay_seconds = 1.0
    thread = threading.Thread(target=store.refresh, args=(URL, "new", 2.0))
    thread.start()
    time.sleep(0.05)
    begun = time.perf_counter()
    for _ in range(1000):
        assert store.get(URL) is not None

    assert time.perf_counter() - begun < 0.1
    thread.join()
    store.close()


@pytest.mark.parametrize("body", [b"", b"{}", b'{"keys":[]}', b"<html>", b"\xff"])
def test_last_good_keys_are_kept(server: JwksServer, body: bytes) -> None:
    """Garbage, an empty set included, replaces nothing, and is reported."""
    store = store_of(server)
    before = store.get(URL)
    time.sleep(1.0)
    server.faults.body = body
    store.refresh(URL, "new", 1.0)
    status = store.status()[0]

    assert store.get(URL) is before
    assert (status.successes, status.failures) == (1, 1)
    assert status.last_error
    store.close()


def test_generation_changes_with_the_keys_only(server: JwksServer) -> None:
    """A fetch that confirms the keys changes their age, and nothing for caches."""
    assert server.issuer
    store = store_of(server, refresh=1.0)
    generation, first = store.generation, store.get(URL)
    time.sleep(1.3)
    again = store.get(URL)
    assert first
    assert again
    assert store.generation == generation
    assert again.fetched_at > first.fetched_at
    server.issuer.rotate()
    time.sleep(1.3)

    assert store.generation == generation + 1
    store.close()


def test_file_changes_are_seen(tmp_path: Path) -> None:
    """A key file that changes is read anew within about a second."""
    issuer = Issuer(URL, "aud")
    path = tmp_path / "jwks.json"
    path.write_bytes(issuer.jwks())
    store = KeyStore({URL: KeySource(KeySettings(file=str(path)), ALL)})
    store.start()
    time.sleep(0.2)
    issuer.rotate()
    path.write_bytes(issuer.jwks())
    time.sleep(1.5)
    known = store.get(URL)

    assert known
    assert len(known.keys) == 2
    store.close()


def test_reconfigure(server: JwksServer) -> None:
    """Sources that stay keep their keys; one that goes is forgotten; a new one is fetched."""
    store = store_of(server)
    source = KeySource(settings(server), ALL)
    kept = store.get(URL)
    store.reconfigure({URL: source, "https://new.example": source})
    assert store.get(URL) is kept
    assert not store.ready() or store.get("https://new.example")
    time.sleep(0.3)
    assert store.ready()
    store.reconfigure({"https://new.example": source})
    assert store.get(URL) is None
    assert not store.refresh(URL, "k", 0.1)
    store.close()


def test_key_repr_has_no_secret() -> None:
    """A key is public; its fields are what is documented."""
    keys, _ = parse_key_set(json.dumps({"keys": [jwk()]}).encode(), ALL)

    assert isinstance(keys["k"], Key)
    assert keys["k"].algorithms == {"ES256"}
