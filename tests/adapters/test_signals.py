"""Signals over real sockets: pushed events, logouts, and everything that must be refused."""

import hmac
import json
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.adapters.signals import intake
from authz.adapters.signals.receiver import CONNECTIONS
from authz.adapters.signals.status import SignalResult
from lab.issuer import Issuer, b64, sign_raw
from lab.mesh import AUDIENCE, ISSUER, TRAVEL
from support.receiving import EVENTS, LOGOUTS, TOKEN, Receiving
from support.transmitter import CAEP, CLIENT, LOGOUT, RECEIVER, RISC, SSF, Transmitter
from support.world import PATIENCE_SECONDS, wait_until

SESSION_REVOKED = f"{CAEP}session-revoked"
OTHER = Issuer("https://other.example", AUDIENCE)


@pytest.fixture(scope="module")
def receiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    """A world that receives."""
    with Receiving(tmp_path_factory.mktemp("signals")) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_revoked(request: pytest.FixtureRequest) -> None:
    """Each test begins without revocations."""
    if "receiving" in request.fixturenames:
        receiving: Receiving = request.getfixturevalue("receiving")
        receiving.file.write_bytes(b"")
        receiving.token_file.write_text(TOKEN)


def test_what_alerts_watch_begins_with_zero(receiving: Receiving) -> None:
    """A single one, of any event, is an increase only if a scrape has seen 0 before."""
    told = receiving.signals.status().signals
    for event in ("session-revoked", "other", "logout"):
        assert (ISSUER, event, SignalResult.UNMAPPED) in told
    for event in ("other", "logout"):  # that of a token that is not valid
        assert (ISSUER, event, SignalResult.REFUSED) in told
        assert (ISSUER, event, SignalResult.FAILED) in told
    assert (ISSUER, "verification", SignalResult.REFUSED) not in told


def test_a_session_revoked(receiving: Receiving) -> None:
    """What a principal was issued before the event is revoked once the event is taken."""
    now = int(time.time())
    token, later = receiving.world.token(iat=now - 5), receiving.world.token(iat=now + 3)
    assert receiving.decides(token) == "allow"

    event = receiving.transmitter.event(SESSION_REVOKED, members={"event_timestamp": now})
    reply = receiving.pusher.push(EVENTS, event)

    assert (reply.status_code, reply.content) == (202, b"")
    (entry,) = receiving.entries()  # written before the answer
    assert (entry.issuer, entry.subject, entry.note) == (ISSUER, "alice", "session-revoked")
    assert entry.before is not None
    assert entry.before.timestamp() == now + 1
    assert entry.by is not None
    assert entry.by.startswith(f"signal {ISSUER} ")
    receiving.wait_until_refused(token)
    assert receiving.decides(receiving.world.token(sub="bob", groups=["readers"])) == "allow"
    assert receiving.decides(later) == "allow"


def test_a_repeated_event(receiving: Receiving) -> None:
    """A transmitter that missed our answer posts again: it is taken, and nothing is added."""
    event = receiving.transmitter.event(SESSION_REVOKED)
    before = receiving.count("session-revoked", SignalResult.REPEATED)
    receiving.pusher.deliver(EVENTS, event)
    receiving.pusher.deliver(EVENTS, event)

    assert len(receiving.entries()) == 1
    assert receiving.count("session-revoked", SignalResult.REPEATED) == before + 1


def test_an_id_used_twice(receiving: Receiving) -> None:
    """An id that is used again for another user does not hide that user's event."""
    bob = {"format": "iss_sub", "iss": ISSUER, "sub": "bob"}
    receiving.pusher.deliver(EVENTS, receiving.transmitter.event(SESSION_REVOKED, jti="j"))
    receiving.pusher.deliver(EVENTS, receiving.transmitter.event(SESSION_REVOKED, bob, jti="j"))

    assert [entry.subject for entry in receiving.entries()] == ["alice", "bob"]


