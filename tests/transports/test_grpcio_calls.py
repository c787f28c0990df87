"""What of its calls is grpcio's alone: stages that are bounded in number, and its internals."""

from functools import partial
from pathlib import Path

import pytest

from authz.edge.methods import methods_of
from authz.edge.settings import ServerSettings, TransportKind
from authz.transports.grpcio import rpc as grpcio
from authz.transports.opening import open_transport
from authz.transports.transport import TransportError, TransportParts
from lab.mesh import TRAVEL
from support.frames import HEALTH, RESET, WATCH, half_open
from support.inside import give_time, open_calls
from support.ports import Port, answer_on_the_socket, listening
from support.world import wait_until

CANCELLED, PERMISSION_DENIED, UNIMPLEMENTED = "1", "7", "12"
kinds = pytest.mark.parametrize("kind", ["unix", "tls"])
listening_by_grpcio = partial(listening, transport=TransportKind.GRPCIO)


def test_the_oldest_half_open_calls_give_way(tmp_path: Path) -> None:
    """No more of them are held than checks may be under way."""
    with listening_by_grpcio(tmp_path, max_concurrent=8) as port, port.hostile() as client:
        for number in range(40):
            half_open(client, number)
        client.flush()
        wait_until(lambda: port.metric("authz_calls_ended_total", cause="half_open") >= 32)

        assert open_calls(port) <= 8
        assert answer_on_the_socket(port) == "agent_invalid"


def test_answers_that_nobody_reads_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are too many, the oldest is dropped."""
    monkeypatch.setattr("authz.transports.grpcio.calls.MAX_SENDING", 10)
    with listening_by_grpcio(tmp_path) as port, port.hostile(window=0) as client:
        streams = [client.call(b"", HEALTH) for _ in range(30)]

        client.read_until(lambda: len(client.statuses) == 20)  # threads may swap two of them
        assert {client.statuses.get(stream) for stream in streams} <= {CANCELLED, RESET, None}
        wait_until(lambda: open_calls(port) == 10)


@kinds
def test_unread_refusals_of_methods_that_are_not_there(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted and ended as all calls are, and who may not ask learns nothing by them."""
    give_time(monkeypatch, 1.0)
    monkeypatch.setattr("authz.transports.grpcio.calls.MAX_SENDING", 100)
    unread = partial(Port.metric, name="authz_calls_ended_total", cause="unread")
    with listening_by_grpcio(tmp_path) as port, port.hostile(kind) as client:
        assert client.ends(client.call(b"", "/no/method")) == UNIMPLEMENTED
        assert client.ends(client.call(b"", WATCH)) == UNIMPLEMENTED
        if kind == "unix":  # its buffers are small: unread answers stay with us
            for _ in range(2000):  # in h2 the square of it is work, while the server's pings wait
                client.open("/no/method")
            client.flush()
            wait_until(lambda: unread(port) > 1000)
            assert open_calls(port) <= 101
            wait_until(lambda: open_calls(port) == 0)
        else:
            with port.hostile(kind, TRAVEL) as stranger:
                assert stranger.ends(stranger.call(b"", "/no/method")) == PERMISSION_DENIED
        assert answer_on_the_socket(port) == "agent_invalid"


def test_another_grpcio_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is used of grpcio beyond its public API is looked at before anything listens."""
    grpcio.require_known_grpcio()

    def receive(state: object, call: object) -> None:
        """Another one's way."""

    listen = (f"unix:{tmp_path}/other.sock",)
    settings = ServerSettings(listen=listen, transport=TransportKind.GRPCIO)
    with listening_by_grpcio(tmp_path) as port:
        for name, other in (("_receive_message", receive), ("_handle_unary_unary", receive)):
            with monkeypatch.context() as patch:
                patch.setattr(f"authz.transports.grpcio.rpc.{name}", other)
                parts = port.world.parts
                carrying = TransportParts(
                    settings, methods_of(parts.service), None, parts.metrics, parts.pool
                )
                with pytest.raises(TransportError, match="grpcio"):
                    open_transport(carrying)
