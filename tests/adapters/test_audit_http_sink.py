"""Batches of records by HTTP: what each answer means, credentials, and answers that go wrong."""

import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from authz.adapters.audit.settings import HttpSinkSettings
from authz.adapters.audit.sinks.batches import ATTEMPTS, MAX_IN_DOUBT
from authz.adapters.audit.sinks.http_sink import MAX_BATCH_BYTES, HttpSink
from authz.adapters.receivers.http_receiver import CONNECTION_SECONDS
from authz.adapters.receivers.receiver import MAX_RETRY_AFTER_SECONDS, ReceiverError
from lab.ca import Authority
from support.record_receiver import CUT, Decide, Received, RecordReceiver, Reply, always
from support.world import PATIENCE_SECONDS, wait_until

TOKEN = "s3cret-token"


@pytest.fixture
def receiver() -> Iterator[RecordReceiver]:
    """A receiver over plain HTTP."""
    server = RecordReceiver()
    yield server
    server.stop()


def sink_for(receiver: RecordReceiver, **changes: object) -> HttpSink:
    """A sink that sends there."""
    given = {"url": receiver.url, "insecure": True, "timeout": PATIENCE_SECONDS, **changes}
    return HttpSink(HttpSinkSettings.model_validate(given), "siem")


def numbered(begin: int, end: int) -> bytes:
    """Lines with these numbers."""
    return b"".join(b'{"n":%d}\n' % number for number in range(begin, end))


def sent(sink: HttpSink, lines: bytes) -> str:
    """Send lines, and close; the reason if they were not taken."""
    try:
        sink.follow()
        if lines:
            sink.take(lines)
        sink.flush()
    except ReceiverError as error:
        return str(error.strerror)
    finally:
        sink.close()
    return ""


def refusing(*bad: str, status: int = 400) -> Decide:
    """Refuse each batch with one of these lines."""
    return lambda batch: Reply(status) if set(bad) & set(batch.lines) else Reply()


def test_what_is_sent(receiver: RecordReceiver) -> None:
    """A batch is a POST of the lines as they are, as JSON lines, with the headers asked for."""
    sink = sink_for(receiver, headers={"X-Scope-OrgID": "tenant-1"})
    assert not sent(sink, numbered(0, 3))
    (request,) = receiver.requests

    assert request.body == numbered(0, 3)
    assert request.path == "/records?stream=authz"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["x-scope-orgid"] == "tenant-1"
    assert request.headers["user-agent"] == "agent-authz"
    assert request.headers["host"] == receiver.url.split("/")[2]
    assert request.headers["content-length"] == str(len(numbered(0, 3)))
    assert not {"content-encoding", "transfer-encoding", "authorization"} & set(request.headers)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"x y": "1"}, "'x y' is not a header's name"),
        ({"": "1"}, "is not a header's name"),
        ({"x": "s3cret\r\ny: z"}, "the value of x must be visible ASCII characters"),
        ({"x": "s3cr\u00e9t"}, "the value of x must be visible ASCII characters"),
        ({"x": ""}, "the value of x must be visible ASCII characters"),
        ({"Content-Length": "5"}, "Content-Length is written by the server itself"),
        ({"transfer-encoding": "chunked"}, "is written by the server itself"),
        ({"X-A": "1", "x-a": "2"}, "x-a stands there twice"),
    ],
)
def test_headers_that_cannot_be_sent(headers: dict[str, str], why: str) -> None:
    """The config is refused, in words that do not repeat a value."""
    with pytest.raises(ValidationError, match=why) as caught:
        HttpSinkSettings(url="https://siem.example/", headers=headers)

    assert not re.search("s3cr", caught.value.errors()[0]["msg"])


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207])
def test_an_answer_that_takes(receiver: RecordReceiver, status: int) -> None:
    """Each 2xx takes the batch."""
    receiver.decide = always(Reply(status, body=b"" if status == 204 else b'{"ok":true}'))
    sink = sink_for(receiver)

    assert not sent(sink, numbered(0, 3))
    assert (sink.waiting, sink.rejected) == (0, 0)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (301, "status 301: redirects are not followed: name its URL in url"),
        (307, "status 307: redirects are not followed: name its URL in url"),
        (401, "status 401: it does not accept the credential"),
        (403, "status 403: it does not accept the credential"),
        (404, "status 404: nothing is there: is it the right URL?"),
        (408, "status 408"),
        (415, "status 415: it does not take application/x-ndjson"),
        (429, "status 429"),
        (500, "status 500"),
        (503, "status 503"),
    ],
)
def test_an_answer_that_does_not(receiver: RecordReceiver, status: int, why: str) -> None:
    """All lines wait for a later attempt, and the reason names the cure, and nothing that came."""
    moved = {"location": receiver.url.replace("records", "elsewhere")}
    receiver.decide = always(Reply(status, moved, b"an answer's body"))
    sink = sink_for(receiver)

    told = sent(sink, numbered(0, 3))
    assert told.startswith(why)
    assert "body" not in told
    assert (sink.waiting, len(receiver.requests)) == (3, 1)
    receiver.decide = always(Reply())
    assert not sent(sink, b"")
    assert receiver.taken[-1].body == numbered(0, 3)