def test_an_account_disabled_and_enabled(receiving: Receiving) -> None:
    """A disabled account's tokens are revoked whenever they are issued, until it is enabled."""
    now = int(time.time())
    disabled, enabled = f"{RISC}account-disabled", f"{RISC}account-enabled"
    earlier = {"event_timestamp": now - 60}
    make = receiving.transmitter.event
    receiving.pusher.deliver(EVENTS, make(disabled, members={"event_timestamp": now - 30}))
    receiving.pusher.deliver(EVENTS, make(enabled, members=earlier))  # of before: too late

    (entry,) = receiving.entries()
    assert (entry.before, entry.expires) == (None, None)
    receiving.wait_until_refused(receiving.world.token(iat=now + 3))

    receiving.pusher.deliver(EVENTS, make(enabled))
    assert receiving.entries() == []
    wait_until(lambda: receiving.decides(receiving.world.token()) == "allow")


def test_enabling_takes_nothing_else_back(receiving: Receiving) -> None:
    """An enabled account's earlier sessions stay revoked, and what an operator revoked does."""
    by_hand = json.dumps({"issuer": ISSUER, "subject": "alice", "note": "account-disabled"})
    receiving.file.write_text(by_hand + "\n")
    receiving.pusher.deliver(EVENTS, receiving.transmitter.event(SESSION_REVOKED))
    receiving.pusher.deliver(EVENTS, receiving.transmitter.event(f"{RISC}account-enabled"))

    assert [entry.note for entry in receiving.entries()] == ["account-disabled", "session-revoked"]


@pytest.mark.parametrize(
    ("event", "members"),
    [
        (f"{SSF}verification", {"state": "s"}),
        (f"{SSF}stream-updated", {"status": "paused"}),
        (f"{CAEP}risk-level-change", {"current_level": "LOW"}),
    ],
)
def test_without_effect(receiving: Receiving, event: str, members: dict[str, str]) -> None:
    """A verification event, and what means nothing for tokens, is taken and noted."""
    name = event.rpartition("/")[2]
    before = receiving.count(name, SignalResult.NOTED)
    stream = {"format": "opaque", "id": "stream-1"}
    reply = receiving.pusher.push(EVENTS, receiving.transmitter.event(event, stream, members))

    assert reply.status_code == 202
    assert receiving.entries() == []
    assert receiving.count(name, SignalResult.NOTED) == before + 1


UNMAPPED: dict[str, tuple[str, object]] = {
    "an unknown event": ("https://vendor.example/event", None),
    "an unknown format": (SESSION_REVOKED, {"format": "phone_number", "phone_number": "+1"}),
    "another issuer's user": (
        SESSION_REVOKED,
        {"format": "iss_sub", "iss": "https://other.example", "sub": "alice"},
    ),
    "nobody": (SESSION_REVOKED, {}),
    "a device alone": (
        SESSION_REVOKED,
        {"format": "complex", "device": {"format": "opaque", "id": "d"}},
    ),
    "a list": (SESSION_REVOKED, [{"format": "opaque", "id": "alice"}]),
}


@pytest.mark.parametrize("what", UNMAPPED)
def test_unmapped(receiving: Receiving, what: str, caplog: pytest.LogCaptureFixture) -> None:
    """What we can't tell the meaning or the subject of is taken, counted, and logged."""
    event, subject = UNMAPPED[what]
    before = sum(receiving.count(name, SignalResult.UNMAPPED) for name in COUNTED)
    reply = receiving.pusher.push(EVENTS, receiving.transmitter.event(event, subject))

    assert reply.status_code == 202
    assert receiving.entries() == []
    after = sum(receiving.count(name, SignalResult.UNMAPPED) for name in COUNTED)
    assert after == before + 1
    assert "has no effect" in caplog.text


COUNTED = ("session-revoked", "other")


def unsigned(transmitter: Transmitter) -> str:
    """An event that nobody signed."""
    _, payload, _ = transmitter.event(SESSION_REVOKED).split(".")
    header = b64(json.dumps({"alg": "none", "typ": "secevent+jwt", "kid": "k"}).encode())
    return f"{header}.{payload}."


