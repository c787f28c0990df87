"""Getting key documents from endpoints that answer well, badly, slowly or not at all."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from authz.adapters import http_connection
from authz.adapters.fetched import FetchedDocument, FetchError
from authz.adapters.http_connection import HttpServer, is_refused_address
from authz.adapters.keys.sources import key_document_source, metadata_urls
from authz.core.jose import KeySettings
from lab.ca import Authority
from support.jwks_server import Behaviour, ScriptedServer, answer, ec_key, held, raw
from support.world import PATIENCE_SECONDS as SECONDS

ISSUER = "https://as.example"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
SECRET = b"s3cret-in-the-body"


def fetch(given: KeySettings, issuer: str) -> FetchedDocument:
    """The issuer's document."""
    return key_document_source(given, issuer).fetch()


def numbered(*cases: tuple[Any, str]) -> list[Any]:
    """Cases with ids of their own, which what they expect alone would not give."""
    return [pytest.param(*case, id=f"{at} {case[1]}") for at, case in enumerate(cases)]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers with a small document."""
    running = ScriptedServer(answer(b'{"keys":[]}'))
    yield running
    running.close()


def settings(server: ScriptedServer, **changes: Any) -> KeySettings:
    """Settings that fetch from the server; None leaves one out."""
    values: dict[str, Any] = {
        "jwks_uri": server.url,
        "insecure": True,
        "timeout": SECONDS,
        **changes,
    }
    return KeySettings(**{name: value for name, value in values.items() if value is not None})


def failure(given: KeySettings, issuer: str = ISSUER) -> str:
    """Why the document can't be had."""
    with pytest.raises(FetchError) as caught:
        fetch(given, issuer)

    assert SECRET.decode() not in str(caught.value)
    assert len(str(caught.value)) < 200
    return str(caught.value)


