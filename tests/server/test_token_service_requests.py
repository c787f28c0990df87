"""The token service refuses over HTTPS what is not a token request, and serves its documents."""

import http.client
import json
import logging
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from authz.adapters.sts.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES
from authz.server.sts_process import StsProcess
from lab.ca import Authority
from lab.mesh import ORCHESTRATOR, STRANGER
from support.sts_server import EXCHANGE, FORM, STS, TokenServiceWorld
from support.world import wait_until

_HEAD = b"POST /token HTTP/1.1\r\nhost: x\r\n"
METADATA = "/.well-known/oauth-authorization-server"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServiceWorld]:
    """A token service for all tests here."""
    with TokenServiceWorld(tmp_path_factory.mktemp("sts")) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def service(world: TokenServiceWorld) -> Iterator[StsProcess]:
    """Run it."""
    with world.serving() as process:
        yield process


@pytest.fixture(scope="module")
def agent(world: TokenServiceWorld, service: StsProcess) -> Iterator[httpx.Client]:
    """The orchestrator."""
    del service
    with world.client() as client:
        yield client


def _refused(answer: httpx.Response, status: int, error: str) -> None:
    """Require an error of RFC 6749 section 5.2 that no cache keeps."""
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_tokens_are_asked_for_by_post(agent: httpx.Client, method: str) -> None:
    """RFC 6749 section 3.2: the client MUST use POST."""
    answer = agent.request(method, "/token")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "headers",
    [
        [("content-type", "application/json")],
        [("content-type", "multipart/form-data; boundary=x")],
        [("content-type", "")],
        [],
        [("content-type", FORM), ("content-type", "text/plain")],
    ],
)
def test_a_request_is_a_form(
    world: TokenServiceWorld, agent: httpx.Client, headers: list[tuple[str, str]]
) -> None:
    """RFC 8693 section 2.1: parameters come in a form, and by one content-type."""
    body = httpx.Request("POST", "https://x", data=world.form()).content
    _refused(agent.post("/token", content=body, headers=headers), 400, "invalid_request")


def test_parameters_never_stand_in_the_url(world: TokenServiceWorld, agent: httpx.Client) -> None:
    """A token in a URL would be in logs of proxies."""
    answer = agent.post("/token?grant_type=x", data=world.form())
    _refused(answer, 400, "invalid_request")
    _refused(agent.post("/token?", data=world.form()), 400, "invalid_request")


@pytest.mark.parametrize(
    ("scheme", "told"), [("Basic", "Basic"), ("Bearer", "Bearer"), ("X", "Basic")]
)
def test_a_client_has_one_way_to_authenticate(
    world: TokenServiceWorld, agent: httpx.Client, scheme: str, told: str
) -> None:
    """RFC 6749 sections 2.3 and 5.2: not twice, and the challenge has the client's scheme."""
    answer = agent.post("/token", data=world.form(), headers={"authorization": f"{scheme} abc"})
    _refused(answer, 401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith(f"{told} ")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_has_a_limit(agent: httpx.Client, *, is_chunked: bool) -> None:
    """A body that is too large is refused, whether its length is told or not."""
    body = b"a=" + b"b" * MAX_BODY_BYTES
    content = iter([body[:9000], body[9000:]]) if is_chunked else body
    answer = agent.post("/token", content=content, headers={"content-type": FORM})
    _refused(answer, 413, "invalid_request")
    answer = agent.post("/token", content=body[:MAX_BODY_BYTES], headers={"content-type": FORM})
    _refused(answer, 400, "invalid_request")  # of the core: no grant_type


def test_a_body_is_never_unpacked(agent: httpx.Client) -> None:
    """A small body that unpacks to a large one is refused by its header."""
    headers = {"content-type": FORM, "content-encoding": "gzip"}
    _refused(agent.post("/token", content=b"x", headers=headers), 415, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"grant_type",
        b"&&",
        b"grant_type=%ff%fe",
        b"grant_type=\xc3\xa9",
        b"&".join(b"a%d=1" % at for at in range(65)),
        b"",
    ],
)
def test_what_is_no_form_is_refused(agent: httpx.Client, body: bytes) -> None:
    """Pieces without a name, other bytes than ASCII and UTF-8, and too many parameters."""
    answer = agent.post("/token", content=body, headers={"content-type": FORM})
    _refused(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "name", ["grant_type", "subject_token", "subject_token_type", "scope", "client_id"]
)
def test_no_parameter_comes_twice(world: TokenServiceWorld, agent: httpx.Client, name: str) -> None:
    """RFC 6749 section 3.2: parameters MUST NOT be included more than once."""
    body = (
        httpx.Request("POST", "https://x", data=world.form()).content
        + f"&{name}=a&{name}=b".encode()
    )
    answer = agent.post("/token", content=body, headers={"content-type": FORM})
    _refused(answer, 400, "invalid_request")