def signed_by_secret(transmitter: Transmitter) -> str:
    """An event that is signed with the public key's text as a secret."""
    key = transmitter.issuer.current
    _, payload, _ = transmitter.event(SESSION_REVOKED).split(".")
    header = {"alg": "HS256", "typ": "secevent+jwt", "kid": key.key_id}
    signed = f"{b64(json.dumps(header).encode())}.{payload}"
    made = hmac.digest(json.dumps(key.jwk()).encode(), signed.encode(), "sha256")
    return f"{signed}.{b64(made)}"


def deep(transmitter: Transmitter) -> str:
    """An event whose subject is nested too deep."""
    key = transmitter.issuer.current
    header = {"alg": key.algorithm, "kid": key.key_id, "typ": "secevent+jwt"}
    payload = b'{"sub_id":' + b"[" * 5000 + b"]" * 5000 + b"}"
    return sign_raw(key, json.dumps(header).encode(), payload)


def doubled(transmitter: Transmitter) -> str:
    """An event with two issuers."""
    key = transmitter.issuer.current
    header = {"alg": key.algorithm, "kid": key.key_id, "typ": "secevent+jwt"}
    return sign_raw(key, json.dumps(header).encode(), b'{"iss":"a","iss":"b"}')


def tampered(transmitter: Transmitter) -> str:
    """An event about another user than the one that was signed."""
    head, _, signature = transmitter.event(SESSION_REVOKED).split(".")
    _, other, _ = transmitter.event(SESSION_REVOKED, {"format": "opaque", "id": "bob"}).split(".")
    return f"{head}.{other}.{signature}"


def of_another(transmitter: Transmitter) -> str:
    """A token that another issuer signed, under the name of a key of ours."""
    header = {"kid": transmitter.issuer.current.key_id}
    return transmitter.event(SESSION_REVOKED, key=OTHER.current, header=header)


def changed(**changes: Any) -> Callable[[Transmitter], str]:
    """An event with other claims."""
    return lambda transmitter: transmitter.event(SESSION_REVOKED, **changes)


