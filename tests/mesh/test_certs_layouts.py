"""300 rotations in each layout that a cluster mounts, under handshakes with a real server."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.edge.methods import AUTHORIZATION
from lab.ca import Authority, Svid
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.live_files import logged
from lab.mesh import AUDIENCE, GATEWAY, ISSUER, Server
from support.mounted import LAYOUTS, Layout, pem_of
from support.world import wait_until

ROTATIONS: Final = 300
PAUSE_SECONDS: Final = 0.03
SERVER: Final = "spiffe://corp.example/ns/agent-authz/sa/agent-authz"
EXPIRY: Final = "authz_tls_certificate_expiry_timestamp_seconds"
REFUSED: Final = 'authz_tls_reloads_total{result="refused"}'


@contextmanager
def serving(folder: Path, layout: Layout, kind: str) -> Iterator[Server]:
    """Run ``authz serve`` with the certificate of a layout."""
    jwks = JwksServer(Issuer(ISSUER, AUDIENCE))
    tls = {**layout.paths, "allowed_callers": [GATEWAY]}
    changes = (
        LAB.with_(("server", "listen"), "127.0.0.1:0")
        .with_(("server", "transport"), kind)
        .with_(("server", "tls"), tls)
    )
    server = Server(folder, "authz", f"{jwks.url}/jwks", changes=changes)
    try:
        yield server.wait_ready()
    finally:
        server.process.stop()
        jwks.close()


def answer(address: str, ca: bytes, proxy: Svid) -> str:
    """Ask on a connection of its own; return what came of it."""
    credentials = grpc.ssl_channel_credentials(
        ca, proxy.key_pem.encode(), proxy.certificate_pem.encode()
    )
    options = (
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.use_local_subchannel_pool", 1),
    )
    with grpc.secure_channel(address, credentials, options) as channel:
        check = channel.unary_unary(
            f"/{AUTHORIZATION}/Check",
            pb.CheckRequest.SerializeToString,
            pb.CheckResponse.FromString,
        )
        try:
            check(pb.CheckRequest(), timeout=60)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "answered"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["native", "grpcio"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_rotations_under_load(tmp_path: Path, name: str, kind: str) -> None:
    """No handshake fails and no reload is refused; the metric is of the last file at the end."""
    authority, layout = Authority(tmp_path / "ca"), LAYOUTS[name](tmp_path)
    ca, proxy = pem_of(authority), authority.issue(GATEWAY)

    def rotate(seconds: float = 3600) -> Svid:
        svid = authority.issue(SERVER, dns=("localhost",), lifetime_seconds=seconds)
        layout.write(svid, ca)
        return svid

    rotate()
    answers: Counter[str] = Counter()
    stop = threading.Event()
    with serving(tmp_path, layout, kind) as server:
        server.process.wait_until(lambda: bool(logged(server.process.log, "listen")))
        listening = logged(server.process.log, "listen")[-1]

        def load() -> None:
            while not stop.wait(0.005):
                answers[answer(listening, ca, proxy)] += 1

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(ROTATIONS):
                rotate()
                time.sleep(PAUSE_SECONDS)
            last = rotate(7200).certificate.not_valid_after_utc.timestamp()
            wait_until(lambda: server.metric(EXPIRY) == last)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

        assert answers.keys() == {"answered"}
        assert answers.total() > 100
        assert server.metric(REFUSED) == 0
