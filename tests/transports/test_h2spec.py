"""Conformance: the native transport passes all of h2spec, the tests of HTTP/2 servers.

It is in Go, and from others who read RFC 9113 without our code. It covers RFC 7541 too.
"""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.adapters.metrics import Metrics
from authz.edge.check_pool import CheckPool
from authz.edge.settings import ServerSettings, TransportKind
from authz.transports.native import NativeTransport
from authz.transports.transport import TransportParts
from support.go_tools import MISSING
from support.h2spec import CASES, run_h2spec

pytestmark = [
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    pytest.mark.timeout(400),  # a cold Go compiler takes a minute
]


@pytest.fixture
def native_port() -> Iterator[int]:
    """Give the TCP port of a server on the native transport."""
    settings = ServerSettings(listen=("127.0.0.1:0",), transport=TransportKind.NATIVE)
    parts = TransportParts(settings, {}, None, Metrics(), CheckPool(2, 2))
    transport = NativeTransport(parts)
    transport.start()
    yield int(transport.addresses[0].rpartition(":")[2])
    transport.stop(0)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Give a port that hangs up on each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_hang_up, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _hang_up(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


def test_the_native_transport_passes_whole(native_port: int, tmp_path: Path) -> None:
    """All cases pass, the strict one included, and none is skipped."""
    report = run_h2spec(native_port, tmp_path / "h2spec.xml")
    assert not report.failures, "\n".join(report.failures)
    assert not report.skipped, "\n".join(report.skipped)
    assert report.cases == CASES


def test_a_server_that_hangs_up_fails(deaf_port: int, tmp_path: Path) -> None:
    """The run can fail: against a port that is no HTTP/2 server, most cases do."""
    report = run_h2spec(deaf_port, tmp_path / "h2spec.xml")
    assert report.cases == CASES
    assert len(report.failures) > CASES // 2
