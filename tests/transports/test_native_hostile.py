"""What a hostile client does to the native transport, and what it does to nobody else."""

import socket
import struct
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2 as pb

from lab.ca import Authority
from support.frames import HEALTH, WATCH, framed
from support.ports import SERVER, listening, message_of
from support.world import wait_until

NOT_ALLOWED, EXHAUSTED, INVALID = "7", "8", "3"
_HANG_UP_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER, of 0 seconds


def test_watchers_that_hang_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave room for others, though we learn that they are gone as we tell the status."""
    monkeypatch.setattr("authz.transports.native.watches.MAX_WATCHES", 3)
    with listening(tmp_path) as port:
        for _ in range(10):
            with port.hostile() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HANG_UP_AT_ONCE)
                for _ in range(3):
                    client.send(client.open(WATCH), framed(b""))
                client.flush()
        with port.hostile() as client:
            watch = client.call(b"", WATCH)
            client.read_until(lambda: watch in client.messages or watch in client.statuses)
            assert watch in client.messages


@pytest.mark.parametrize("method", [WATCH, HEALTH])
@pytest.mark.parametrize("size", [5_000, 60_000, 1_000_000])
def test_health_of_a_service_with_an_endless_name(
    tmp_path: Path, method: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused: a Watch would keep the name, and to read it holds up others. No fault of ours.

    The largest is in pieces, as the client's windows and frames are smaller.
    """
    message = framed(pb.HealthCheckRequest(service="x" * size).SerializeToString())
    with listening(tmp_path) as port, port.hostile() as client:
        stream = client.open(method)
        for at in range(0, len(message), 16_384):
            client.send(stream, message[at : at + 16_384], ends=at + 16_384 >= len(message))
            client.flush()
        assert client.ends(stream) == INVALID
    assert "internal error" not in caplog.text


def test_a_call_that_begins_before_its_ca_is_removed(tmp_path: Path) -> None:
    """It is not decided: whoever is trusted no more asks nothing, and is not taken for nobody."""
    with listening(tmp_path) as port, port.hostile("tls") as client:
        stream = client.open()
        client.flush()
        assert client.ends(client.call(b"", HEALTH)) == "0"  # so the headers were read
        other = Authority(tmp_path / "other", "other")
        port.write(other.issue(SERVER, dns=("localhost",)), other)
        wait_until(lambda: port.tls.authorities == (other.certificate,))

        client.send(stream, framed(message_of(port).SerializeToString()))
        client.flush()

        assert client.ends(stream) == NOT_ALLOWED
        assert port.metric("authz_callers_refused_total") == 1
