"""Short lifetimes and new keys under load, with new connections all the time: nothing is lost."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from lab.client import Client
from lab.mesh import AUDIENCE
from mesh.support.spire import Lifetimes, Spire
from mesh.support.spire_mesh import (
    BALANCE,
    JOB,
    TRAVEL_GROUP,
    TRUST_DOMAIN,
    SpireMesh,
    enter_workloads,
)
from support.world import wait_until

pytestmark = pytest.mark.needs("root", "spire-server", "spire-agent")
RENEW_SECONDS = 6.0
# What an authority needs to be known everywhere: server, agent (1 s), Envoy and agent-authz.
SPREAD_SECONDS = 10.0
_log = logging.getLogger(__name__)  # what was measured: see it with --log-cli-level=info


@dataclass
class Load:
    """An agent that renews its SVID and tokens as it should, and asks all the time."""

    mesh: SpireMesh
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)

    def _renew(self, number: int) -> tuple[Client, str]:
        client = self.mesh.client(TRAVEL_GROUP)
        # An audience of its own each time: else the agent would give the same token again.
        return client, self.mesh.spire.jwt_svid(TRAVEL_GROUP, AUDIENCE, f"fresh-{number}")

    def run(self) -> None:
        """Ask until told to stop; a failure ends it."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failures.append(repr(error))

    def _run(self) -> None:
        number, renewed_at = 0, 0.0
        while not self._stop.is_set():
            if time.monotonic() - renewed_at > RENEW_SECONDS:
                client, svid = self._renew(number)
                number, renewed_at = number + 1, time.monotonic()
            for reply in (client.get(BALANCE, self.mesh.token()), client.get(JOB, svid)):
                self.answers[reply.status, reply.reason] += 1

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()


@contextmanager
def load_of(mesh: SpireMesh) -> Iterator[Load]:
    """Put a load on the mesh."""
    load = Load(mesh)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.stop()
        thread.join()


def spread(load: Load) -> None:
    """Give an authority time to be known everywhere, and see that the load goes on."""
    before, end = load.answers.total(), time.monotonic() + SPREAD_SECONDS
    wait_until(lambda: time.monotonic() > end and load.answers.total() > before + 10, 60)
    assert not load.failures


@pytest.mark.timeout(600)
def test_rotation_under_load(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SVIDs of 40 s, then new CA and JWT keys whose old ones are revoked: every request passes.

    Envoy opens a connection to agent-authz for each ten checks meanwhile. The connection of its
    health checks is older than certificates get.
    """
    folder = tmp_path_factory.mktemp("rotation")
    with ExitStack() as stack:
        spire = Spire(folder / "spire", TRUST_DOMAIN, Lifetimes("10m", "40s", "40s"))
        stack.callback(spire.stop)
        enter_workloads(spire.start())
        mesh = stack.enter_context(SpireMesh(folder, spire))
        load = stack.enter_context(load_of(mesh))
        wait_until(lambda: updates(mesh) >= 3, 120)  # natural renewals
        for kind in ("x509", "jwt"):
            for steps in (["prepare"], ["activate"], ["taint"], ["revoke"]):
                spire.change_authority(kind, *steps)
                spread(load)
        handshakes = mesh.envoy.stat("cluster.authz.ssl.handshake")
        health_checks = mesh.envoy.stat("cluster.authz.health_check.attempt")
        failures = mesh.envoy.stat("cluster.authz.health_check.failure")
        log = mesh.server.process.log.read_text()

    _log.info(
        "%s in %.0f s, %d connections, %d health checks, %d certificates of ours",
        dict(load.answers),
        time.monotonic() - load.begun,
        handshakes,
        health_checks,
        log.count("certificate reloaded"),
    )
    assert load.answers.keys() == {(200, "")}
    assert load.answers.total() > 100
    assert handshakes > 20
    assert failures == 0


def updates(mesh: SpireMesh) -> int:
    """Return how often Envoy took another certificate or bundle for its listener."""
    return mesh.envoy.stat("server_ssl_socket_factory.ssl_context_update_by_sds")
