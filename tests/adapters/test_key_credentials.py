"""Keys that are not public: fetched with a bearer token or a certificate, which go nowhere else."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from authz.adapters.fetched import FetchError
from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.sources import key_document_source
from authz.adapters.keys.store import KeyStore
from authz.core.jose import KeySettings
from lab.ca import Authority, Svid
from support.jwks_server import Behaviour, ScriptedServer, answer, demanding, ec_key, key_set
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until as until

ISSUER = "https://as.example"
OLD, NEW = ec_key("old"), ec_key("new")
TOKEN, OTHER = "t0ken-of-the-pod", "an0ther-token"
OPENID = "/.well-known/openid-configuration"


@dataclass
class Cluster:
    """A server over TLS, and what a client needs to be answered; ``settings`` names it."""

    folder: Path
    authority: Authority
    servers: list[ScriptedServer] = field(default_factory=list)

    def server(self, behaviour: Behaviour | None = None, *, mutual: bool = False) -> ScriptedServer:
        """Return a server of the authority; ``mutual``: for clients with its certificate alone."""
        tls, client_ca = self.authority.issue(dns=("localhost",)), self.authority.path
        server = ScriptedServer(behaviour, tls, client_ca if mutual else None)
        self.servers.append(server)
        return server

    def settings(self, **changes: Any) -> KeySettings:
        """Settings that trust the authority."""
        return KeySettings.model_validate(
            {"ca_file": str(self.authority.path), "timeout": SECONDS, **changes}
        )

    def token(self, text: str = TOKEN) -> str:
        """Put a token in place of the one before, as a kubelet does, and return its path."""
        path, fresh = self.folder / "token", self.folder / "token.new"
        fresh.write_text(f"{text}\n")
        fresh.rename(path)
        return str(path)

    def certificate(self, svid: Svid) -> dict[str, str]:
        """Put a certificate and its key in place of those before, and return their paths."""
        places = {"certificate": svid.certificate_path, "private_key": svid.key_path}
        for name, path in places.items():
            (self.folder / name).write_bytes(path.read_bytes())
        return {name: str(self.folder / name) for name in places}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster's authority, without a server yet."""
    made = Cluster(tmp_path, Authority(tmp_path / "ca"))
    yield made
    for server in made.servers:
        server.close()


def fetched(given: KeySettings, issuer: str = ISSUER) -> bytes:
    """The issuer's document."""
    return key_document_source(given, issuer).fetch().body


def failure(given: KeySettings, issuer: str = ISSUER) -> str:
    """Why there is none, without the token."""
    with pytest.raises(FetchError) as caught:
        fetched(given, issuer)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def tokens(server: ScriptedServer) -> list[str | None]:
    """What the server was shown."""
    return [headers.get("authorization") for _, headers in server.requests]


def metadata(issuer: str, jwks_uri: str) -> Behaviour:
    """A metadata document."""
    return answer(json.dumps({"issuer": issuer, "jwks_uri": jwks_uri}).encode())


def test_a_token(cluster: Cluster) -> None:
    """The token is sent with each fetch, as its file is then."""
    server = cluster.server(demanding(TOKEN, answer(b"{}")))
    source = key_document_source(
        cluster.settings(jwks_uri=server.url, token_file=cluster.token()), ISSUER
    )
    assert source.fetch().body == b"{}"
    server.serve(demanding(OTHER, answer(b'{"keys":[]}')))
    with pytest.raises(FetchError, match="status 401: it does not accept the token_file"):
        source.fetch()
    cluster.token(OTHER)

    assert source.fetch().body == b'{"keys":[]}'


@pytest.mark.parametrize("status", [401, 403])
def test_without_a_token(cluster: Cluster, status: int) -> None:
    """Keys that ask for a token are told to do so."""
    server = cluster.server(answer(b"", status))
    told = failure(cluster.settings(jwks_uri=server.url))

    assert told == f"status {status}: it may ask for a token_file or tls under keys"


