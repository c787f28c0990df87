"""The admin pages over real sockets: what they answer, and clients that are slow or rude."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from authz.adapters.admin import MAX_CONNECTIONS, AdminServer
from authz.adapters.admin_settings import AdminSettings
from authz.adapters.http_server import ListenError
from support.world import PATIENCE_SECONDS, wait_until


class Probe:
    """An admin server whose readiness a test decides."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        """Start."""
        self.ready: tuple[bool, dict[str, Any]] | Exception = (True, {"keys": True})
        registry = CollectorRegistry()
        Counter("tests_run", "Tests that ran", registry=registry).inc(3)
        self.admin = AdminServer(listen, registry, self.readiness)
        self.admin.start()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """What the test said, or its failure."""
        if isinstance(self.ready, Exception):
            raise self.ready
        return self.ready

    def connect(self) -> socket.socket:
        """A connection."""
        host, _, port = self.admin.address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_SECONDS)

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes."""
        with self.connect() as client:
            with suppress(OSError):  # refused, and closed, before it had read all of it
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            return _all_of(client)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """A GET."""
        return httpx.get(
            f"http://{self.admin.address}{path}",
            headers=headers,
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        )


def _all_of(client: socket.socket) -> bytes:
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass  # closed with our bytes unread; what it answered came before
    return b"".join(parts)


@pytest.fixture
def probe() -> Iterator[Probe]:
    """A running admin server."""
    one = Probe()
    yield one
    one.admin.close()


def test_metrics_in_either_format(probe: Probe) -> None:
    """Metrics come as Prometheus text, or as OpenMetrics for those who ask for it."""
    plain = probe.get("/metrics")
    opened = probe.get("/metrics?x=1", accept="application/openmetrics-text; version=1.0.0")

    assert (plain.status_code, opened.status_code) == (200, 200)
    assert plain.headers["content-type"].startswith("text/plain")
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert "tests_run_total 3.0" in plain.text
    assert opened.text.endswith("# EOF\n")


def test_health_and_readiness(probe: Probe) -> None:
    """Health is that the process lives; readiness is what its owner says, with the parts."""
    assert (probe.get("/healthz").status_code, probe.get("/healthz").text) == (200, "ok\n")
    ready = probe.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "checks": {"keys": True}}
    probe.ready = (False, {"keys": False})
    late = probe.get("/readyz")

    assert late.status_code == 503
    assert late.headers["content-type"] == "application/json"
    assert json.loads(late.content) == {"ready": False, "checks": {"keys": False}}
    assert probe.get("/healthz").status_code == 200


def test_a_readiness_that_fails(probe: Probe, caplog: pytest.LogCaptureFixture) -> None:
    """A probe that can't be answered gets a 500, and the log the failure's kind, not its text."""
    probe.ready = ValueError("secret")

    assert probe.get("/readyz").status_code == 500
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text
    assert probe.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/metric", "/metrics/", "/Metrics", "/healthz/..", "/%6detrics", "/readyz%00"]
)
def test_other_paths(probe: Probe, path: str) -> None:
    """Anything but the three pages is not found."""
    assert probe.get(path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "CUSTOM"])
def test_other_methods(probe: Probe, method: str) -> None:
    """Anything but GET is not allowed, and the answer says what is (RFC 9110 section 15.5.6)."""
    answer = httpx.request(method, f"http://{probe.admin.address}/metrics", trust_env=False)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\n" + (b"A: " + b"a" * 2_000 + b"\r\n") * 20, b"431"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"505"),
    ],
)
def test_requests_that_are_too_much(probe: Probe, data: bytes, status: bytes) -> None:
    """Requests beyond the limits are refused, and the next one is served."""
    answer = probe.raw(data)

    assert answer.split(b" ", 2)[1] == status or answer == b"not served: plain GET only\n"
    assert probe.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "data", [b"", b"\r\n", b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"<script>alert(1)</script>\n"]
)
def test_garbage_is_not_repeated(probe: Probe, data: bytes) -> None:
    """What is not HTTP is dropped or refused, without any of its words."""
    assert b"script" not in probe.raw(data)
    assert probe.get("/healthz").status_code == 200