def test_a_line_that_is_bad(receiver: RecordReceiver) -> None:
    """Batches are halved until it is alone: it is counted as rejected, and the others arrive."""
    for bad in (0, 1, 7, 49):
        receiver.taken.clear()
        receiver.decide = refusing(f'{{"n":{bad}}}')
        sink = sink_for(receiver)

        assert not sent(sink, numbered(0, 50))
        assert receiver.lines() == [f'{{"n":{n}}}' for n in range(50) if n != bad]
        assert (sink.waiting, sink.rejected) == (0, 1)


def test_several_bad_lines(receiver: RecordReceiver, caplog: pytest.LogCaptureFixture) -> None:
    """Each bad line is rejected; the log says how many, and nothing of what they hold."""
    bad = [3, 4, 5, 6, 40, 48, 49]
    receiver.decide = refusing(*(f'{{"n":{number}}}' for number in bad))
    sink = sink_for(receiver)

    assert not sent(sink, numbered(0, 50))
    assert receiver.lines() == [f'{{"n":{n}}}' for n in range(50) if n not in bad]
    assert sink.rejected == len(bad)
    assert "the sink siem refused" in caplog.text
    assert '{"n"' not in caplog.text


def test_a_line_that_is_too_large(receiver: RecordReceiver) -> None:
    """A 413 halves the batch; a single line that gets one is rejected, even if it is alone."""
    receiver.decide = lambda batch: Reply(413 if len(batch.body) > 100 else 200)
    sink = sink_for(receiver)
    large = b"x" * 200 + b"\n"

    assert not sent(sink, numbered(0, 30) + large + numbered(30, 60))
    assert receiver.lines() == [f'{{"n":{n}}}' for n in range(60)]
    assert not sent(sink, large)
    assert (sink.waiting, sink.rejected) == (0, 2)