@pytest.mark.parametrize("is_named", [False, True])
def test_discovery(cluster: Cluster, is_named: bool) -> None:  # noqa: FBT001 - a table
    """The token is sent for the metadata, and for keys of the same origin."""
    server = cluster.server(demanding(TOKEN, answer(b'{"keys":[]}')))
    issuer = ISSUER if is_named else server.base
    place = {"discovery_url": f"{server.base}{OPENID}"} if is_named else {"discovery": True}
    server.paths[OPENID] = demanding(TOKEN, metadata(issuer, server.url))

    assert fetched(cluster.settings(token_file=cluster.token(), **place), issuer) == b'{"keys":[]}'
    assert tokens(server) == [f"Bearer {TOKEN}"] * 2


def test_both_places_of_metadata(cluster: Cluster) -> None:
    """The token is sent for the metadata of RFC 8414 as well, which is of the same origin."""
    server = cluster.server(demanding(TOKEN, answer(b"{}")))
    server.paths["/.well-known/oauth-authorization-server"] = demanding(
        TOKEN, metadata(server.base, server.url)
    )

    assert fetched(cluster.settings(discovery=True, token_file=cluster.token()), server.base)
    assert tokens(server) == [f"Bearer {TOKEN}"] * 3


@pytest.mark.parametrize("is_named", [False, True])
def test_another_origin(cluster: Cluster, is_named: bool) -> None:  # noqa: FBT001 - a table
    """Keys that the metadata put on another origin are fetched without the token."""
    server, elsewhere = cluster.server(), cluster.server(answer(b"{}"))
    issuer = ISSUER if is_named else server.base
    place = {"discovery_url": f"{server.base}{OPENID}"} if is_named else {"discovery": True}
    server.paths[OPENID] = metadata(issuer, elsewhere.url)
    given = cluster.settings(token_file=cluster.token(), **place)

    assert fetched(given, issuer) == b"{}"
    assert tokens(elsewhere) == [None]
    elsewhere.serve(demanding(TOKEN, answer(b"{}")))
    assert "not for this origin" in failure(given, issuer)
    assert "set jwks_uri" in failure(given, issuer)


def test_a_certificate_for_another_origin(cluster: Cluster) -> None:
    """A certificate is not shown to another origin either."""
    server, elsewhere = cluster.server(mutual=True), cluster.server(answer(b"{}"), mutual=True)
    server.paths[OPENID] = metadata(server.base, elsewhere.url)
    given = cluster.settings(discovery=True, tls=cluster.certificate(cluster.authority.issue()))

    assert failure(given, server.base)
    assert [path for path, _ in server.requests] == [OPENID]
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects(cluster: Cluster, status: int) -> None:
    """A redirect takes the token nowhere."""
    elsewhere = cluster.server(answer(b"{}"))
    server = cluster.server(answer(b"", status, headers={"location": elsewhere.url}))
    given = cluster.settings(jwks_uri=server.url, token_file=cluster.token())

    assert (
        failure(given)
        == f"status {status}: redirects are not followed: name the URL that it leads to"
    )
    assert elsewhere.requests == []


def test_a_server_that_can_not_prove_itself(cluster: Cluster) -> None:
    """A server without a certificate of the trusted CA is sent no token."""
    server = cluster.server(answer(b"{}"))
    given = cluster.settings(jwks_uri=server.url, token_file=cluster.token(), ca_file=None)

    assert "certificate" in failure(given)
    assert server.requests == []