def test_request(server: ScriptedServer) -> None:
    """One plain GET that asks for JSON, unpacked, of the configured host."""
    server.paths["/a/jwks?x=1"] = answer(b"{}")
    url = f"http://localhost:{server.port}/a/jwks?x=1"
    fetched = fetch(settings(server, jwks_uri=url), ISSUER)
    ((path, head),) = server.requests

    assert fetched.body == b"{}"
    assert path == "/a/jwks?x=1"
    assert head["host"] == f"localhost:{server.port}"
    assert head["accept"] == "application/jwk-set+json, application/json"
    assert head["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & set(head)


def test_ways_of_sending(server: ScriptedServer) -> None:
    """A body may come in chunks, in pieces, or end with the connection."""
    body = b'{"keys":[]}'
    for behaviour in (
        raw(HEAD, b"transfer-encoding: chunked\r\n\r\n", b'4\r\n{"ke\r\n7\r\nys":[]}\r\n0\r\n\r\n'),
        raw(HEAD, b"content-length: 11\r\n\r\n", body[:4], body[4:], pause_seconds=0.05),
        raw(HEAD, b"\r\n", body),
        answer(body, content_type="application/json; charset=utf-8"),
        answer(body, content_type="Application/JWK-Set+JSON"),
        answer(body, content_type="application/vnd.jwks+json"),
        answer(body, content_type=None),
        answer(body, headers={"content-encoding": "identity"}),
    ):
        server.serve(behaviour)
        assert fetch(settings(server), ISSUER).body == body


@pytest.mark.parametrize(
    ("behaviour", "why"),
    numbered(
        *[
            (answer(SECRET, status), f"status {status}")
            for status in (201, 304, 401, 404, 429, 500, 503)
        ],
        (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "status 204"),
        (answer(SECRET, content_type="text/html"), "content-type"),
        (answer(SECRET, content_type="text/plain"), "content-type"),
        (answer(SECRET, content_type="application/jsonp"), "content-type"),
        (answer(SECRET, headers={"content-encoding": "gzip"}), "content-encoding"),
        (answer(b"x" * (256 * 1024 + 1)), "larger"),
        (raw(HEAD, b"content-length: 99\r\n\r\n", SECRET), "Prot"),
        (raw(HEAD, b"transfer-encoding: chunked\r\n\r\n", b"zz\r\n", SECRET), "InvalidChunk|Prot"),
        (raw(SECRET), "BadStatusLine|Prot"),
        (raw(b""), "RemoteDisconnected|Prot"),
        (raw(HEAD, b"x: " + b"y" * 100_000 + b"\r\n\r\n"), "LineTooLong|Prot"),
        (raw(HEAD, b"x: y\r\n" * 1000, b"\r\n"), "HTTPException|Prot"),
    ),
)
def test_bad_answers(server: ScriptedServer, behaviour: Behaviour, why: str) -> None:
    """What is no good answer is an error of few words, with nothing of what came."""
    server.serve(behaviour)
    told = failure(settings(server))

    assert any(word in told for word in why.split("|")), told


def test_endless_body_is_left(server: ScriptedServer) -> None:
    """Of a body without an end no more is taken than a key set may have."""
    sent: list[int] = []

    def flood(handler: Any) -> None:
        handler.wfile.write(HEAD + b"\r\n")
        handler.close_connection = True
        while True:
            handler.wfile.write(b" " * 65536)
            sent.append(65536)

    server.serve(flood)

    assert "larger" in failure(settings(server))
    assert sum(sent) < 16 * 2**20  # the buffers of two sockets, not a stream


def test_a_head_that_can_not_be_read(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What it says, which may be what we sent, stays out of the log."""
    server.serve(raw(HEAD, b"x: y\r\n", SECRET, b"\r\n\r\n{}"))
    fetch(settings(server), ISSUER)

    assert SECRET.decode() not in caplog.text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: ScriptedServer, status: int) -> None:
    """A redirect is an error, wherever it leads."""
    server.paths["/else"] = answer(b'{"keys":[]}')
    server.serve(answer(b"", status, headers={"location": f"{server.base}/else"}))

    assert (
        failure(settings(server))
        == f"status {status}: redirects are not followed: name the URL that it leads to"
    )
    assert server.fetches == 1


def drip(part: bytes, *begin: bytes) -> Behaviour:
    """Send so little at a time, for far longer than a test may take."""
    return raw(*begin, *[part] * 10_000, pause_seconds=0.05)


@pytest.mark.parametrize(
    "behaviour",
    [
        drip(b" ", HEAD, b"content-length: 50000\r\n\r\n"),
        drip(b" ", HEAD, b"\r\n"),
        drip(b"H"),
        drip(b"y", HEAD, b"x: "),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"1\r\n \r\n", HEAD, b"transfer-encoding: chunked\r\n\r\n"),
    ],
    ids=["body", "open body", "status line", "head", "interim answers", "chunks"],
)
def test_drip(server: ScriptedServer, behaviour: Behaviour) -> None:
    """Whatever is sent byte by byte ends at the total deadline, though no read takes long."""
    server.serve(behaviour)

    assert "took too long" in failure(settings(server, timeout=0.3))


def test_silence(server: ScriptedServer) -> None:
    """A server that takes the request and says nothing ends at the deadline."""
    until = threading.Event()
    server.serve(held(until, answer()))

    assert "took too long" in failure(settings(server, timeout=0.3))
    until.set()


def test_tls_silence() -> None:
    """A port that takes connections and never speaks TLS ends at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/jwks"
        assert "took too long" in failure(KeySettings(jwks_uri=url, timeout=0.4))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:1/", "Connection refused"),
        ("http://no-such-host.invalid/", "can't look up the name"),
        (f"http://{'a' * 70}.invalid/", "can't look up the name: "),
    ],
)
def test_unreachable(url: str, why: str) -> None:
    """A refused connection and a name that leads nowhere are errors."""
    assert why in failure(KeySettings(jwks_uri=url, insecure=True, timeout=SECONDS))


