"""Records by syslog, to a real rsyslog."""

import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz import __version__
from authz.adapters.audit.settings import SyslogSinkSettings
from authz.adapters.audit.sinks import syslog_sink
from authz.adapters.audit.sinks.sink import Sink
from authz.adapters.audit.sinks.syslog_sink import SyslogSink
from authz.adapters.receivers.receiver import ReceiverError
from lab.ca import Authority, Svid
from support.conformance.audit_sink import AuditSinkConformance, Destination
from support.rsyslog import Rsyslog, RsyslogTls
from support.world import wait_until

BOM = "\ufeff"
DRIVERS = ("ossl", "gtls")


class Syslog:
    """A receiver that goes away and comes back."""

    def __init__(self, rsyslog: Rsyslog, sink: Sink) -> None:
        """Take both."""
        self._rsyslog, self.sink = rsyslog, sink

    def lines(self) -> list[str]:
        """Return what arrived, of what was doubled the first."""
        return self._rsyslog.lines()

    def break_(self) -> None:
        """Stop the receiver."""
        self._rsyslog.stop()

    def mend(self) -> None:
        """Start it again."""
        self._rsyslog.start()


class TestTcp(AuditSinkConformance):
    """Plain TCP."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        with Rsyslog(folder / "rsyslog") as rsyslog:
            yield Syslog(rsyslog, plain_sink(rsyslog.address))


class TestTls(AuditSinkConformance):
    """TLS."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        authority = Authority(folder / "pki")
        tls = RsyslogTls("ossl", authority.issue(dns=("localhost",)))
        with Rsyslog(folder / "rsyslog", tls) as rsyslog:
            yield Syslog(rsyslog, tls_sink(rsyslog, authority))


def plain_sink(address: str, **changes: object) -> SyslogSink:
    """Return a sink without TLS."""
    given = {"address": address, "insecure": True, **changes}
    return SyslogSink(SyslogSinkSettings.model_validate(given))


def tls_sink(rsyslog: Rsyslog, authority: Authority, client: Svid | None = None) -> SyslogSink:
    """Return a sink for a receiver of this authority."""
    address = f"localhost:{rsyslog.address.rpartition(':')[2]}"
    tls: dict[str, object] = {"ca_file": str(authority.path)}
    if client is not None:
        pair = {"certificate": str(client.certificate_path), "private_key": str(client.key_path)}
        tls["client"] = pair
    return SyslogSink(SyslogSinkSettings.model_validate({"address": address, "tls": tls}))


def sent(sink: SyslogSink, *lines: str) -> None:
    """Have the sink send lines. Raises OSError."""
    sink.follow()
    sink.take("".join(f"{line}\n" for line in lines).encode())
    sink.flush()


def test_fields(tmp_path: Path) -> None:
    """A message has the fields of RFC 5424, as rsyslog reads them."""
    lines = [
        '{"decision":"allow","time":"2026-11-29T16:45:00.123456Z","trace_id":""}',
        '{"decision":"deny","claims":{"time":"x"},"time":"2026-11-29T16:45:01Z"}',
        '{"audit":"dropped","count":2,"time":"2026-11-29T16:45:02.5Z","log":"a","index":3}',
        '{"audit":"closed","reason":"stopped","time":"2026-11-29T16:45:03Z"}',
        '{"audit":"closed","reason":"crashed","time":"2026-11-29T16:45:04Z"}',
    ]
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address)
        sent(sink, *lines)
        sink.close()
        messages = rsyslog.messages()

    assert [one.msg for one in messages] == lines
    assert [one.pri for one in messages] == [
        "110",
        "108",
        "108",
        "110",
        "108",
    ]  # 13 * 8, and 6 or 4
    assert [one.timestamp for one in messages] == [
        "2026-11-29T16:45:00.123456Z",
        "2026-11-29T16:45:01Z",
        "2026-11-29T16:45:02.5Z",
        "2026-11-29T16:45:03Z",
        "2026-11-29T16:45:04Z",
    ]
    kinds = ["decision", "decision", "audit.dropped", "audit.closed", "audit.closed"]
    assert [one.msgid for one in messages] == kinds
    assert [one.sequence_id for one in messages] == [1, 2, 3, 4, 5]
    first = messages[0]
    origin = f'[origin software="agent-authz" swVersion="{__version__}"]'
    assert first.structured_data == f'[meta sequenceId="1"]{origin}'
    assert (first.version, first.app_name) == ("1", "agent-authz")
    assert (first.hostname, first.procid) == (socket.gethostname(), str(os.getpid()))


@pytest.mark.parametrize("facility", [0, 13, 23])
def test_facility(tmp_path: Path, facility: int) -> None:
    """The facility is the config's."""
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address, facility=facility)
        sent(sink, '{"decision":"deny"}')
        sink.close()

        assert [one.pri for one in rsyslog.messages()] == [str(8 * facility + 4)]