def test_never_in_plain_text(cluster: Cluster) -> None:
    """An issuer on plain http is sent neither a token nor a request, insecure or not."""
    server = ScriptedServer(answer(b"{}"))
    cluster.servers.append(server)
    given = cluster.settings(discovery=True, insecure=True, token_file=cluster.token())

    assert failure(given, server.base) == "token_file is only sent over https"
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "token_file can't be read: No such file"),
        ("", "token_file must hold a bearer token"),
        (f"{TOKEN} {TOKEN}", "token_file must hold a bearer token"),
        (f"{TOKEN}\r\nx: y", "token_file must hold a bearer token"),
        (f"{TOKEN}é", "token_file must hold a bearer token"),
        (f"{TOKEN}\0", "token_file must hold a bearer token"),
        ("x" * 70_000, "token_file must hold a bearer token"),
    ],
    ids=["missing", "empty", "two words", "two lines", "no ASCII", "a null", "too long"],
)
def test_no_token(cluster: Cluster, content: str | None, why: str) -> None:
    """A file that holds no token is an error without its text, and nothing is asked."""
    server = cluster.server(answer(b"{}"))
    path = cluster.folder / "token"
    if content is not None:
        path.write_text(content)

    assert failure(cluster.settings(jwks_uri=server.url, token_file=str(path))).startswith(why)
    assert server.requests == []


def test_a_certificate(cluster: Cluster, tmp_path: Path) -> None:
    """A server that asks for a certificate gets ours, as its files are at each fetch."""
    server = cluster.server(answer(b"{}"), mutual=True)
    stranger = Authority(tmp_path / "stranger").issue()
    given = cluster.settings(jwks_uri=server.url, tls=cluster.certificate(stranger))
    source = key_document_source(given, ISSUER)

    with pytest.raises(FetchError):
        source.fetch()
    cluster.certificate(cluster.authority.issue())
    assert source.fetch().body == b"{}"
    without = failure(cluster.settings(jwks_uri=server.url))
    assert "it may ask for a certificate" in without or "CERTIFICATE_REQUIRED" in without


def test_a_token_and_a_certificate(cluster: Cluster) -> None:
    """Both can be demanded at once."""
    server = cluster.server(demanding(TOKEN, answer(b"{}")), mutual=True)
    tls = cluster.certificate(cluster.authority.issue())
    given = cluster.settings(jwks_uri=server.url, tls=tls, token_file=cluster.token())

    assert fetched(given) == b"{}"


def swapped(cluster: Cluster) -> None:
    """Put another key beside the certificate, as a renewal that is half done."""
    other = cluster.authority.issue()
    (cluster.folder / "private_key").write_bytes(other.key_path.read_bytes())


def encrypted(cluster: Cluster) -> None:
    """Give the key a passphrase."""
    path = cluster.folder / "private_key"
    key = load_pem_private_key(path.read_bytes(), None)
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"phrase"))
    path.write_bytes(key.private_bytes(*form))


def a_pipe(cluster: Cluster) -> None:
    """Put a pipe in the key's place, which nobody writes to."""
    (cluster.folder / "private_key").unlink()
    os.mkfifo(cluster.folder / "private_key")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (swapped, "private_key does not belong to the certificate in "),
        (encrypted, "holds an encrypted private key, not a private key: decrypt it"),
        (a_pipe, "private_key can't be read: it is not a plain file"),
        (lambda cluster: (cluster.folder / "private_key").unlink(), "can't be read: No such file"),
        (
            lambda cluster: (cluster.folder / "certificate").write_text("x"),
            "holds no PEM, not a certificate",
        ),
        (
            lambda cluster: (cluster.folder / "private_key").write_text(""),
            "holds nothing, not a private key",
        ),
    ],
    ids=["of another", "encrypted", "a pipe", "missing", "no certificate", "an empty key"],
)
def test_no_certificate(cluster: Cluster, spoil: Callable[[Cluster], None], why: str) -> None:
    """Files that are no pair of certificate and key are an error, and nothing is asked."""
    server = cluster.server(answer(b"{}"), mutual=True)
    given = cluster.settings(
        jwks_uri=server.url, tls=cluster.certificate(cluster.authority.issue())
    )
    spoil(cluster)

    told = failure(given)
    assert told.startswith("tls: ")
    assert why in told
    assert server.requests == []


@contextmanager
def running(given: KeySettings) -> Iterator[KeyStore]:
    """A store of that source, which fetches all the time."""
    often = given.model_copy(update={"refresh": 0.05, "cooldown": 0.05})
    store = KeyStore({ISSUER: KeySourceConfig(often, frozenset({"ES256"}))})
    store.start()
    try:
        until(lambda: store.get(ISSUER))
        yield store
    finally:
        store.close()


