"""Revocations in a real store: replicas with workers all have them, and what they do without it.

``AUTHZ_REVOCATIONS_SHARED=1000`` repeats a revocation so often, and requires each within a second.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.store.engine import EngineStore
from authz.core.revocations import Revocation
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.storm import CHECK
from support.redis_server import RedisServer
from support.stores import opened_store
from support.world import PATIENCE_SECONDS, READ, check_request, reason_of, wait_until

NAMESPACE: Final = "shared"
TIMES: Final = int(os.environ.get("AUTHZ_REVOCATIONS_SHARED", "0"))
MOST_SECONDS: Final = 1.0


class Replicas:
    """Servers that share a store, and a connection to each of their workers."""

    def __init__(
        self, folder: Path, store: RedisServer, opened: ExitStack, workers: int = 2
    ) -> None:
        """Start a server with so many workers for each ``when_away``."""
        self._workers = workers
        jwks = JwksServer(issuer := Issuer(ISSUER, AUDIENCE))
        opened.callback(jwks.close)
        self.servers: list[Server] = []
        for when_away in ("deny", "serve"):
            changes = LAB.with_(
                ("store",),
                {"url": store.url, "insecure": True, "namespace": NAMESPACE, "timeout": "5s"},
            ).with_(("revocations",), {"when_away": when_away, "away_after": "1s"})
            keys, name = f"{jwks.url}/jwks", f"replica-{when_away}"
            server = Server(folder, name, keys, "0s", changes=changes, workers=workers)
            opened.callback(server.process.stop)
            self.servers.append(server)
        svid = Authority(folder / "pki").issue(TRAVEL)
        headers = [("authorization", f"Bearer {issuer.token(TRAVEL, scope=READ)}")]
        self._message = check_request(svid, headers).SerializeToString()
        self._checks = [
            opened.enter_context(grpc.insecure_channel(f"unix:{socket}")).unary_unary(
                CHECK, None, pb.CheckResponse.FromString
            )
            for server in self.servers
            for socket in server.sockets
        ]

    def wait_ready(self) -> None:
        """Wait until each worker of each server answers."""
        for server in self.servers:
            server.wait_ready()

    def reasons(self) -> list[str]:
        """Ask every worker."""
        return [
            reason_of(check(self._message, timeout=PATIENCE_SECONDS, wait_for_ready=True))
            for check in self._checks
        ]

    def until(self, *reasons: str) -> float:
        """Ask until each worker of a server answers so; return the seconds that took."""
        began = time.monotonic()
        wanted = [reason for reason in reasons for _ in range(self._workers)]
        wait_until(lambda: self.reasons() == wanted)
        return time.monotonic() - began

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Have every worker answer checks meanwhile, some hundred times a second."""
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(0.005):
                self.reasons()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture(scope="module")
def store() -> Iterator[RedisServer]:
    """Run a server for all tests of the module."""
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory, store: RedisServer) -> Iterator[Replicas]:
    """Run two replicas with two workers each."""
    with ExitStack() as opened:
        made = Replicas(tmp_path_factory.mktemp("replicas"), store, opened)
        made.wait_ready()
        yield made


@pytest.fixture(scope="module")
def administered(store: RedisServer) -> Iterator[EngineStore]:
    """Open the store as ``authz revoke`` does."""
    with opened_store(NAMESPACE, url=store.url) as opened:
        yield opened


def test_counts_everywhere(replicas: Replicas, administered: EngineStore) -> None:
    """All workers of all replicas have a revocation, and its end, while they answer checks."""
    entry = Revocation(agent=TRAVEL, by="ann", note="stolen")
    took: list[float] = []
    with replicas.asking():
        replicas.until("allow", "allow")
        for _ in range(TIMES or 2):
            administered.add({entry.id: entry.line}, "ann", PATIENCE_SECONDS)
            took.append(replicas.until("agent_suspended", "agent_suspended"))
            administered.take_back([entry.id], "bob", "found", PATIENCE_SECONDS)
            took.append(replicas.until("allow", "allow"))
    if TIMES:  # on a quiet machine
        assert max(took) < MOST_SECONDS, sorted(took)
    log = replicas.servers[0].process.log.read_text()
    assert f'"id":"{entry.id}"' in log
    assert '"by":"ann"' in log
    assert '"note":"found"' in log


def test_a_store_that_is_killed(
    replicas: Replicas, administered: EngineStore, store: RedisServer
) -> None:
    """Known revocations stay in force; all else is refused, or allowed, as the settings say.

    A store that comes back without its data has them again.
    """
    entry = Revocation(tool="delete_trip")
    administered.add({entry.id: entry.line}, "ann", PATIENCE_SECONDS)
    strict, lenient = replicas.servers
    for server in replicas.servers:
        wait_until(lambda server=server: server.metric(ENTRIES) == 1)  # type: ignore[misc]
    store.kill()
    replicas.until("store_unavailable", "allow")
    wait_until(lambda: strict.get("/readyz")[0] == 503)
    wait_until(lambda: '"store":false' in strict.get("/readyz")[1])
    # Each worker of each server finds out for itself.
    wait_until(lambda: '"store":false' in lenient.get("/readyz")[1])
    assert lenient.get("/readyz")[0] == 200
    wait_until(lambda: lenient.metric('authz_revocations_away{source="store"}') >= 1)

    store.start()
    replicas.until("allow", "allow")
    wait_until(lambda: entry.id in administered.entries(PATIENCE_SECONDS).entries)
    wait_until(lambda: strict.get("/readyz")[0] == 200)
    assert administered.changes(1, PATIENCE_SECONDS)[0].by == "restored"


ENTRIES: Final = 'authz_revocations{source="store"}'


def test_a_start_without_the_store(tmp_path: Path, store: RedisServer) -> None:
    """With deny, a server does not listen before it knows what is revoked; with serve it waits."""
    store.kill()
    with ExitStack() as opened:
        made = Replicas(tmp_path, store, opened, workers=1)
        strict, lenient = made.servers
        lenient.wait_ready()
        strict.process.wait_until(lambda: '"listening":false' in strict.get("/readyz")[1])
        assert not any(socket.exists() for socket in strict.sockets)
        store.start()
        strict.wait_ready()
        assert made.reasons() == ["allow"] * 2