def test_clients_that_leave(
    probe: Probe, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that resets its connection leaves no trace in the log or on standard error."""
    caplog.set_level(logging.INFO)
    for data in (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"):
        client = probe.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(data)
        client.close()
    assert probe.get("/healthz").status_code == 200
    wait_until(lambda: not vars(probe.admin._server)["_ends"])  # each was looked at

    assert capfd.readouterr().err == ""
    assert not [one for one in caplog.records if one.name.startswith("authz")]


def test_a_client_that_trickles(probe: Probe) -> None:
    """Sending a byte now and then does not keep a connection beyond the time of a request."""
    with probe.connect() as client:
        client.settimeout(0.5)

        def is_ended() -> bool:
            try:
                client.sendall(b"G")
                return client.recv(100) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_ended)


@pytest.mark.parametrize("said", [b"", b"G", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"])
def test_silence_does_not_keep_probes_out(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections are held open without a whole request, probes are answered."""
    monkeypatch.setattr(
        "authz.adapters.admin.REQUEST_SECONDS", 10 * PATIENCE_SECONDS
    )  # none ends by itself
    with ExitStack() as held:
        probe = Probe()
        held.callback(probe.admin.close)
        idle = []
        for number in range(200):
            idle.append(held.enter_context(probe.connect()))
            idle[-1].sendall(said)
            if number % 40 == 0:
                assert probe.get("/healthz").status_code == 200
                assert probe.get("/metrics").status_code == 200
        assert probe.get("/readyz").status_code == 200
        assert _all_of(idle[0]) == b""  # ended, to make room


def test_answers_are_not_cut_short(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that are being answered are not ended; one more than the bound is closed."""
    monkeypatch.setattr("authz.adapters.admin.REQUEST_SECONDS", 10 * PATIENCE_SECONDS)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> tuple[bool, dict[str, Any]]:
        begun.release()
        assert go_on.wait(PATIENCE_SECONDS)
        return True, {}

    probe.admin._readiness = slow
    asking = [probe.connect() for _ in range(MAX_CONNECTIONS)]
    for client in asking:
        client.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
    for _ in asking:
        assert begun.acquire(timeout=PATIENCE_SECONDS)
    with probe.connect() as one_more:
        assert _all_of(one_more) == b""
    go_on.set()
    answers = [_all_of(client) for client in asking]
    for client in asking:
        client.close()

    assert all(answer.startswith(b"HTTP/1.0 200 OK") for answer in answers)


def test_ipv6() -> None:
    """An IPv6 address in brackets is listened on, and its address can be used as it is told."""
    probe = Probe("[::1]:0")
    try:
        assert probe.admin.address.startswith("[::1]:")
        assert probe.get("/healthz").status_code == 200
    finally:
        probe.admin.close()


@pytest.mark.parametrize("listen", ["127.0.0.1:99999", "203.0.113.1:0", "not a host:0"])
def test_addresses_that_cannot_be_listened_on(listen: str) -> None:
    """An address that is not ours is an error that names it."""
    with pytest.raises(ListenError, match=listen):
        Probe(listen)


def test_a_port_in_use(probe: Probe) -> None:
    """A port that another has is an error, not a share."""
    with pytest.raises(ListenError, match=probe.admin.address):
        Probe(probe.admin.address)


def test_close(probe: Probe) -> None:
    """Once closed nothing listens, and closing again, or before a start, does nothing."""
    probe.admin.close()
    probe.admin.close()
    AdminServer(AdminSettings().listen, CollectorRegistry(), probe.readiness).close()

    with pytest.raises(ConnectionRefusedError):
        probe.connect()