def test_another_grant_is_not_supported(world: TokenServiceWorld, agent: httpx.Client) -> None:
    """RFC 6749 section 5.2: unsupported_grant_type."""
    answer = world.exchange(agent, grant_type="client_credentials")
    _refused(answer, 400, "unsupported_grant_type")


def test_two_proofs_are_none(world: TokenServiceWorld, agent: httpx.Client) -> None:
    """RFC 9449 section 4.3: not more than one DPoP header."""
    headers = [("dpop", "a"), ("dpop", "b")]
    answer = agent.post("/token", data=world.form(), headers=headers)
    _refused(answer, 400, "invalid_dpop_proof")


def _raw(world: TokenServiceWorld, data: bytes) -> tuple[int, bytes]:
    """Send bytes, and return the status and the body of the answer."""
    with world.connect() as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.parametrize(
    "data",
    [
        b"SECRET-WORDS\r\n\r\n",
        _HEAD + b"SECRET-WORDS\r\n\r\n",
        _HEAD + b"SECRET-WORDS: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        _HEAD + b"x: SECRET-WORDS" + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n",
        b"GET /SECRET-WORDS" + b"a" * 4000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        _HEAD + b"".join(b"SECRET-WORDS%d: 1\r\n" % number for number in range(200)) + b"\r\n",
        _HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\nSECRET-WORDS: 1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_not_repeated(
    world: TokenServiceWorld, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed or too large head is refused, and no answer and no log line quotes it."""
    status, body = _raw(world, data)
    assert status == 400
    assert json.loads(body)["error"] == "invalid_request"
    assert b"SECRET-WORDS" not in body
    assert "SECRET-WORDS" not in caplog.text


def test_a_client_may_wait_for_continue(world: TokenServiceWorld) -> None:
    """RFC 9110 section 10.1.1: a client that asks first is told to go on."""
    with world.connect() as connection:
        connection.sendall(
            _HEAD + b"content-type: application/x-www-form-urlencoded\r\n"
            b"content-length: 3\r\nexpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"a=b")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_half_a_request_stops_nobody(
    world: TokenServiceWorld, agent: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves within its head or its body is forgotten, and others are served.

    It is no fault of ours that the log would have to tell.
    """
    head = b"POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    for part in (head, head + b"content-length: 100\r\n\r\na=b"):
        with world.connect() as connection:
            connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(4096) == b""
        assert agent.get("/jwks.json").status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_client_needs_a_certificate(world: TokenServiceWorld) -> None:
    """Without one there is no token, while everybody may read the metadata and the keys."""
    with world.client(None) as nobody:
        _refused(world.exchange(nobody), 401, "invalid_client")
        assert nobody.get(METADATA).status_code == nobody.get("/jwks.json").status_code == 200


@pytest.mark.parametrize(
    ("uris", "more", "reason"),
    [
        ((), {"dns": ("localhost",)}, "agent_invalid"),
        ((ORCHESTRATOR, STRANGER), {}, "agent_invalid"),
        (("https://corp.example/agent",), {}, "agent_invalid"),
        (("spiffe://other.example/ns/agents/sa/x",), {}, "agent_untrusted_domain"),
        ((ORCHESTRATOR,), {"key_usage": False}, "agent_invalid"),
    ],
)
def test_the_certificate_is_an_svid(
    world: TokenServiceWorld, uris: tuple[str, ...], more: dict[str, object], reason: str
) -> None:
    """A certificate of the CA that is no SVID of a trusted domain is refused, and that recorded."""
    before = len(_of_nobody(world))
    svid = world.authority.issue(*uris, **more)  # type: ignore[arg-type] # each has its type
    with world.client(svid) as client:
        _refused(world.exchange(client), 401, "invalid_client")
    wait_until(lambda: len(_of_nobody(world)) > before)
    record = _of_nobody(world)[-1]
    assert (record["decision"], record["reason"]) == ("deny", reason)
    assert record["issuance"] == {"error": "invalid_client", "audiences": [], "scopes": []}


def _of_nobody(world: TokenServiceWorld) -> list[dict[str, Any]]:
    """Return the records of clients that are no agents: others may still be on their way."""
    return [record for record in world.audit_records() if not record["agent"]]


def test_another_ca_is_refused_in_the_handshake(world: TokenServiceWorld) -> None:
    """A certificate of a CA that is not trusted, or an expired one, opens no connection."""
    stranger = Authority(world.folder / "other", "other").issue(ORCHESTRATOR)
    expired = world.authority.issue(ORCHESTRATOR, starts_in_seconds=-100, lifetime_seconds=50)
    for svid in (stranger, expired):
        with world.client(svid) as client, pytest.raises((httpx.TransportError, ssl.SSLError)):
            client.get("/jwks.json")


def test_plain_http_is_refused(world: TokenServiceWorld, agent: httpx.Client) -> None:
    """A client without TLS gets no answer."""
    with pytest.raises(httpx.TransportError):
        httpx.get(world.url.replace("https:", "http:") + "/jwks.json")
    assert agent.get("/jwks.json").status_code == 200


def test_other_paths_are_not_found(agent: httpx.Client) -> None:
    """What is not served is not found, however it is written."""
    for path in ("/", "/token/", "/Token", "/%74oken", "//token", "/metrics", METADATA + "/"):
        assert agent.get(path).status_code == 404


# RFC 8414, clause by clause.


@pytest.fixture(scope="module")
def metadata(agent: httpx.Client) -> dict[str, object]:
    """The metadata."""
    answer = agent.get(METADATA)
    assert answer.headers["content-type"] == "application/json"  # section 3.2
    found: dict[str, object] = answer.json()
    return found


def test_the_metadata_names_its_issuer(metadata: dict[str, object]) -> None:
    """Section 2: the issuer is an https URL without query and fragment; 3.3: identical to ours."""
    assert metadata["issuer"] == STS


def test_the_metadata_has_what_is_required(metadata: dict[str, object]) -> None:
    """Section 2: token_endpoint, and response_types_supported; no authorization_endpoint.

    The latter is required only where a grant type uses it.
    """
    assert metadata["token_endpoint"] == f"{STS}/token"
    assert metadata["response_types_supported"] == []
    assert "authorization_endpoint" not in metadata


def test_the_metadata_says_what_clients_can_do(metadata: dict[str, object]) -> None:
    """Section 2: the grant types, else a default would be taken; how clients authenticate."""
    assert metadata["grant_types_supported"] == [EXCHANGE]
    assert metadata["token_endpoint_auth_methods_supported"] == [
        "tls_client_auth"
    ]  # RFC 8705 2.1.1
    assert metadata["tls_client_certificate_bound_access_tokens"] is True  # RFC 8705 section 3.3
    assert "none" not in str(metadata["dpop_signing_alg_values_supported"])  # RFC 9449 section 5.1
    # Only for methods that sign: private_key_jwt and client_secret_jwt.
    assert "token_endpoint_auth_signing_alg_values_supported" not in metadata


def test_the_metadata_has_no_empty_members(metadata: dict[str, object]) -> None:
    """Section 3.2: claims with zero elements MUST be omitted, but for the required member."""
    empty = [name for name, value in metadata.items() if value in ([], "", None)]
    assert empty == ["response_types_supported"]


def test_the_metadata_leads_to_the_keys(metadata: dict[str, object], agent: httpx.Client) -> None:
    """Section 2: jwks_uri is an https URL, whose keys have a use, and no private part."""
    uri = str(metadata["jwks_uri"])
    assert uri.startswith(f"{STS}/")
    keys = agent.get(uri.removeprefix(STS)).json()["keys"]
    assert keys
    for key in keys:
        assert key["use"] == "sig"
        assert not {"d", "p", "q", "k"} & set(key)


@pytest.mark.parametrize("path", [METADATA, "/jwks.json"])
def test_documents_are_read_and_kept(agent: httpx.Client, path: str) -> None:
    """Section 3.1: by GET; with HEAD and validators of HTTP, and no other method."""
    answer = agent.get(path)
    assert answer.headers["cache-control"] == "public, max-age=300"
    again = agent.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert agent.get(path, headers={"if-none-match": '"other"'}).status_code == 200
    head = agent.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert agent.post(path).status_code == 405
    assert agent.post(path).headers["allow"] == "GET, HEAD"


def test_answers_do_not_say_what_serves(agent: httpx.Client) -> None:
    """No answer names the libraries and their versions."""
    for path in ("/jwks.json", "/token", "/other"):
        assert agent.get(path).headers["server"] == "agent-authz"
