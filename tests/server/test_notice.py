"""The notice: a stopping server says that it stops, and still answers."""

import signal
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.edge.settings import ServerSettings
from lab.config_builder import LAB, ConfigBuilder
from support.serving import Serving
from support.world import wait_until

LONG = LAB.with_(("server", "drain"), "300s").with_(("server", "notice"), "300s")
GRPCIO = LONG.with_(("server", "transport"), "grpcio")


@pytest.mark.parametrize(
    ("changes", "workers"), [(LONG, 1), (GRPCIO, 1), (LONG, 2)], ids=["native", "grpcio", "workers"]
)
def test_new_connections_are_answered(tmp_path: Path, changes: ConfigBuilder, workers: int) -> None:
    """During the notice health and readiness say no, and checks on new connections are answered."""
    with Serving(tmp_path, changes, workers=workers) as serving:
        serving.read_until("workers are up" if workers > 1 else "serving")
        wait_until(lambda: serving.get("/readyz")[0] == 200)  # and they listen
        serving.process.send_signal(signal.SIGTERM)
        wait_until(lambda: serving.get("/readyz")[0] == 503)

        with grpc.insecure_channel(f"unix:{serving.socket}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            wait_until(lambda: health.Check(health_pb2.HealthCheckRequest()).status == 2)
            assert serving.ask() == "allow"
        assert serving.get("/healthz")[0] == 200


def test_the_end_follows_the_notice(tmp_path: Path) -> None:
    """After the notice the server ends as ever, long before a drain without proxies is over."""
    changes = LAB.with_(("server", "drain"), "300s").with_(("server", "notice"), "100ms")
    with Serving(tmp_path, changes) as serving:
        serving.read_until("serving")
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(60) == 0


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [({"drain": 10.0}, 2.5), ({"drain": 1.0}, 0.5), ({"drain": 10.0, "notice": 8.0}, 8.0)],
)
def test_the_default_is_short(keys: dict[str, float], seconds: float) -> None:
    """Left out, the notice is 2.5 s, or half of a shorter drain."""
    assert ServerSettings.model_validate({"listen": "unix:/a", **keys}).notice_seconds == seconds
