"""The published keys: over HTTP and TLS, of a server with workers, while keys change."""

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from authz.adapters.http_server import ListenError
from authz.adapters.listener_certificate import ListenerCertificate
from authz.adapters.listener_tls_settings import ListenerTlsSettings
from authz.adapters.publication import Publication, documents
from lab.ca import Authority
from lab.config_builder import LAB, ConfigBuilder
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from support.signing import address_of_keys, assertion_of, pem
from support.world import READ, wait_until

OURS = "https://authz.corp.example"
TENANT = f"{OURS}/tenants/a"
WELL_KNOWN = "/.well-known/oauth-authorization-server"


class Keys:
    """What is published, for a test to change."""

    def __init__(self) -> None:
        """Begin with a set without keys."""
        self.content: Callable[[], bytes] = lambda: b'{"keys": []}'

    def __call__(self) -> bytes:
        """Return the set."""
        return self.content()


@pytest.fixture
def keys() -> Keys:
    """Keys to publish."""
    return Keys()


@pytest.fixture
def publication(keys: Keys) -> Iterator[Publication]:
    """A publication of an issuer with a path."""
    made = Publication("127.0.0.1:0", documents(TENANT, keys), None)
    made.start()
    with closing(made):
        yield made


def ask(
    address: str, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request, and return status, headers and body."""
    with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        got = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, got, answer.read()


def test_keys_and_metadata_are_where_clients_look(publication: Publication) -> None:
    """The metadata stand where RFC 8414 section 3.1 says, and lead to the keys."""
    address = publication.address
    status, headers, body = ask(address, f"{WELL_KNOWN}/tenants/a")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"issuer": TENANT, "jwks_uri": f"{TENANT}/jwks.json"}
    for path in ("/tenants/a/jwks.json", "/jwks.json", "/jwks.json?at=now"):
        status, headers, body = ask(address, path)
        assert (status, body) == (200, b'{"keys": []}')
        assert headers["content-type"] == "application/jwk-set+json"
        assert headers["cache-control"] == "public, max-age=300"
    assert documents(f"{OURS}/", publication.documents["/jwks.json"].content).keys() == {
        "/jwks.json",
        WELL_KNOWN,
    }


def test_unchanged_keys_are_not_sent_again(publication: Publication, keys: Keys) -> None:
    """A client with the current keys gets 304; with others, it gets the keys."""
    address = publication.address
    tag = ask(address, "/jwks.json")[1]["etag"]
    status, headers, body = ask(address, "/jwks.json", if_none_match=tag)
    assert (status, headers["etag"], body) == (304, tag, b"")
    assert headers["cache-control"] == "public, max-age=300"
    keys.content = lambda: b'{"keys": [1]}'
    assert ask(address, "/jwks.json", if_none_match=tag)[0] == 200


def test_only_reading_is_served(publication: Publication) -> None:
    """HEAD is GET without the body; other methods and paths are refused, and nothing repeated."""
    address = publication.address
    status, headers, body = ask(address, "/jwks.json", "HEAD")
    assert (status, headers["content-length"], body) == (200, "12", b"")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, body = ask(address, "/jwks.json", method)
        assert (status, headers["allow"], body) == (405, "GET, HEAD", b"")
    for path in ("/", "/jwks.json/", "/../jwks.json", WELL_KNOWN, "/secret-path"):
        assert ask(address, path)[::2] == (404, b"")
    assert ask(address, "/jwks.json", x="y" * 20_000)[0] == 431


def test_a_fault_is_not_told_to_clients(publication: Publication, keys: Keys) -> None:
    """Keys that can't be read are a 500 without words, and the next request is answered."""

    def fail() -> bytes:
        raise ValueError("a secret")

    keys.content = fail
    assert ask(publication.address, "/jwks.json")[::2] == (500, b"")
    keys.content = lambda: b"{}"
    assert ask(publication.address, "/jwks.json")[2] == b"{}"


def test_silent_clients_do_not_keep_others_out(publication: Publication) -> None:
    """With more silent connections than there may be, a request is answered."""
    host, _, port = publication.address.rpartition(":")
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        assert ask(publication.address, "/jwks.json")[0] == 200


def test_an_address_in_use_is_told(publication: Publication) -> None:
    """A second publication on the address says which it is."""
    with pytest.raises(ListenError, match=f"can't listen on {publication.address} for keys"):
        Publication(publication.address, {}, None).start()


def test_over_tls_a_renewed_certificate_is_shown(tmp_path: Path, keys: Keys) -> None:
    """Clients get the keys over TLS, by the certificate that the files have at the time."""
    authority = Authority(tmp_path / "pki")
    first = authority.issue(dns=("localhost",))
    files = {"certificate": tmp_path / "tls.pem", "private_key": tmp_path / "tls.key"}
    files["certificate"].write_bytes(first.certificate_path.read_bytes())
    files["private_key"].write_bytes(first.key_path.read_bytes())
    settings = ListenerTlsSettings.model_validate({name: str(f) for name, f in files.items()})
    made = Publication(
        "127.0.0.1:0", documents(OURS, keys), ListenerCertificate(settings, "assertions")
    )
    made.start()
    context = ssl.create_default_context(cafile=str(authority.path))
    with closing(made):
        url = f"https://localhost:{made.address.rpartition(':')[2]}/jwks.json"
        with urllib.request.urlopen(url, context=context, timeout=30) as answer:
            assert answer.read() == b'{"keys": []}'
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(url, timeout=30)


def assertions(folder: Path, *names: str, **more: Any) -> ConfigBuilder:
    """Return the lab's config, whose route for finance gets assertions."""
    entries = [
        {"file": str(folder / name), **({"signs_from": begins} if begins else {})}
        for name, _, begins in (entry.partition("@") for entry in names)
    ]
    section = {"issuer": OURS, "keys": entries, "listen": "127.0.0.1:0", "insecure": True, **more}
    changed = LAB.with_(("assertions",), section)
    return changed.with_(("routes", "finance", "upstream_token"), "assert")


@pytest.mark.timeout(300)
def test_a_server_with_workers_changes_its_keys(tmp_path: Path) -> None:
    """Both workers sign with one key, the first publishes, and keys come by a reload.

    A broken file keeps the last good key in use, and shows.
    """
    for name in ("a.pem", "b.pem"):
        (tmp_path / name).write_bytes(pem())
    issuer = Issuer(ISSUER, AUDIENCE)
    svid = Authority(tmp_path / "pki").issue(TRAVEL)
    with ExitStack() as stack:
        jwks = stack.enter_context(closing(JwksServer(issuer)))
        server = Server(tmp_path, "authz", f"{jwks.url}/jwks", workers=2)
        stack.callback(server.process.stop)
        server.wait_ready()
        server.write_config(assertions(tmp_path, "a.pem"))
        wait_until(lambda: server.process.log.read_text().count("config taken") == 2)
        address = address_of_keys(server.process.log)

        def signs() -> set[str]:
            """Return the keys with which the workers sign."""
            tokens = [issuer.token(TRAVEL, scope=READ) for _ in server.sockets]
            found = map(assertion_of, server.sockets, [svid, svid], tokens)
            return {jwt.get_unverified_header(assertion)["kid"] for assertion in found}

        def published() -> list[str]:
            return [key["kid"] for key in json.loads(ask(address, "/jwks.json")[2])["keys"]]

        (first,) = published()
        assert signs() == {first}

        # A test can't wait an hour for the next key.
        moment = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
        server.write_config(assertions(tmp_path, "a.pem", f"b.pem@{moment}"))
        wait_until(lambda: len(published()) == 2)
        (second,) = {*published()} - {first}
        wait_until(lambda: published() == [second, first])
        wait_until(lambda: signs() == {second})
        assert server.metric('authz_signing_keys{use="current"}') == 1
        assert server.metric('authz_signing_keys{use="previous"}') == 1

        (tmp_path / "b.pem").write_bytes(b"broken")
        wait_until(lambda: server.metric("authz_signing_key_refused") >= 1)
        assert published() == [second, first]
        assert signs() == {second}
        assert "the last valid one stays in use" in server.process.log.read_text()