def test_a_receiver_that_answers_before_it_has_read(receiver: RecordReceiver) -> None:
    """One that refuses a large batch at its head, and cuts it off, gets smaller ones."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[bytes] = []
        thread = threading.Thread(target=_early, args=(listener, taken), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        sink = sink_for(receiver, url=f"http://127.0.0.1:{port}/")
        sink.take((b"y" * 9_999 + b"\n") * 90)
        for _ in range(20):
            try:
                sink.flush()
                break
            except ReceiverError:
                continue
        sink.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()

    assert not sink.waiting
    assert b"".join(taken) == (b"y" * 9_999 + b"\n") * 90


def _early(listener: socket.socket, taken: list[bytes]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as file:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += file.readline()
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            if size > 50_000:
                connection.sendall(b"HTTP/1.1 413 x\r\nconnection: close\r\n\r\n")
                continue
            taken.append(file.read(size))
            connection.sendall(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n")


def test_a_receiver_that_refuses_everything(receiver: RecordReceiver) -> None:
    """A 400 for each line is a fault of the way there: none is rejected, and few are asked for."""
    receiver.decide = always(Reply(400))
    sink = sink_for(receiver)
    told = sent(sink, numbered(0, 64))

    assert told == "status 400: it refuses every record"
    assert (sink.waiting, sink.rejected) == (64, 0)
    assert len(receiver.requests) <= 7 + MAX_IN_DOUBT  # 64, 32, ... 1, and then some alone
    receiver.decide = always(Reply())
    assert not sent(sink, b"")
    assert receiver.lines() == [f'{{"n":{n}}}' for n in range(64)]


def test_a_bad_line_alone(receiver: RecordReceiver) -> None:
    """One that waits with no other is tried again, and rejected in the end: it blocks nothing."""
    receiver.decide = always(Reply(400))
    sink = sink_for(receiver)
    sink.take(b"bad\n")
    for _ in range(ATTEMPTS - 1):
        assert sent(sink, b"") == "status 400: it refuses every record"
    assert (sink.waiting, sink.rejected) == (1, 0)

    assert not sent(sink, b"")
    assert (sink.waiting, sink.rejected) == (0, 1)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("999999999999999", MAX_RETRY_AFTER_SECONDS),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True), 100),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 99 Nov 1994 08:49:37 GMT", 0),
        ("-5", 0),
        ("1e9", 0),
        ("\u0661", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after(
    receiver: RecordReceiver, status: int, retry_after: str | Callable[[], str], seconds: int
) -> None:
    """The time that a receiver asks for is kept, up to a bound, whoever calls; nonsense is none."""
    text = retry_after if isinstance(retry_after, str) else retry_after()
    header = text.encode().decode("latin-1")  # as http.server encodes it
    receiver.decide = always(Reply(status, {"retry-after": header}))
    sink = sink_for(receiver)
    sink.take(numbered(0, 2))
    with pytest.raises(ReceiverError) as caught:
        sink.flush()
    assert seconds - 2 <= caught.value.retry_after_seconds <= seconds
    receiver.decide = always(Reply())

    if not seconds:
        assert not sent(sink, b"")
        return
    with pytest.raises(ReceiverError, match="left alone") as caught:
        sink.flush()
    assert seconds - 60 <= caught.value.retry_after_seconds <= seconds
    assert len(receiver.requests) == 1
    sink.close()


def test_batches_have_a_size(receiver: RecordReceiver) -> None:
    """A batch has at most a megabyte, unless one line has more; order and lines are kept."""
    lines = [b"%d%s\n" % (n, b"z" * size) for n, size in enumerate([400_000] * 5 + [1_500_000, 9])]
    assert not sent(sink_for(receiver), b"".join(lines))

    assert b"".join(one.body for one in receiver.taken) == b"".join(lines)
    sizes = [len(one.body) for one in receiver.taken]
    assert [size > MAX_BATCH_BYTES for size in sizes] == [False, False, False, True, False]


def test_a_connection_is_kept(receiver: RecordReceiver) -> None:
    """Batches go over one connection, until it is left after a failure or reopened."""
    sink = sink_for(receiver)
    for number in range(5):
        sink.follow()
        sink.take(numbered(number, number + 1))
        sink.flush()
    assert receiver.connections == 1
    sink.reopen()
    sink.follow()
    sink.take(numbered(5, 6))
    sink.flush()
    sink.close()

    assert receiver.connections == 2
    assert receiver.lines() == [f'{{"n":{n}}}' for n in range(6)]


def test_a_connection_is_left_in_time(
    receiver: RecordReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some minutes a fresh connection is made, so that changed addresses count."""
    assert CONNECTION_SECONDS <= 300
    monkeypatch.setattr("authz.adapters.receivers.http_receiver.CONNECTION_SECONDS", 0.0)
    sink = sink_for(receiver)
    for number in range(3):
        sink.take(numbered(number, number + 1))
        sink.flush()
    sink.close()

    assert receiver.connections == 3


def test_a_kept_connection_that_ended(receiver: RecordReceiver) -> None:
    """A receiver that closes idle connections, or was restarted, causes no failure."""
    sink = sink_for(receiver)
    for end in (receiver.cut, receiver.restart):
        sink.take(numbered(0, 1))
        sink.flush()
        end()
        sink.take(numbered(1, 2))
        sink.flush()
    sink.close()

    assert receiver.lines() == ['{"n":0}', '{"n":1}'] * 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 2",
        b"\x00\xff" * 5000,
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_an_answer_that_is_cut(receiver: RecordReceiver, raw: bytes) -> None:
    """Without a status nobody knows: the batch is sent again, and so may come twice."""
    receiver.decide = always(Reply(raw=raw))
    sink = sink_for(receiver)

    told = sent(sink, numbered(0, 3))
    assert 0 < len(told) < 80
    assert "\\x" not in told
    assert sink.waiting == 3
    receiver.decide = always(Reply())
    assert not sent(sink, b"")
    assert receiver.lines()[-3:] == [f'{{"n":{n}}}' for n in range(3)]