def test_other_addresses_of_a_name_are_tried(server: ScriptedServer) -> None:
    """When nothing listens on a name's first address, the next one is taken, in the same time."""
    deadline = time.monotonic() + SECONDS
    addresses = ["127.0.0.2", "127.0.0.1"]
    there = HttpServer(urlsplit(server.url))
    connection = http_connection._connected(there, addresses, deadline)

    assert connection.sock.getpeername() == ("127.0.0.1", server.port)
    connection.close()


def test_proxies_of_the_environment_are_not_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No environment variable makes keys come from elsewhere."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert fetch(settings(server), ISSUER).body == b'{"keys":[]}'


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "224.0.0.1",
        "[ff02::1]",
        "0.0.0.0",
        "[::]",
        "2852039166",  # 169.254.169.254 as one number
        "0xa9.0xfe.0xa9.0xfe",
    ],
)
def test_metadata_addresses(host: str) -> None:
    """Addresses where no issuer is are not connected to, however they are written."""
    given = KeySettings(jwks_uri=f"http://{host}/jwks", insecure=True)

    assert "link-local" in failure(given)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd00::1", "::ffff:10.0.0.1", "1.1.1.1"],
)
def test_addresses_of_a_mesh(address: str) -> None:
    """Loopback and private addresses are where a mesh's issuers are."""
    assert not is_refused_address(address)


def test_any_address_when_told_so() -> None:
    """The setting that allows such addresses does: the refusal is the network's then."""
    given = KeySettings(
        jwks_uri="http://0.0.0.0:1/", insecure=True, allow_any_address=True, timeout=SECONDS
    )

    assert "refused" in failure(given)


def test_certificates(tmp_path: Path) -> None:
    """HTTPS needs a valid certificate of the trusted CA, for the right name."""
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    good: dict[str, Any] = {"ca_file": str(ours.path), "timeout": SECONDS, "insecure": False}
    cases = (
        (ours.issue(dns=("localhost",)), ""),
        (ours.issue(dns=("elsewhere.example",)), "certificate"),
        (ours.issue(dns=("localhost",), starts_in_seconds=-7200, lifetime_seconds=60), "expired"),
        (other.issue(dns=("localhost",)), "certificate"),
    )
    for leaf, why in cases:
        server = ScriptedServer(answer(b"{}"), tls=leaf)
        if why:
            assert why in failure(settings(server, **good))
            assert server.fetches == 0
        else:
            assert fetch(settings(server, **good), ISSUER).body == b"{}"
            assert "certificate" in failure(settings(server, **good | {"ca_file": None}))
        server.close()


def test_ca_file_that_is_none(server: ScriptedServer, tmp_path: Path) -> None:
    """A CA file that is missing or no PEM is named as the fault."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for path in (empty, tmp_path / "missing.pem"):
        url = server.url.replace("http:", "https:")
        assert "ca_file" in failure(KeySettings(jwks_uri=url, ca_file=str(path)))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("max-age=600", 600.0),
        ("public, Max-Age=60, must-revalidate", 60.0),
        ('max-age="5"', 5.0),
        ("max-age=0", 0.0),
        ("no-store", None),
        ("max-age=-5", None),
        ("max-age=abc", None),
        ("s-maxage=60", None),
        ("", None),
        ("max-age=" + "9" * 5000, None),
    ],
)
def test_cache_control(server: ScriptedServer, value: str, seconds: float | None) -> None:
    """max-age is read where it is a number, and nothing else is."""
    server.serve(answer(b"{}", headers={"cache-control": value}))

    assert fetch(settings(server), ISSUER).max_age_seconds == seconds


def test_metadata_urls() -> None:
    """Metadata is behind an issuer's path for OpenID, and before it for RFC 8414."""
    assert metadata_urls("https://as.example/t/1") == (
        "https://as.example/t/1/.well-known/openid-configuration",
        "https://as.example/.well-known/oauth-authorization-server/t/1",
    )
    assert metadata_urls("https://as.example:1/")[1] == (
        "https://as.example:1/.well-known/oauth-authorization-server"
    )


