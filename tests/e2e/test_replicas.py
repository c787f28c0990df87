"""Three replicas of two workers behind one Envoy, and one real store: one truth for all of them.

A store that fails over is tested with replicas of their own.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec
import pytest

from authz.adapters.store.engine import EngineStore
from authz.adapters.store.settings import StoreSettings
from authz.core.revocations import Revocation
from lab.client import bearer
from lab.config_builder import LAB
from lab.dpop import DpopClient
from lab.mesh import ISSUER, PAYMENTS, TRAVEL, TRUST_DOMAIN, Mesh
from support.redis_server import SERVICE, sentinel_trio
from support.replicas import STORE_TIMEOUT, Fleet, Replicas
from support.world import BALANCE, PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e
# More of each for those who have the time: CONTRIBUTING names them.
REVOCATIONS: Final = int(os.environ.get("AUTHZ_REVOCATIONS", "5"))
PROOFS: Final = int(os.environ.get("AUTHZ_PROOFS", "200"))
AWAY: Final = LAB.with_yaml(("revocations",), "{when_away: deny, away_after: 2s}")
LIMIT: Final = 5
WINDOW_SECONDS: Final = 86_400
BUDGET: Final = f"{{name: pay, budget: {{limit: {LIMIT}, per: agent, window: 1d}}}}"
CONFIG: Final = AWAY.with_keys(("grants", "finance-pay", 0), BUDGET)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """All of it, which refuses everything once the store is away for two seconds."""
    with Replicas(tmp_path_factory.mktemp("replicas"), CONFIG) as started:
        yield started


def test_revoked_everywhere(replicas: Replicas) -> None:
    """A revocation in the store counts in each worker of each replica, under load."""
    with replicas.load() as load:
        for number in range(REVOCATIONS):
            replicas.seconds_to_revoke(f"revoked-{number}")

    assert set(load.statuses) == {200}


def test_a_proof_passes_once(replicas: Replicas) -> None:
    """However many workers are asked at once with one proof, a single request passes."""
    found = replicas.pass_once(replicas.proven(DpopClient()), PROOFS)

    assert found == {"allow": 1, "dpop_proof": PROOFS - 1}


def test_a_budget_through_envoy(replicas: Replicas) -> None:
    """All replicas spend one budget; Envoy's client learns when there is room again."""
    agent = replicas.mesh.agent(PAYMENTS)
    token = replicas.mesh.issuer.token(PAYMENTS, "alice", "payments:write")
    replies = [
        agent.request("POST", f"/finance/payments/{number}", bearer(token))
        for number in range(LIMIT + 4)
    ]

    statuses, last = [reply.status for reply in replies], replies[-1]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= LIMIT  # a check that Envoy tries again spends again
    assert (last.status, last.reason) == (429, "budget_exhausted")
    assert 0 < int(last.headers["retry-after"]) <= 2 * WINDOW_SECONDS
    assert b"pay" not in last.body, "no rule is told"


def test_the_store_is_killed(replicas: Replicas) -> None:
    """While it is away no proof passes; then nothing does; and none passes a second time after."""
    used = replicas.proven(DpopClient())
    assert replicas.pass_once(used, 1) == {"allow": 1}
    replicas.seconds_to_revoke("mallory")
    revoked = replicas.request(replicas.token("mallory"))
    plain = replicas.request(replicas.token())
    assert replicas.answers(plain) == {"allow"}

    replicas.redis.kill()
    assert set(replicas.pass_once(used, 12)) <= {"store_unavailable"}
    assert "allow" not in replicas.pass_once(replicas.proven(DpopClient()), 12)
    assert replicas.answers(revoked) <= {
        "token_revoked",
        "store_unavailable",
    }
    wait_until(lambda: replicas.answers(plain) == {"store_unavailable"})
    wait_until(lambda: {s.get("/readyz")[0] for s in replicas.mesh.servers} == {503})
    replicas.redis.start()

    wait_until(lambda: replicas.answers(plain) == {"allow"})
    assert "allow" not in replicas.pass_once(used, 12)
    assert replicas.answers(revoked) == {"token_revoked"}
    replicas.wait_until_one_passes()
    assert "allow" not in replicas.pass_once(used, 12)


def test_the_store_is_full(replicas: Replicas) -> None:
    """What it has no room to remember does not pass; what needs no store does."""
    plain = replicas.request(replicas.token())
    with replicas.redis.admin() as admin:
        admin.config_set("maxmemory", "1")
        refused = replicas.pass_once(replicas.proven(DpopClient()), 12)
        allowed = replicas.answers(plain)
        admin.config_set("maxmemory", "0")

    assert "allow" not in refused
    assert allowed == {"allow"}
    replicas.wait_until_one_passes()


def test_the_store_is_slow(replicas: Replicas) -> None:
    """Checks that need it are refused in time, and may be tried again; others do not notice."""
    plain = replicas.request(replicas.token())
    replicas.between.delay_seconds = 1.5
    refused = replicas.pass_once(replicas.proven(DpopClient()), 12)
    allowed = replicas.answers(plain)
    reply = replicas.mesh.agent(TRAVEL).request(
        "GET", BALANCE, [("authorization", f"Bearer {replicas.token()}")]
    )
    replicas.between.delay_seconds = 0.0

    assert "allow" not in refused
    assert allowed <= {"allow", "store_unavailable"}
    assert reply.status in {200, 503}
    wait_until(lambda: replicas.answers(plain) == {"allow"})
    replicas.wait_until_one_passes()


def test_a_failover(tmp_path: Path) -> None:
    """When another server becomes the primary one, no proof passes again, and no entry is lost."""
    with sentinel_trio() as trio:
        store = {
            "sentinel": {"addresses": [trio.sentinel.address], "service": SERVICE},
            "insecure": True,
            "timeout": STORE_TIMEOUT,
            "acknowledged_by": 1,
        }
        changes = LAB.with_(("store",), store)
        settings = StoreSettings.model_validate({**store, "timeout": "5s"}, strict=False)
        with (
            Mesh(tmp_path, 2, changes=changes) as mesh,
            Fleet(mesh) as fleet,
            closing(EngineStore(settings, TRUST_DOMAIN)) as operator,
        ):
            operator.start()
            fleet.wait_until_one_passes()
            used, revoked = fleet.proven(DpopClient()), fleet.request(fleet.token("mallory"))
            assert fleet.pass_once(used, 1) == {"allow": 1}
            entry = Revocation(issuer=ISSUER, subject="mallory")
            operator.add({entry.id: msgspec.json.encode(entry)}, "a test", PATIENCE_SECONDS)
            wait_until(lambda: fleet.answers(revoked) == {"token_revoked"})

            trio.fail_over()
            assert "allow" not in fleet.pass_once(used, 12)
            fleet.wait_until_one_passes()
            assert "allow" not in fleet.pass_once(used, 12)
            assert fleet.answers(revoked) == {"token_revoked"}
