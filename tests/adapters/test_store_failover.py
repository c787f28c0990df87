"""A store with replicas of its own: Sentinels, failovers, split brains, acknowledged marks."""

import time
from collections.abc import Iterator

import pytest

from authz.adapters.store.settings import SentinelSettings
from authz.adapters.store.store import StoreAwayError, StoreError
from support.conformance.store import SECONDS, marked, ready
from support.redis_server import SERVICE, RedisServer, Trio, sentinel_trio
from support.stores import namespace, opened_store
from support.world import wait_until

# A second is enough to find a killed server, and a test waits for all of it.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    """Run a primary, a replica and a Sentinel for all tests; the last one kills a server."""
    with sentinel_trio(down_after_seconds=3.0) as running:
        yield running


def sentinel(trio: Trio) -> SentinelSettings:
    """Return the settings that lead to it; the first address is of a Sentinel that is away."""
    return SentinelSettings(addresses=("127.0.0.1:1", trio.sentinel.address), service=SERVICE)


def primary(trio: Trio) -> RedisServer:
    """Return the server that is primary."""
    port = trio.primary_port()
    return trio.primary if trio.primary.port == port else trio.replica


def is_replicating(trio: Trio) -> bool:
    """Tell whether the primary has a replica that acknowledges."""
    with primary(trio).admin() as client:
        told = client.info("replication")
        return bool(told["connected_slaves"]) and told["slave0"]["state"] == "online"


def test_sentinels_lead_to_the_primary(trio: Trio) -> None:
    """A Sentinel that is away costs nothing but time."""
    with opened_store(sentinel=sentinel(trio), insecure=True) as store:
        assert marked(store, b"k", b"a", ready(store)) == ""
        with primary(trio).admin() as client:
            assert client.keys("*test-*:marks:6b")


def test_an_unknown_service_is_a_fault(trio: Trio) -> None:
    """It is told by its name."""
    wrong = SentinelSettings(addresses=(trio.sentinel.address,), service="other")
    with (
        opened_store(sentinel=wrong, insecure=True) as store,
        pytest.raises(StoreAwayError, match="this Sentinel knows no service other"),
    ):
        store.version(SECONDS)


def test_a_mark_counts_when_a_replica_has_it(trio: Trio) -> None:
    """With acknowledged_by it is there after any failover; too few copies are a refusal."""
    wait_until(lambda: is_replicating(trio))
    with opened_store(sentinel=sentinel(trio), insecure=True, acknowledged_by=1) as store:
        assert marked(store, b"k", b"a", ready(store)) == ""
        store.add({"a": b"1"}, "ann", SECONDS)
    with (
        opened_store(
            sentinel=sentinel(trio), insecure=True, acknowledged_by=2, timeout=0.3
        ) as store,
        pytest.raises(StoreAwayError),
    ):
        store.add({"a": b"1"}, "ann", 1.0)


def test_wait_must_be_allowed(trio: Trio) -> None:
    """A user without it can't have marks acknowledged, and the fault says so."""
    wait_until(lambda: is_replicating(trio))
    with primary(trio).admin() as client:
        client.execute_command(
            "ACL", "SETUSER", "narrow", "on", "nopass", "~*", "&*", "+@all", "-wait"
        )
    with opened_store(url=primary(trio).url, user="narrow", acknowledged_by=1) as store:
        ready(store)
        with pytest.raises(StoreAwayError, match="our user may not run wait"):
            store.add({"a": b"1"}, "ann", SECONDS)


def test_a_failover_uses_nothing_twice(trio: Trio) -> None:
    """Marks that the new primary has are known, all other old ones are refused."""
    wait_until(lambda: is_replicating(trio))
    name = namespace()
    with opened_store(name, sentinel=sentinel(trio), insecure=True, acknowledged_by=1) as store:
        now = ready(store)
        assert marked(store, b"k", b"a", now) == ""
        before = store.add({"a": b"1"}, "ann", SECONDS)
        trio.fail_over()
        wait_until(lambda: marked(store, b"new %f" % time.time(), b"a", time.time()) == "")
        assert marked(store, b"k", b"b", now) == "AlreadyUsedError"
        assert marked(store, b"l", b"b", now) == "StoreForgotError"
        after = store.entries(SECONDS)
        assert dict(after.entries) == {"a": b"1"}
        assert after.version.epoch != before.epoch


def test_a_primary_without_its_replicas_is_not_believed(trio: Trio) -> None:
    """Another may be primary by then: marks and revocations are refused, and old data not read."""
    wait_until(lambda: is_replicating(trio))
    with primary(trio).admin() as client:
        away = client.info("replication")["slave0"]["port"]
    replica = trio.primary if trio.primary.port == int(away) else trio.replica
    url = primary(trio).url
    with opened_store(url=url, acknowledged_by=1, timeout=0.5) as store:
        now = ready(store)
        assert marked(store, b"k", b"a", now) == ""
        replica.pause()
        try:
            assert marked(store, b"l", b"a", time.time()) == "StoreAwayError"
            wait_until(lambda: _is_alone(store))
        finally:
            replica.resume()
        wait_until(lambda: marked(store, b"m", b"a", time.time()) == "")


def _is_alone(store: object) -> bool:
    try:
        store.version(1.0)  # type: ignore[attr-defined] # a store
    except StoreError as error:
        return "lost its replicas" in str(error)
    return False


def test_a_killed_primary_is_replaced(trio: Trio) -> None:
    """The store is away until the Sentinels have chosen, and then it is the other server."""
    wait_until(lambda: is_replicating(trio))
    with opened_store(sentinel=sentinel(trio), insecure=True) as store:
        now = ready(store)
        assert marked(store, b"k", b"a", now) == ""
        killed = primary(trio)
        killed.kill()
        wait_until(lambda: marked(store, b"new %f" % time.time(), b"a", time.time()) == "")
        assert primary(trio).port != killed.port
        assert marked(store, b"k", b"b", now) in {"AlreadyUsedError", "StoreForgotError"}