OPENID = "/t/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server/t"


def metadata(issuer: str, jwks_uri: object) -> Behaviour:
    """A metadata document."""
    return answer(json.dumps({"issuer": issuer, "jwks_uri": jwks_uri, "x": []}).encode())


def discovering(server: ScriptedServer, **changes: Any) -> KeySettings:
    """Settings that discover."""
    return settings(server, jwks_uri=None, discovery=True, **changes)


@pytest.mark.parametrize("path", [OPENID, OAUTH])
def test_discovery(server: ScriptedServer, path: str) -> None:
    """The keys are where the issuer's metadata says, in either of its places."""
    issuer = f"{server.base}/t"
    server.paths[path] = metadata(issuer, server.url)

    assert fetch(discovering(server), issuer).body == b'{"keys":[]}'
    assert server.requests[-1][0] == "/jwks"


@pytest.mark.parametrize(
    ("make", "why"),
    numbered(
        (lambda base: metadata(f"{base}/t/", f"{base}/jwks"), "another issuer"),
        (lambda base: metadata(f"{base}/T", f"{base}/jwks"), "another issuer"),
        (lambda base: metadata(f"{base}/t", None), "no jwks_uri"),
        (lambda base: metadata(f"{base}/t", ["a"]), "no jwks_uri"),
        (lambda base: metadata(f"{base}/t", "file:///etc/passwd"), "not an https"),
        (lambda base: metadata(f"{base}/t", "https://u:p@h/"), "not an https"),
        (lambda base: metadata(f"{base}/t", "https://h:99999/"), "not an https"),
        (lambda base: metadata(f"{base}/t", "http://169.254.169.254/"), "link-local"),
        (lambda base: metadata("{tenantid}", f"{base}/jwks"), "name the tenant in issuer"),
        (lambda _: answer(b"[]"), "another issuer"),
        (lambda _: answer(SECRET), "not JSON"),
        (lambda _: answer(b"{}", 500), "404"),
    ),
)
def test_bad_metadata(server: ScriptedServer, make: Callable[[str], Behaviour], why: str) -> None:
    """Metadata of another issuer, or that leads where no keys may come from, is refused."""
    server.paths[OPENID] = make(server.base)

    assert why in failure(discovering(server), f"{server.base}/t")
    assert "/jwks" not in [path for path, _ in server.requests]


def test_discovery_url(server: ScriptedServer) -> None:
    """Metadata may be elsewhere than the issuer, as those of Entra's version 1; it names it."""
    issuer = "https://sts.windows.net/tenant/"
    server.paths["/tenant/openid"] = metadata(issuer, server.url)
    named = settings(server, jwks_uri=None, discovery_url=f"{server.base}/tenant/openid")

    assert fetch(named, issuer).body == b'{"keys":[]}'
    assert named.name == f"{server.base}/tenant/openid"
    assert "another issuer" in failure(named, "https://sts.windows.net/tenant")
    assert "another issuer" in failure(named, "https://sts.windows.net/another/")
    server.paths["/tenant/openid"] = metadata("https://a/{tenantid}/v2.0", server.url)
    assert failure(named, "https://a/tenant/v2.0") == (
        "the issuer's metadata is of another issuer ({tenantid} stands for any tenant): "
        "name the tenant in issuer and in the URL"
    )
    server.paths["/tenant/openid"] = answer(b"{}", 404)
    assert failure(named, issuer) == "status 404: nothing is there: is it the right URL?"


def test_keys_of_other_issuers(server: ScriptedServer) -> None:
    """Of a set that many issuers share, the keys of others are not this issuer's."""
    ours, all_, theirs = (ec_key(name) for name in ("ours", "all", "theirs"))
    named = {
        "https://a/tenant/v2.0": ours,
        "https://a/{tenantid}/v2.0": all_,
        "https://a/another/v2.0": theirs,
    }
    listed = [{**key.jwk(), "issuer": issuer} for issuer, key in named.items()]
    server.serve(answer(json.dumps({"keys": listed}).encode()))
    source = key_document_source(settings(server), "https://a/tenant/v2.0")
    keys, refused = source.parse(source.fetch().body, frozenset({"ES256"}))

    assert set(keys) == {"ours", "all"}
    assert refused == (("theirs", "for tokens of another issuer (its member issuer)"),)