@pytest.mark.parametrize(
    "rest",
    [
        b"content-le",
        b"content-length: 100\r\n\r\nshort",
        b"transfer-encoding: chunked\r\n\r\nffff\r\nshort",
        b"transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nshor",
        b"content-length: 999999\r\n\r\n" + b"y" * 999_999,
        b"\r\nuntil the end",
    ],
)
def test_an_answer_whose_rest_is_cut(receiver: RecordReceiver, rest: bytes) -> None:
    """The status is the answer: a body that is cut, endless or packed changes nothing."""
    receiver.decide = always(Reply(raw=b"HTTP/1.1 200 OK\r\n" + rest))
    sink = sink_for(receiver)

    assert not sent(sink, numbered(0, 3))
    receiver.decide = always(Reply())
    assert not sent(sink, numbered(3, 4))
    assert receiver.lines() == [f'{{"n":{n}}}' for n in range(4)]


def test_a_receiver_that_never_answers(receiver: RecordReceiver) -> None:
    """It costs a timeout, and no line."""
    go = threading.Event()

    def wait(_: Received) -> Reply:
        go.wait(PATIENCE_SECONDS)
        return CUT

    receiver.decide = wait
    sink = sink_for(receiver, timeout=0.3)
    assert sent(sink, numbered(0, 3)) == "Timeout: it took too long"
    assert sink.waiting == 3
    go.set()
    receiver.decide = always(Reply())
    assert not sent(sink_for(receiver), numbered(0, 3))


def test_a_receiver_that_drips(receiver: RecordReceiver) -> None:
    """A head that comes byte by byte ends at the timeout too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()
        thread = threading.Thread(target=_drip, args=(listener, stop), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        sink = sink_for(receiver, url=f"http://127.0.0.1:{port}/", timeout=0.4)

        assert sent(sink, numbered(0, 3)) == "Timeout: it took too long"
        stop.set()
        thread.join()


def _drip(listener: socket.socket, stop: threading.Event) -> None:
    connection, _ = listener.accept()
    with connection:
        while not stop.wait(0.02):
            try:
                connection.sendall(b"H")
            except OSError:
                return


def test_an_answer_within_the_timeout(receiver: RecordReceiver) -> None:
    """An answer may take what is left of the timeout, of which connecting may take a part."""
    sink = sink_for(receiver, timeout=300.0)
    waits: list[float] = []

    def note(_: Received) -> Reply:
        connection = sink._receiver._connection
        assert connection is not None
        waits.append(connection.sock.gettimeout() or 0.0)
        return Reply()

    receiver.decide = note
    assert not sent(sink, numbered(0, 3))
    assert waits[0] > 300.0 - PATIENCE_SECONDS


def test_nobody_listens(receiver: RecordReceiver) -> None:
    """A receiver that is away is no error of the start, and told at the first batch."""
    receiver.stop()
    sink = sink_for(receiver)
    sink.follow()
    assert sent(sink, numbered(0, 3)) == "Connection refused"
    receiver.start()

    assert not sent(sink, b"")
    assert receiver.lines() == [f'{{"n":{n}}}' for n in range(3)]


def test_an_address_that_is_refused(receiver: RecordReceiver) -> None:
    """Records, and a token, go to no address where clouds hand out credentials."""
    sink = sink_for(receiver, url="http://169.254.169.254/latest")

    assert "link-local" in sent(sink, numbered(0, 1))


def test_a_token(receiver: RecordReceiver, tmp_path: Path) -> None:
    """It is read anew for each connection; once it expired, a fresh one is tried at once."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}-1\n")
    valid = [f"Bearer {TOKEN}-1"]
    receiver.decide = lambda batch: Reply(
        204 if batch.headers.get("authorization") == valid[0] else 401
    )
    sink = sink_for(receiver, token_file=str(path))
    sink.take(numbered(0, 1))
    sink.flush()
    path.write_text(f"{TOKEN}-2\n")
    valid[0] = f"Bearer {TOKEN}-2"
    sink.take(numbered(1, 2))
    sink.flush()
    sink.close()

    assert receiver.lines() == ['{"n":0}', '{"n":1}']
    assert receiver.connections == 2