def test_text_that_is_not_ascii(tmp_path: Path) -> None:
    """UTF-8 arrives as it is, behind the BOM that says so; ASCII has none."""
    lines = ['{"detail":"käse ] \\\\ \\" €"}', '{"detail":"cheese"}']
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address)
        sent(sink, *lines)
        sink.close()

        assert [one.msg for one in rsyslog.messages()] == [BOM + lines[0], lines[1]]


@pytest.mark.parametrize("driver", DRIVERS)
def test_tls_drivers(tmp_path: Path, driver: str) -> None:
    """Receivers with OpenSSL and with GnuTLS take TLS with the octet counts of RFC 5425."""
    authority = Authority(tmp_path / "pki")
    tls = RsyslogTls(driver, authority.issue(dns=("localhost",)))
    lines = [json.dumps({"detail": "x" * size}) for size in (1, 20_000, 3)]
    with Rsyslog(tmp_path / "rsyslog", tls) as rsyslog:
        sink = tls_sink(rsyslog, authority)
        sent(sink, *lines)
        sink.close()

        assert [one.msg for one in rsyslog.messages()] == lines


@pytest.mark.parametrize("names", [("other.example",), ("*.example",), ()])
def test_receiver_with_another_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    """A certificate for another name gets no record (RFC 5425 section 5.2)."""
    authority = Authority(tmp_path / "pki")
    tls = RsyslogTls("ossl", authority.issue("spiffe://corp.example/log", dns=names))
    with Rsyslog(tmp_path / "rsyslog", tls) as rsyslog:
        sink = tls_sink(rsyslog, authority)
        with pytest.raises(ReceiverError, match="its certificate is invalid: Hostname mismatch"):
            sent(sink, "secret")
        sink.close()

        assert (rsyslog.messages(), sink.waiting) == ([], 1)


def test_receiver_of_another_authority(tmp_path: Path) -> None:
    """A certificate of another CA gets no record."""
    authority, other = Authority(tmp_path / "pki"), Authority(tmp_path / "other")
    tls = RsyslogTls("ossl", other.issue(dns=("localhost",)))
    with Rsyslog(tmp_path / "rsyslog", tls) as rsyslog:
        sink = tls_sink(rsyslog, authority)
        with pytest.raises(ReceiverError, match="its certificate is invalid"):
            sent(sink, "secret")
        sink.close()

        assert (rsyslog.messages(), sink.waiting) == ([], 1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_receiver_that_asks_for_a_certificate(tmp_path: Path, driver: str) -> None:
    """Without a certificate, which TLS 1.3 tells late, no line counts as sent; with it all go."""
    authority = Authority(tmp_path / "pki")
    tls = RsyslogTls(driver, authority.issue(dns=("localhost",)), authority.path)
    with Rsyslog(tmp_path / "rsyslog", tls) as rsyslog:
        refused = tls_sink(rsyslog, authority)
        with pytest.raises(ReceiverError, match="may ask for a certificate"):
            sent(refused, "lost?")
        refused.close()
        assert refused.waiting == 1
        sink = tls_sink(rsyslog, authority, authority.issue("spiffe://corp.example/authz"))
        sent(sink, "one", "two")
        sink.close()

        assert rsyslog.lines() == ["one", "two"]


def test_close_notify(tmp_path: Path) -> None:
    """A close ends TLS in order (RFC 5425 section 4.4), behind the last message."""
    authority = Authority(tmp_path / "pki")
    shown = authority.issue(dns=("localhost",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.certificate_path, shown.key_path)
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        reading = threading.Thread(target=_read_to_the_end, args=(server, context, got))
        reading.start()
        settings = {
            "address": f"localhost:{server.getsockname()[1]}",
            "tls": {"ca_file": str(authority.path)},
        }
        sink = SyslogSink(SyslogSinkSettings.model_validate(settings))
        sent(sink, "one")
        sink.close()
        reading.join()

    assert got[-1] == b""
    assert b"".join(got).endswith(b"] one")


def _read_to_the_end(server: socket.socket, context: ssl.SSLContext, got: list[bytes]) -> None:
    plain, _ = server.accept()
    with context.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as connection:
        while not got or got[-1]:
            got.append(connection.recv(4096))  # raises SSLEOFError without a close_notify


def test_plain_text_to_tls(tmp_path: Path) -> None:
    """A receiver without TLS is told, and gets no record."""
    with Rsyslog(tmp_path / "rsyslog") as rsyslog:
        sink = tls_sink(rsyslog, Authority(tmp_path / "pki"))
        rsyslog.stop()
        with socket.create_server(("127.0.0.1", int(rsyslog.address.rpartition(":")[2]))) as server:
            answering = threading.Thread(target=_answer_plainly, args=(server,))
            answering.start()
            with pytest.raises(ReceiverError, match="TLS failed: WRONG_VERSION_NUMBER"):
                sent(sink, "secret")
            answering.join()
        sink.close()


def _answer_plainly(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_killed_receiver(tmp_path: Path) -> None:
    """What a killed receiver had not read of the last flush is sent again."""
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address)
        sent(sink, "one")
        wait_until(lambda: rsyslog.lines() == ["one"])
        rsyslog.suspend()  # its machine takes what it does not read
        sent(sink, "two", "three")
        assert not sink.waiting
        rsyslog.stop(signal.SIGKILL)
        rsyslog.start()
        sink.follow()  # which needs no further record
        wait_until(lambda: rsyslog.lines() == ["one", "two", "three"])
        sent(sink, "four")
        sink.close()

        assert rsyslog.lines() == ["one", "two", "three", "four"]


def test_killed_receiver_that_had_read(tmp_path: Path) -> None:
    """What it had read of the last flush arrives twice, with the same sequenceId."""
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address)
        sent(sink, "one")
        sent(sink, "two")
        wait_until(lambda: rsyslog.lines() == ["one", "two"])
        rsyslog.stop(signal.SIGKILL)
        rsyslog.start()
        sent(sink, "three")
        sink.close()

        got = [(one.sequence_id, one.msg) for one in rsyslog.messages()]
        assert got == [(1, "one"), (2, "two"), (2, "two"), (3, "three")]


def test_receiver_that_ends_idle_connections(tmp_path: Path) -> None:
    """What a receiver has had for long, on an open connection, is not sent again."""
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address)
        sent(sink, "one", "two")
        wait_until(lambda: len(rsyslog.lines()) == 2)
        sink.follow()
        assert len(sink._doubt) == 2
        sink._sent_at -= syslog_sink.CONFIRM_SECONDS  # as if it had been long ago
        sink.follow()
        assert not sink._doubt
        rsyslog.stop()
        rsyslog.start()
        sink.follow()
        sent(sink, "three")
        sink.close()

        assert [one.msg for one in rsyslog.messages()] == ["one", "two", "three"]


