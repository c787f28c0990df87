"""gRPC health checking on our own port: answered without waiting, for those who may ask."""

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from authz.edge.methods import AUTHORIZATION, EXT_MCP
from authz.edge.settings import TransportKind
from lab.mesh import TRAVEL
from support.frames import HEALTH, WATCH
from support.ports import WAYPOINT, listening

PERMISSION_DENIED, EXHAUSTED, UNIMPLEMENTED = "7", "8", "12"
SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING


@pytest.mark.usefixtures("each_transport")
def test_the_status_that_was_set(tmp_path: Path) -> None:
    """Check and List tell it for each service, and for the server as a whole."""
    with listening(tmp_path) as port, grpc.insecure_channel(port.transport.addresses[-1]) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        for is_serving, status in ((True, SERVING), (False, NOT_SERVING)):
            port.transport.set_serving(serving=is_serving)
            for name in ("", AUTHORIZATION, EXT_MCP):
                assert stub.Check(pb.HealthCheckRequest(service=name), timeout=60).status == status
            listed = stub.List(pb.HealthListRequest(), timeout=60).statuses
            assert {name: one.status for name, one in listed.items()} == dict.fromkeys(
                ("", AUTHORIZATION, EXT_MCP), status
            )


def test_a_server_that_was_told_nothing_is_not_serving(tmp_path: Path) -> None:
    """The status at the start is the strict one."""
    with listening(tmp_path) as port, grpc.insecure_channel(port.transport.addresses[-1]) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        assert stub.Check(pb.HealthCheckRequest(), timeout=60).status == NOT_SERVING


@pytest.mark.usefixtures("each_transport")
def test_what_can_not_be_answered(tmp_path: Path) -> None:
    """An unknown service is NOT_FOUND, a message that is none INVALID_ARGUMENT."""
    with listening(tmp_path) as port, grpc.insecure_channel(port.transport.addresses[-1]) as opened:
        ask = opened.unary_unary(HEALTH, bytes, bytes)
        unknown = pb.HealthCheckRequest(service="authz").SerializeToString()
        for message, code in ((unknown, "NOT_FOUND"), (b"\xff", "INVALID_ARGUMENT")):
            with pytest.raises(grpc.RpcError, match=code):
                ask(message, timeout=60)


@pytest.mark.usefixtures("each_transport")
@pytest.mark.parametrize(("name", "status"), [(WAYPOINT, "0"), (TRAVEL, PERMISSION_DENIED)])
def test_who_may_ask(tmp_path: Path, name: str, status: str) -> None:
    """Over TLS only proxies that are listed learn anything; others do connect."""
    with listening(tmp_path) as port, port.hostile("tls", name) as client:
        for method in (HEALTH, HEALTH.replace("Check", "List")):
            assert client.ends(client.call(b"", method)) == status


def test_a_watch_is_told_of_changes(tmp_path: Path) -> None:
    """It begins with the status of now; a service that is not here is no error; a stop ends it."""
    with listening(tmp_path) as port, grpc.insecure_channel(port.transport.addresses[-1]) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        seen = stub.Watch(pb.HealthCheckRequest(service=AUTHORIZATION), timeout=60)
        for is_serving, status in ((False, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
            port.transport.set_serving(serving=is_serving)
            assert next(seen).status == status
        unknown = stub.Watch(pb.HealthCheckRequest(service="none"), timeout=60)
        assert next(unknown).status == pb.HealthCheckResponse.SERVICE_UNKNOWN
        port.transport.stop(5)
        for watch in (seen, unknown):
            with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                next(watch)


def test_watches_that_nobody_reads(tmp_path: Path) -> None:
    """However many they are, changes are told to others at once, and they cost a message each."""
    with listening(tmp_path) as port, port.hostile(window=0) as deaf, port.hostile() as client:
        for _ in range(100):
            deaf.call(b"", WATCH)
        watch = client.call(b"", WATCH)
        client.read_until(lambda: watch in client.messages)
        for number in range(100):
            port.transport.set_serving(serving=number % 2 == 0)
        port.transport.set_serving(serving=True)

        client.read_until(lambda: client.messages[watch].endswith(b"\x08\x01"))
        stream = client.call(b"", HEALTH)
        assert client.ends(stream) == "0"


def test_more_watches_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused, and a Watch that its client gives up makes room."""
    monkeypatch.setattr("authz.transports.native.watches.MAX_WATCHES", 3)
    with listening(tmp_path) as port, port.hostile() as client:
        streams = [client.call(b"", WATCH) for _ in range(4)]
        assert client.ends(streams[3]) == EXHAUSTED
        client.reset(streams[0])
        again = client.call(b"", WATCH)
        client.read_until(lambda: again in client.messages)


@pytest.mark.parametrize(
    ("name", "status"), [(WAYPOINT, UNIMPLEMENTED), (TRAVEL, PERMISSION_DENIED)]
)
def test_nobody_watches_by_grpcio(tmp_path: Path, name: str, status: str) -> None:
    """Watch is not there: however many ask for it and read nothing, a status is told at once."""
    grpcio = TransportKind.GRPCIO
    with (
        listening(tmp_path, transport=grpcio) as port,
        port.hostile("tls", name, window=0) as client,
    ):
        streams = [client.call(b"", WATCH) for _ in range(500)]
        for number in range(100):
            port.transport.set_serving(serving=number % 2 == 1)

        assert {client.ends(stream) for stream in streams} == {status}
        with port.hostile() as other:
            stream = other.call(b"", HEALTH)
            assert other.ends(stream) == "0"
            assert other.messages[stream][5:] == b"\x08\x01"