def test_discovery_stays_on_https(tmp_path: Path) -> None:
    """Secure metadata can't send us to plain http, and a plain issuer is not asked at all."""
    authority = Authority(tmp_path)
    server = ScriptedServer(answer(b"{}"), tls=authority.issue(dns=("localhost",)))
    issuer = f"{server.base}/t"
    server.paths[OPENID] = metadata(issuer, "http://127.0.0.1:1/jwks")
    given = discovering(server, insecure=False, ca_file=str(authority.path))

    assert "plain http" in failure(given, issuer)
    assert "plain http" in failure(given, "http://127.0.0.1:1")
    assert "not an https" in failure(given, "urn:issuer")
    server.close()


def test_discovery_has_one_deadline(server: ScriptedServer) -> None:
    """Both answers together have the time of one fetch."""
    issuer = f"{server.base}/t"
    until = threading.Event()
    found = metadata(issuer, server.url)
    server.paths[OPENID] = lambda handler: (until.wait(0.3), found(handler))[1]
    server.serve(lambda handler: (until.wait(0.4), answer(b"{}")(handler))[1])

    assert "took too long" in failure(discovering(server, timeout=0.5), issuer)
    server.paths[OPENID] = drip(b"x", HEAD)
    assert "took too long" in failure(discovering(server, timeout=0.3), issuer)


def test_file(tmp_path: Path) -> None:
    """A file is read; one that is missing, a folder or huge is an error."""
    path = tmp_path / "jwks.json"

    assert "No such file" in failure(KeySettings(file=str(path)))
    assert "directory" in failure(KeySettings(file=str(tmp_path)))
    path.write_bytes(b"{}")
    assert fetch(KeySettings(file=str(path)), ISSUER).body == b"{}"
    path.write_bytes(b" " * (256 * 1024 + 1))
    assert "larger" in failure(KeySettings(file=str(path)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "exactly one of"),
        ({"discovery": False}, "exactly one of"),
        ({"jwks_uri": "https://a/", "file": "b"}, "jwks_uri and file both say where"),
        ({"jwks_uri": "https://a/", "discovery": True}, "jwks_uri and discovery both say"),
        ({"file": "b", "discovery": True}, "discovery and file both say where"),
        ({"jwks_uri": "http://a/"}, "use https, or set insecure: true"),
        ({"jwks_uri": "HTTP://a/"}, "use https, or set insecure: true"),
        ({"jwks_uri": "ftp://a/", "insecure": True}, "https:// URL"),
        ({"jwks_uri": "file:///a", "insecure": True}, "https:// URL"),
        ({"jwks_uri": "https://u:p@a/"}, "without user"),
        ({"jwks_uri": "https://@a/"}, "without user"),
        ({"jwks_uri": "https://a/#b"}, "fragment"),
        ({"jwks_uri": "https://a:99999/"}, "ort"),
        ({"jwks_uri": "https://a:0/"}, "port"),
        ({"jwks_uri": "https:///x"}, "https:// URL"),
        ({"jwks_uri": "https://a/\n"}, "visible ASCII"),
        ({"jwks_uri": "https://[::1/"}, "a URL with a host"),
        ({"file": "a", "cooldown": 0.5}, "greater than or equal to 1"),
        ({"file": "a", "timeout": 600.0}, "less than or equal to 60"),
        ({"file": "a", "surprise": 1}, "not permitted"),
    ],
)
def test_settings_refused(values: dict[str, Any], words: str) -> None:
    """Settings that name no source, two, or an unsafe one say what would be right."""
    with pytest.raises(ValidationError, match=words):
        KeySettings(**values)