def test_receiver_away_at_the_stop(tmp_path: Path) -> None:
    """A stop sends what is in doubt once more, if the receiver is back."""
    with Rsyslog(tmp_path) as rsyslog:
        sink = plain_sink(rsyslog.address)
        rsyslog.suspend()
        sent(sink, "one")
        rsyslog.stop(signal.SIGKILL)
        rsyslog.start()
        sink.close()

        assert rsyslog.lines() == ["one"]


def test_receiver_that_reads_slowly() -> None:
    """A receiver that does not read costs the timeout; the lines wait, those before included."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sink = plain_sink(f"127.0.0.1:{server.getsockname()[1]}", timeout="200ms")
        lines = ["x" * 60_000] * 20
        with pytest.raises(OSError, match="timed out"):
            _sent_often(sink, lines, 1000)
        assert sink.waiting == 20
    sink.close()


def test_receiver_that_ends_every_connection() -> None:
    """A balancer that takes connections and closes them costs no line, and has a bound."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.02)
        closing = threading.Thread(target=_take_and_close, args=(server, stop))
        closing.start()
        sink = plain_sink(f"127.0.0.1:{server.getsockname()[1]}")
        lines = ["x"] * 1000
        with pytest.raises(OSError, match=r"closed|ends each|[Rr]eset|pipe"):
            _sent_often(sink, lines, 20 * syslog_sink.MAX_IN_DOUBT // len(lines))
        assert len(sink._doubt) <= syslog_sink.MAX_IN_DOUBT + len(lines)
        stop.set()
        closing.join()
    sink.close()


def _sent_often(sink: SyslogSink, lines: list[str], times: int) -> None:
    for _ in range(times):
        _sent_at_last(sink, lines)


def _sent_at_last(sink: SyslogSink, lines: list[str]) -> None:
    """Send lines, whatever the first attempts bring. Raises OSError after some."""
    sink.take("".join(f"{line}\n" for line in lines).encode())
    for attempt in range(5):
        try:
            sink.flush()
        except OSError:
            if attempt == 4:
                raise
        else:
            return


def _take_and_close(server: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        connection.close()


def test_ipv6_address() -> None:
    """An IPv6 address stands in brackets."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        sink = plain_sink(f"[::1]:{server.getsockname()[1]}")
        sent(sink, "one")
        connection, _ = server.accept()
        with connection:
            assert b"agent-authz" in connection.recv(4096)
    sink.close()


def test_addresses_that_are_refused() -> None:
    """Records go to no address where clouds hand out credentials; nothing is connected."""
    settings = SyslogSinkSettings(address="169.254.169.254:80", insecure=True)
    sink = SyslogSink(settings)
    sink.take(b"{}\n")
    with pytest.raises(ReceiverError, match="link-local"):
        sink.flush()
    assert sink.waiting == 1


def test_a_receiver_that_never_shakes_hands() -> None:
    """It is told in words, and costs the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        sink = SyslogSink(SyslogSinkSettings.model_validate({"address": address, "timeout": "1s"}))
        sink.take(b"{}\n")
        with pytest.raises(ReceiverError, match="Timeout"):
            sink.flush()