NOW = int(time.time())
# By what is wrong: the token, and the code of RFC 8935 section 2.4.
REFUSED: dict[str, tuple[Callable[[Transmitter], str], str]] = {
    "not a token": (lambda _: "hello", "invalid_request"),
    "nothing": (lambda _: "", "invalid_request"),
    "alg none": (unsigned, "invalid_key"),
    "HS256": (signed_by_secret, "invalid_key"),
    "an access token": (
        lambda transmitter: transmitter.issuer.token(TRAVEL),
        "invalid_request",
    ),
    "typ JWT": (changed(header={"typ": "JWT"}), "invalid_request"),
    "no typ": (changed(header={"typ": None}), "invalid_request"),
    "a logout token": (lambda transmitter: transmitter.logout(), "invalid_request"),
    "crit": (changed(header={"crit": ["exp"]}), "invalid_request"),
    "no kid": (changed(header={"kid": None}), "invalid_key"),
    "a key of another": (of_another, "invalid_key"),
    "tampered": (tampered, "invalid_key"),
    "exp": (changed(exp=NOW + 600), "invalid_request"),
    "sub": (changed(sub="alice"), "invalid_request"),
    "no iss": (changed(iss=None), "invalid_issuer"),
    "another iss": (changed(iss="https://other.example"), "invalid_issuer"),
    "iss in a list": (changed(iss=[ISSUER]), "invalid_issuer"),
    "no aud": (changed(aud=None), "invalid_audience"),
    "another aud": (changed(aud=AUDIENCE), "invalid_audience"),
    "aud not in the list": (changed(aud=["x", AUDIENCE]), "invalid_audience"),
    "aud an object": (changed(aud={RECEIVER: 1}), "invalid_audience"),
    "no jti": (changed(jti=None), "invalid_request"),
    "a long jti": (changed(jti="j" * 300), "invalid_request"),
    "no iat": (changed(iat=None), "invalid_request"),
    "iat as text": (changed(iat=str(NOW)), "invalid_request"),
    "iat in the future": (changed(iat=NOW + 3600), "invalid_request"),
    "iat too old": (changed(iat=NOW - 8 * 86400), "invalid_request"),
    "no events": (changed(events=None), "invalid_request"),
    "empty events": (changed(events={}), "invalid_request"),
    "events in a list": (changed(events=[SESSION_REVOKED]), "invalid_request"),
    "too many events": (
        changed(events={f"https://e.example/{n}": {} for n in range(17)}),
        "invalid_request",
    ),
    "an event that is no object": (changed(events={SESSION_REVOKED: None}), "invalid_request"),
    "deep JSON": (deep, "invalid_request"),
    "a member twice": (doubled, "invalid_request"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_events(receiving: Receiving, what: str) -> None:
    """Each check of RFC 8417 and of the framework refuses, with the code of RFC 8935."""
    make, code = REFUSED[what]
    text = make(receiving.transmitter)
    reply = receiving.pusher.push(EVENTS, text)

    assert (reply.status_code, reply.json()["err"]) == (400, code), reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-language"] == "en"
    assert receiving.entries() == []
    assert "bob" not in reply.text
    assert text[:40] not in reply.text or not text


def test_an_unknown_key(receiving: Receiving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its set may lack it still, so the event has to be sent again; later it is refused."""
    text = receiving.transmitter.event(SESSION_REVOKED, header={"kid": "k"})
    assert receiving.pusher.push(EVENTS, text).status_code == 503
    monkeypatch.setattr(intake, "UNKNOWN_KEY_SECONDS", 0.0)
    reply = receiving.pusher.push(EVENTS, text)

    assert (reply.status_code, reply.json()["err"]) == (400, "invalid_key")
    assert receiving.entries() == []


def test_audiences_in_a_list(receiving: Receiving) -> None:
    """A token may be for others too."""
    text = receiving.transmitter.event(SESSION_REVOKED, aud=["https://x.example", RECEIVER])

    assert receiving.pusher.push(EVENTS, text).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer another"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": TOKEN},
    ],
)
def test_not_authenticated(receiving: Receiving, headers: dict[str, str]) -> None:
    """Without the stream's bearer token a valid event is not even looked at."""
    before = receiving.count("other", SignalResult.REFUSED)
    reply = receiving.pusher.push(EVENTS, receiving.transmitter.event(SESSION_REVOKED), **headers)

    assert (reply.status_code, reply.json()["err"]) == (400, "authentication_failed")
    assert receiving.count("other", SignalResult.REFUSED) == before + 1, "operators see it"
    assert receiving.entries() == []


def test_a_renewed_bearer_token(receiving: Receiving) -> None:
    """The file is read for each request; while it can't be read, the other side tries again."""
    event = receiving.transmitter.event(SESSION_REVOKED)
    receiving.token_file.write_text("renewed")
    assert receiving.pusher.push(EVENTS, event).status_code == 400
    assert receiving.pusher.push(EVENTS, event, authorization="bearer renewed").status_code == 202
    receiving.token_file.write_text("")
    before = receiving.count("other", SignalResult.FAILED)
    reply = receiving.pusher.push(EVENTS, event)

    assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
    assert receiving.count("other", SignalResult.FAILED) == before + 1, "AuthzSignalsFailing"


def test_another_content_type(receiving: Receiving) -> None:
    """A body of another type is refused unread."""
    event = receiving.transmitter.event(SESSION_REVOKED)
    before = receiving.count("other", SignalResult.REFUSED)
    reply = receiving.pusher.push(EVENTS, event, content_type="application/jwt")

    assert receiving.count("other", SignalResult.REFUSED) == before + 1
    assert (reply.status_code, reply.json()["err"]) == (400, "invalid_request")
    assert receiving.entries() == []


def test_nothing_written_nothing_taken(receiving: Receiving) -> None:
    """While the entry can't be written the event is not taken; later it is."""
    event = receiving.transmitter.event(SESSION_REVOKED)
    receiving.file.write_bytes(b"not an entry\n")
    reply = receiving.pusher.push(EVENTS, event)
    assert (reply.status_code, reply.content) == (503, b"")
    assert reply.headers["retry-after"] == "5"

    receiving.file.write_bytes(b"")
    receiving.pusher.deliver(EVENTS, event)
    assert len(receiving.entries()) == 1


def test_a_key_just_published(receiving: Receiving) -> None:
    """An event that is signed with a new key is verified: the key is fetched for it."""
    receiving.world.issuer.rotate()
    receiving.pusher.deliver(EVENTS, receiving.transmitter.event(SESSION_REVOKED))

    assert len(receiving.entries()) == 1


def test_a_logout(receiving: Receiving) -> None:
    """A logged out user's tokens are refused, and new ones are not."""
    now = int(time.time())
    token = receiving.world.token(sid="s-1")
    reply = receiving.pusher.log_out(LOGOUTS, receiving.transmitter.logout(sid="s-1"))

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["cache-control"] == "no-store"
    receiving.wait_until_refused(token)
    assert receiving.decides(receiving.world.token(iat=now + 5, sid="s-2")) == "allow"
    assert receiving.decides(receiving.world.token(iat=now + 5, sid="s-1")) == "token_revoked"


def test_a_logout_by_session_alone(receiving: Receiving) -> None:
    """A logout token without a subject ends a session's tokens."""
    receiving.pusher.log_out(LOGOUTS, receiving.transmitter.logout(sub=None, sid="s-3"))

    assert [(e.subject, e.session) for e in receiving.entries()] == [(None, "s-3")]


LOGOUTS_REFUSED: dict[str, dict[str, Any]] = {
    "typ at+jwt": {"header": {"typ": "at+jwt"}},
    "typ secevent+jwt": {"header": {"typ": "secevent+jwt"}},
    "a nonce": {"nonce": "n"},
    "no events": {"events": None},
    "another event": {"events": {SESSION_REVOKED: {}}},
    "an event that is no object": {"events": {LOGOUT: True}},
    "no sub and no sid": {"sub": None},
    "an empty sub": {"sub": ""},
    "sid a number": {"sid": 7},
    "no exp": {"exp": None},
    "expired": {"exp": NOW - 3600},
    "no iat": {"iat": None},
    "no jti": {"jti": None},
    "another client": {"aud": "other-client"},
    "another issuer": {"iss": "https://other.example"},
    "a key of another": {"key": OTHER.current},
    "alg none": {"header": {"alg": "none"}},
}


@pytest.mark.parametrize("what", LOGOUTS_REFUSED)
def test_refused_logouts(receiving: Receiving, what: str) -> None:
    """Each check of Back-Channel Logout section 2.6 refuses, with 400 and no-store."""
    token = receiving.transmitter.logout(**LOGOUTS_REFUSED[what])
    reply = receiving.pusher.log_out(LOGOUTS, token)

    assert reply.status_code == 400, what
    assert reply.json()["error"] in {
        *("invalid_request", "invalid_key", "invalid_issuer", "invalid_audience"),
    }
    assert reply.headers["cache-control"] == "no-store"
    assert receiving.entries() == []


def test_a_logout_token_without_a_type(receiving: Receiving) -> None:
    """Providers that write no logout+jwt are understood: the event tells it from other tokens."""
    token = receiving.transmitter.logout(header={"typ": None}, aud=[CLIENT, "x"])

    assert receiving.pusher.log_out(LOGOUTS, token).status_code == 200


@pytest.mark.parametrize("form", [b"", b"a=b", b"logout_token=a&logout_token=b", b"\xff"])
def test_a_form_without_a_token(receiving: Receiving, form: bytes) -> None:
    """A form must have one logout_token; one that has not is told to operators too."""
    before = receiving.count("logout", SignalResult.REFUSED)
    with receiving.pusher.client() as client:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = client.post(receiving.pusher.url + LOGOUTS, content=form, headers=headers)

    assert reply.status_code == 400
    assert receiving.count("logout", SignalResult.REFUSED) == before + 1


def raw(receiving: Receiving, *parts: bytes) -> bytes:
    """Send bytes, and return all that comes back."""
    with connection(receiving) as client:
        with suppress(OSError):  # refused, and closed, before it had read all of it
            for part in parts:
                client.sendall(part)
            client.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):
            while part := client.recv(65536):
                received += part
        return received


def connection(receiving: Receiving) -> socket.socket:
    """A connection."""
    host, _, port = receiving.pusher.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)


POST = f"POST {EVENTS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n".encode()
ODD: dict[str, tuple[bytes, int]] = {
    "a GET": (f"GET {EVENTS} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), 405),
    "a PUT": (f"PUT {EVENTS} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), 405),
    "another path": (b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", 404),
    "a path with a query": (
        f"POST {EVENTS}?x=1 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode(),
        404,
    ),
    "no length": (POST + b"\r\n", 411),
    "chunked": (POST + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    "chunked with a length": (
        POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        411,
    ),
    "two lengths": (POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
    "a length with a sign": (POST + b"content-length: +1\r\n\r\na", 400),
    "too long": (POST + b"content-length: 70000\r\n\r\n", 413),
    "cut off": (POST + b"content-length: 100\r\n\r\nabc", 400),
    "long headers": (POST + b"x: " + b"x" * 20_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_requests(receiving: Receiving, what: str) -> None:
    """Other methods, paths and framings are refused, and the next request is answered."""
    data, status = ODD[what]
    received = raw(receiving, data)

    assert f" {status} ".encode() in received.split(b"\r\n")[0] + b" ", received
    assert receiving.pusher.push(EVENTS, "x").status_code == 400


def test_what_is_not_http(receiving: Receiving) -> None:
    """The beginning of a TLS handshake gets no answer, and nobody else is held up."""
    assert raw(receiving, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n") == b""
    assert receiving.pusher.push(EVENTS, "x").status_code == 400


def test_silent_clients(receiving: Receiving) -> None:
    """However many clients connect and say nothing, an event is taken."""
    silent = [connection(receiving) for _ in range(CONNECTIONS + 8)]
    try:
        event = receiving.transmitter.event(SESSION_REVOKED)
        receiving.pusher.deliver(EVENTS, event)
        assert len(receiving.entries()) == 1
    finally:
        for client in silent:
            client.close()


def test_a_slow_client_blocks_nobody(receiving: Receiving) -> None:
    """While a client sends its body byte by byte, others are answered."""
    with connection(receiving) as slow:
        slow.sendall(
            POST + b"content-type: application/secevent+jwt\r\ncontent-length: 900\r\n\r\n"
        )
        slow.sendall(b"a")
        receiving.pusher.deliver(EVENTS, receiving.transmitter.event(SESSION_REVOKED))
        slow.sendall(b"b")

    assert len(receiving.entries()) == 1


def test_many_at_once(receiving: Receiving) -> None:
    """Events that are posted at the same time are all written."""
    subjects = [f"user-{number}" for number in range(12)]
    threads = [
        threading.Thread(
            target=receiving.pusher.deliver,
            args=(
                EVENTS,
                receiving.transmitter.event(SESSION_REVOKED, {"format": "opaque", "id": subject}),
            ),
        )
        for subject in subjects
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    found = {entry.subject for entry in receiving.entries()} - {None}
    assert found == set(subjects)


def test_no_text_of_ours_or_theirs_in_refusals(receiving: Receiving) -> None:
    """A refusal repeats nothing that was sent."""
    marked = urlsafe_b64encode(b"<script>").decode()
    received = raw(receiving, f"GET /{marked} HTTP/1.1\r\nhost: {marked}\r\n\r\n".encode())

    assert marked.encode() not in received


@settings(max_examples=30)
@given(st.binary(max_size=200))
def test_any_bytes(receiving: Receiving, data: bytes) -> None:
    """Whatever is posted, it is refused with 400 and nothing is written."""
    headers = b"content-type: application/secevent+jwt\r\ncontent-length: %d\r\n\r\n" % len(data)
    received = raw(receiving, POST + headers + data)

    assert received.startswith(b"HTTP/1.0 400 ")
    assert receiving.file.read_bytes() == b""


def test_it_can_be_left_out(tmp_path: Path) -> None:
    """A token file that is missing at the start is no reason not to start."""
    with Receiving(tmp_path) as made:
        made.token_file.unlink()
        reply = made.pusher.push(EVENTS, made.transmitter.event(SESSION_REVOKED))

        assert reply.status_code == 503