@pytest.mark.parametrize("content", [None, "", "two words", f"{TOKEN}\r\nx: y"])
def test_a_token_that_cannot_be_used(
    receiver: RecordReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    """Without the file, or with none in it, nothing is sent; the reason does not quote it."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    sink = sink_for(receiver, token_file=str(path))

    told = sent(sink, numbered(0, 1))
    assert told.startswith("token_file ")
    assert TOKEN not in told + caplog.text
    assert not receiver.requests
    assert sink.waiting == 1


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA."""
    return Authority(tmp_path / "pki")


@pytest.fixture
def secure(authority: Authority) -> Iterator[RecordReceiver]:
    """A receiver over TLS."""
    server = RecordReceiver(authority.issue(dns=("localhost",)))
    yield server
    server.stop()


def test_tls(secure: RecordReceiver, authority: Authority) -> None:
    """The receiver is verified by the CAs of ca_file."""
    sink = sink_for(secure, insecure=False, tls={"ca_file": str(authority.path)})

    assert not sent(sink, numbered(0, 3))
    assert secure.lines() == [f'{{"n":{n}}}' for n in range(3)]


def test_tls_that_is_not_the_receivers(
    secure: RecordReceiver, authority: Authority, tmp_path: Path
) -> None:
    """Nothing is sent to a server of another CA, or with a certificate of another name."""
    other = Authority(tmp_path / "other", "other")
    unknown = sink_for(secure, tls={"ca_file": str(other.path)})
    assert "name the CA that made it in ca_file" in sent(unknown, numbered(0, 3))
    assert "its certificate is invalid" in sent(sink_for(secure), numbered(0, 3))
    secure.show(authority.issue(dns=("elsewhere.example",)))
    named = sink_for(secure, tls={"ca_file": str(authority.path)})
    assert "its certificate is invalid: Hostname mismatch" in sent(named, numbered(0, 3))

    assert not secure.requests
    assert named.waiting == 3


def test_mutual_tls(authority: Authority, tmp_path: Path) -> None:
    """The certificate is shown, as its files are at each connection; without it nothing passes."""
    server = RecordReceiver(authority.issue(dns=("localhost",)), client_ca=authority.path)
    stranger = Authority(tmp_path / "other", "other").issue("spiffe://corp.example/authz")
    own = authority.issue("spiffe://corp.example/authz")
    shown = {
        "certificate": str(stranger.certificate_path),
        "private_key": str(stranger.key_path),
    }
    ca = {"ca_file": str(authority.path)}
    try:
        assert sent(sink_for(server, tls=ca), numbered(0, 1))
        sink = sink_for(server, tls={**ca, "client": shown})
        assert sent(sink, numbered(0, 2))
        assert not server.requests
        Path(shown["certificate"]).write_bytes(own.certificate_path.read_bytes())
        Path(shown["private_key"]).write_bytes(own.key_path.read_bytes())
        assert not sent(sink, b"")
    finally:
        server.stop()

    assert server.lines() == ['{"n":0}', '{"n":1}']


def test_tls_that_goes_wrong(receiver: RecordReceiver, authority: Authority) -> None:
    """A receiver that speaks no TLS is an error in words."""
    url = receiver.url.replace("http://", "https://")
    sink = sink_for(receiver, url=url, tls={"ca_file": str(authority.path)})

    assert 0 < len(sent(sink, numbered(0, 1))) < 80


def test_its_log_has_no_secret(
    receiver: RecordReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a receiver sends back, such as our own request, is in no message."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "token"
    path.write_text(TOKEN)

    def repeat(batch: Received) -> Reply:
        text = "".join(f"{name}: {value}\r\n" for name, value in batch.headers.items())
        return Reply(raw=f"HTTP/1.1 500 {text}\r\n{text} broken head\r\n\r\n".encode())

    receiver.decide = repeat
    sink = sink_for(receiver, token_file=str(path))

    assert TOKEN not in sent(sink, b"secret-record\n") + caplog.text + repr(sink)
    assert "secret-record" not in caplog.text
    assert receiver.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_thread_is_not_left(receiver: RecordReceiver) -> None:
    """Requests leave no thread behind."""
    before = set(threading.enumerate())
    sink = sink_for(receiver)
    for number in range(20):
        sink.take(numbered(number, number + 1))
        sink.flush()
    sink.close()
    receiver.cut()

    wait_until(lambda: set(threading.enumerate()) <= before)