def test_a_token_that_is_refused(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """While the token is wrong the last valid keys stay; the log says why; a new one mends it."""
    caplog.set_level(logging.DEBUG)
    server = cluster.server(demanding(TOKEN, answer(key_set(OLD))))
    with running(cluster.settings(jwks_uri=server.url, token_file=cluster.token())) as store:
        server.serve(demanding(OTHER, answer(key_set(NEW))))
        until(lambda: store.status()[0].failures)
        keys = store.get(ISSUER)
        assert keys is not None
        assert set(keys.keys) == {"old"}
        assert "the last valid keys stay: status 401: it does not accept the token_file" in (
            caplog.text
        )
        cluster.token(OTHER)
        until(lambda: (now := store.get(ISSUER)) and set(now.keys) == {"new"})
        until(lambda: not store.status()[0].last_error)
    assert not {TOKEN, OTHER} & set(caplog.text.split())
    assert TOKEN not in caplog.text
    assert OTHER not in caplog.text


PLACE: dict[str, Any] = {"jwks_uri": "https://a/", "ca_file": "ca"}
PAIR = {"certificate": "c", "private_key": "k"}


def test_place() -> None:
    """Keys fetched with another credential, or by other metadata, are of another place."""
    others = (
        PLACE,
        PLACE | {"token_file": "t"},
        PLACE | {"token_file": "u"},
        PLACE | {"tls": PAIR},
        PLACE | {"tls": PAIR | {"private_key": "l"}},
        {"discovery_url": "https://a/", "ca_file": "ca"},
        {"discovery_url": "https://b/", "ca_file": "ca"},
    )
    places = [KeySettings.model_validate(other) for other in others]

    assert len({place.place_digest for place in places}) == len(others)
    for at, place in enumerate(places):
        assert [place.place == other.place for other in places].index(True) == at


@pytest.mark.parametrize(
    ("values", "at", "words"),
    [
        ({"file": "a", "token_file": "t"}, "token_file", "only for keys from jwks_uri"),
        ({"file": "a", "tls": PAIR}, "tls", "only for keys from jwks_uri"),
        (
            {"spiffe_bundle": {"trust_domain": "a.example", "file": "b"}, "token_file": "t"},
            "token_file",
            "only for keys from jwks_uri",
        ),
        ({"jwks_uri": "http://a/", "token_file": "t"}, "jwks_uri", "use https"),
        (
            {"jwks_uri": "http://a/", "insecure": True, "token_file": "t"},
            "token_file",
            "only sent over https",
        ),
        ({"discovery_url": "http://a/", "insecure": True, "tls": PAIR}, "tls", "only sent over"),
        ({"discovery_url": "http://a/"}, "discovery_url", "use https, or set insecure: true"),
    ],
    ids=str,
)
def test_settings_refused(values: dict[str, Any], at: str, words: str) -> None:
    """A credential that could not be sent, or could be read on its way, is an error at its key."""
    with pytest.raises(ValidationError, match=words) as caught:
        KeySettings.model_validate(values)

    (error,) = caught.value.errors()
    assert error["ctx"]["error"].place == (at,)


@pytest.mark.parametrize(
    "values",
    [
        {"discovery_url": "https://a/", "discovery": True},
        {"discovery_url": "https://a/", "jwks_uri": "https://a/"},
        {"discovery_url": "https://a/", "file": "a"},
        {"discovery_url": "ftp://a/"},
        {"discovery_url": "https://u:p@a/"},
        {"jwks_uri": "https://a/", "token_file": ""},
        {"jwks_uri": "https://a/", "tls": {"certificate": "c"}},
        {"jwks_uri": "https://a/", "tls": {}},
    ],
    ids=str,
)
def test_half_settings(values: dict[str, Any]) -> None:
    """Two places, half a certificate and no URL are errors."""
    with pytest.raises(ValidationError):
        KeySettings.model_validate(values)
