"""The log is JSON, a line for each event, whatever the C libraries below would say."""

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from lab.ca import Authority
from lab.config_builder import LAB, ConfigBuilder
from support.serving import Serving
from support.workload_api import WorkloadApi
from support.world import PATIENCE_SECONDS, wait_until

GATEWAY = "spiffe://corp.example/gateway"
# What a port scanner, a plain client and a broken one send to a TLS port.
SCRAPS = (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 64, b"")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[WorkloadApi]:
    """An agent that gives no identity."""
    served = WorkloadApi(tmp_path / "api.sock")
    served.status = grpc.StatusCode.PERMISSION_DENIED
    yield served
    served.close()


def changes(folder: Path, api: WorkloadApi) -> ConfigBuilder:
    """Serve by gRPC's library with TLS, for an issuer whose keys the agent has."""
    authority = Authority(folder / "tls")
    own = authority.issue("spiffe://corp.example/authz")
    files = f"certificate: {own.certificate_path}, private_key: {own.key_path}"
    tls = f"{{{files}, client_ca: {authority.path}, allowed_callers: ['{GATEWAY}']}}"
    bundle = f"{{trust_domain: corp.example, workload_api: '{api.address}'}}"
    issuer = f"[{{issuer: 'https://b.example', keys: {{spiffe_bundle: {bundle}}}, audiences: [x]}}]"
    return (
        LAB.with_(("server", "transport"), "grpcio")
        .with_yaml(("server", "tls"), tls)
        .with_yaml(("server", "listen"), f"['unix:{folder}/authz-{{worker}}.sock', '127.0.0.1:0']")
        .with_items(("issuers",), issuer, 1)
    )


def spoil(port: int) -> None:
    """Make handshakes that fail, each in a way of its own."""
    for scrap in SCRAPS:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client:
            client.sendall(scrap)
            with suppress(OSError):
                client.recv(1)
    context = ssl.create_default_context()  # trusts others, and has no certificate to show
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


def test_only_json(tmp_path: Path, api: WorkloadApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gRPC's library, failing handshakes and an agent that refuses, every line is JSON."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    with Serving(tmp_path, changes(tmp_path, api)) as serving:
        lines = serving.read_until("serving")
        wait_until(lambda: api.calls > 0)
        spoil(int(lines[-1]["listen"].rpartition(":")[2]))
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.stderr is not None
        rest = serving.process.stderr.read().decode().splitlines()
        lines += [json.loads(line) for line in rest]

    told = [line["message"] for line in lines if "b.example" in line["message"]]
    assert any("create a registration entry" in message for message in told), lines


def test_only_json_of_workers(
    tmp_path: Path, api: WorkloadApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do workers' processes write anything else."""
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    by_socket = changes(tmp_path, api).with_yaml(
        ("server", "listen"), f"['unix:{tmp_path}/authz-{{worker}}.sock']"
    )
    with Serving(tmp_path, by_socket, workers=2) as serving:
        serving.read_until("all workers are up")
        serving.garbage(2)
        wait_until(lambda: api.calls > 0)
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.stderr is not None
        for line in serving.process.stderr.read().decode().splitlines():
            json.loads(line)


def test_lines_after_the_end() -> None:
    """A thread that logs while the process ends, as one that fetches keys, prints no text."""
    script = (
        "import logging\n"
        "from authz.server.json_log import logging_to_stderr\n"
        "with logging_to_stderr('info'):\n"
        "    logging.getLogger('authz.keys').warning('in time')\n"
        "logging.getLogger('authz.keys').warning('late')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    (line,) = done.stderr.decode().splitlines()
    assert json.loads(line)["message"] == "in time"
