"""A store's server that dies, forgets, fills up, stays silent or lies: nothing is used twice."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.adapters.store.engine import EngineStore
from authz.adapters.store.settings import StoreSettings
from authz.adapters.store.store import (
    Charge,
    Mark,
    StoreAwayError,
    StoreBusyError,
    StoreError,
    StoreForgotError,
    StoreFullError,
)
from support.conformance.store import SECONDS, marked, ready
from support.redis_server import RedisServer
from support.slow_proxy import SlowProxy
from support.stores import namespace, opened_store
from support.world import wait_until

SHORT = 0.2  # a timeout that must run out


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a server for the tests that leave it as it was."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[SlowProxy]:
    """Run a proxy before the server."""
    with SlowProxy(server.port) as running:
        yield running


def url(proxy: SlowProxy) -> str:
    """Return a proxy's URL."""
    return f"redis://{proxy.address}"


def is_back(store: EngineStore) -> bool:
    """Tell whether a store answers again."""
    try:
        store.version(1.0)
    except StoreError:
        return False
    return True


def old_mark(seconds: float = 100.0) -> Mark:
    """Return a mark of something that was made so long ago."""
    now = time.time()
    return Mark(b"old", b"attempt", now - seconds, now + 600)


def test_a_killed_server_has_forgotten_what_is_older() -> None:
    """What was made before its start may have been used: it is refused, not used again."""
    with RedisServer() as server, opened_store(url=server.url) as store:
        now = ready(store)
        assert marked(store, b"k", b"first", now) == ""
        server.restart()
        assert marked(store, b"k", b"other", now) == "StoreForgotError"
        assert marked(store, b"k", b"first", now) == "StoreForgotError"
        wait_until(lambda: marked(store, b"new", b"x", time.time()) == "")


def test_a_killed_server_is_away_until_it_is_back() -> None:
    """Calls fail at once instead of waiting, and succeed as soon as it is there again."""
    with RedisServer() as server, opened_store(url=server.url) as store:
        store.version(SECONDS)
        server.kill()
        wait_until(lambda: store.status().is_away or not is_back(store))
        for _ in range(50):  # far more than could wait for so long
            with pytest.raises(StoreAwayError):
                store.use(old_mark(), time.time(), SECONDS)
        server.start()
        wait_until(lambda: is_back(store))
        assert not store.status().is_away


def test_an_emptied_server_has_forgotten_what_is_older(server: RedisServer) -> None:
    """FLUSHALL takes the marks, and the memory of since when there are some."""
    with opened_store(url=server.url) as store:
        now = ready(store)
        assert marked(store, b"k", b"first", now) == ""
        before = store.add({"a": b"1"}, "ann", SECONDS)
        with server.admin() as client:
            client.flushall()
        assert marked(store, b"k", b"other", now) == "StoreForgotError"
        assert marked(store, b"new", b"x", time.time()) == ""
        assert store.version(SECONDS).number == 0
        assert store.add({"a": b"1"}, "ann", SECONDS).epoch != before.epoch


def test_another_client_after_a_restart_does_not_hide_it() -> None:
    """A client that had no part in the restart is told what was forgotten, as well."""
    name = namespace()
    with RedisServer() as server, opened_store(name, url=server.url) as first:
        now = ready(first)
        assert marked(first, b"k", b"first", now) == ""
        server.restart()
        with opened_store(name, url=server.url) as second:
            wait_until(lambda: marked(second, b"new", b"x", time.time()) == "")
            assert marked(second, b"k", b"other", now) == "StoreForgotError"
        assert marked(first, b"k", b"other", now) == "StoreForgotError"


def test_a_restart_with_the_data_is_another_epoch_too() -> None:
    """Marks that the disk has are known, those that it may lack are refused."""
    with (
        RedisServer("appendonly yes", "appendfsync always") as server,
        opened_store(url=server.url) as store,
    ):
        now = ready(store)
        assert marked(store, b"k", b"first", now) == ""
        before = store.add({"a": b"1"}, "ann", SECONDS)
        server.restart()
        wait_until(lambda: is_back(store))
        assert marked(store, b"k", b"other", now) == "AlreadyUsedError"
        assert marked(store, b"l", b"other", now) == "StoreForgotError"
        after = store.entries(SECONDS)
        assert dict(after.entries) == {"a": b"1"}
        assert after.version.number == before.number
        assert after.version.epoch != before.epoch


def test_a_full_server_refuses_marks_and_takes_revocations() -> None:
    """With noeviction it says so. Who fills it with marks can't prevent a revocation."""
    with RedisServer() as server, opened_store(url=server.url) as store:
        store.add({"a": b"1", "c": b"3"}, "ann", SECONDS)
        assert store.agreed("secret", b"first", SECONDS) == b"first"
        with server.admin() as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreFullError):
                store.use(old_mark(0), time.time(), SECONDS)
            with pytest.raises(StoreFullError):
                store.spend([Charge(b"k", 1, 1, 60.0)], time.time(), SECONDS)
            with pytest.raises(StoreFullError):
                store.agreed("other", b"first", SECONDS)
            assert store.agreed("secret", b"other", SECONDS) == b"first"
            store.add({"b": b"2"}, "ann", SECONDS)
            assert dict(store.take_back(["a"], "bob", "", SECONDS).entries) == {
                "b": b"2",
                "c": b"3",
            }
            assert [change.id for change in store.changes(2, SECONDS)] == ["a", "b"]
            # A client that connects only now gets to read and to revoke too.
            with opened_store(url=server.url) as later:
                assert later.version(SECONDS).number == 0
                assert later.add({"a": b"1"}, "ann", SECONDS).number == 1
            client.config_set("maxmemory", 0)
        assert marked(store, b"k", b"x", time.time()) == ""


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_evict_is_not_used(policy: str) -> None:
    """It would forget used proofs when it is full. The fault names the setting."""
    with (
        RedisServer(f"maxmemory-policy {policy}", "maxmemory 100mb") as server,
        opened_store(url=server.url) as store,
    ):
        with pytest.raises(StoreAwayError, match="maxmemory-policy is not noeviction"):
            store.use(old_mark(0), time.time(), SECONDS)
        with server.admin() as client:
            client.config_set("maxmemory-policy", "noeviction")
        wait_until(lambda: is_back(store))


def test_a_policy_that_changes_is_noticed() -> None:
    """Connections that there are do not hide it for long."""
    with RedisServer() as server, opened_store(url=server.url) as store:
        store.version(SECONDS)
        with server.admin() as client:
            client.config_set("maxmemory-policy", "allkeys-random")
        wait_until(lambda: not is_back(store))


def test_a_check_without_an_answer_changes_nothing(proxy: SlowProxy) -> None:
    """Connections that serve are kept while no other can be made."""
    with opened_store(url=url(proxy)) as store:
        store.version(SECONDS)
        proxy.refuse_new()
        wait_until(lambda: proxy.refused)
        for _ in range(3):
            assert store.version(SECONDS).number == 0
        assert not store.status().is_away


def test_an_unread_answer_is_never_anothers(proxy: SlowProxy) -> None:
    """After a time-out the connection is closed: its late answer is not the next call's."""
    with opened_store(url=url(proxy)) as store:
        assert marked(store, b"free", b"a", ready(store)) == ""
        assert marked(store, b"used", b"a", time.time()) == ""
        proxy.hang()
        with pytest.raises(StoreAwayError, match="in time"):
            store.use(Mark(b"free", b"a", time.time(), time.time() + 60), time.time(), SHORT)
        proxy.resume()  # "free" is answered now: as if "used" was free, for a careless client
        wait_until(lambda: is_back(store))
        assert marked(store, b"used", b"b", time.time()) == "AlreadyUsedError"


def test_a_silent_server_is_asked_rarely(proxy: SlowProxy) -> None:
    """After some time-outs calls are refused at once, and again and again one tries."""
    with opened_store(url=url(proxy), timeout=SHORT) as store:
        store.version(SECONDS)
        proxy.hang()
        for _ in range(200):
            with pytest.raises(StoreAwayError):
                store.use(old_mark(), time.time(), SECONDS)
        counts = store.status().calls
        assert counts["use", "held_back"] > 100
        assert store.status().is_away
        proxy.resume()
        wait_until(lambda: is_back(store))


def test_a_check_waits_no_longer_than_the_timeout(proxy: SlowProxy) -> None:
    """Marks end at the timeout, whatever the caller would wait; other calls at the caller's."""
    with opened_store(url=url(proxy), timeout=SHORT) as store:
        store.version(SECONDS)
        proxy.delay_seconds = 2 * SHORT
        with pytest.raises(StoreAwayError, match="in time"):
            store.use(old_mark(), time.time(), SECONDS)
        assert store.version(SECONDS).number == 0


def test_a_server_that_sends_a_byte_at_a_time_is_too_slow(proxy: SlowProxy) -> None:
    """The timeout is for the whole answer, and not for each piece of it."""
    with opened_store(url=url(proxy)) as store:
        store.version(SECONDS)
        proxy.change = lambda _: b"*"
        # The proxy passes a byte on for each answer: whatever the client waits for, it is no end.
        with pytest.raises(StoreAwayError):
            store.version(SHORT)


@pytest.mark.parametrize(
    "garbage",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\n1\r\n$2\r\nOK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"*" * 100,
        b"*1\r\n" * 5000 + b":1\r\n",
        b"*999999999\r\n" * 3,
        b"$999999999999\r\nx\r\n",
        b":" + b"9" * 10_000 + b"\r\n",
        b"-ERR \xff\xfe\r\n",
        b"-OOM\r\n",
        b"-\r\n",
        b"x" * 200_000,
    ],
)
def test_garbage_is_no_answer(proxy: SlowProxy, garbage: bytes) -> None:
    """Whatever comes in place of an answer, nothing was used, and no other exception escapes."""
    with opened_store(url=url(proxy)) as store:
        store.version(SECONDS)
        proxy.change = lambda _: garbage
        with pytest.raises(StoreError):
            store.use(old_mark(0), time.time(), 2 * SHORT)
        with pytest.raises(StoreError):
            store.entries(2 * SHORT)
        proxy.change = bytes
        wait_until(lambda: is_back(store))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("MOVED 3999 127.0.0.1:6381", "another node of its cluster has our keys"),
        ("ASK 3999 127.0.0.1:6381", "its cluster is moving our keys"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "its cluster is moving"),
        ("CLUSTERDOWN The cluster is down", "its cluster is down"),
        ("CROSSSLOT Keys in request don't hash to the same slot", "its cluster divides our keys"),
        ("READONLY You can't write against a read only replica.", "it is a replica"),
        ("MASTERDOWN Link with MASTER is down", "whose primary server is away"),
        ("LOADING Redis is loading the dataset in memory", "it is still loading its data"),
        ("NOREPLICAS Not enough good replicas to write.", "too few replicas to write"),
        ("MISCONF Redis is configured to save RDB snapshots", "can't write its snapshots"),
        ("BUSY Redis is busy running a script.", "busy with another script"),
        ("NOAUTH Authentication required.", "it refuses our user or password"),
        ("ERR unknown command 'SECRET'", "it answers with an error: ERR"),
        ("SECRET\x07 is what", "it answers with an error: ERR"),
    ],
)
def test_an_error_is_told_in_our_words(proxy: SlowProxy, answer: str, words: str) -> None:
    """The call is refused, nothing that came is repeated, and the next call asks anew."""
    with opened_store(url=url(proxy)) as store:
        store.version(SECONDS)
        proxy.change = lambda _: f"-{answer}\r\n".encode()
        with pytest.raises(StoreAwayError, match=words):
            store.version(SECONDS)
        proxy.change = bytes
        wait_until(lambda: is_back(store))


def test_forgotten_scripts_are_sent_again(server: RedisServer) -> None:
    """SCRIPT FLUSH costs a round trip."""
    with opened_store(url=server.url) as store:
        assert marked(store, b"k", b"a", ready(store)) == ""
        with server.admin() as client:
            client.script_flush()
        assert marked(store, b"k", b"b", time.time()) == "AlreadyUsedError"
        assert store.version(SECONDS).number == 0


def test_a_cut_connection_is_replaced(server: RedisServer) -> None:
    """CLIENT KILL costs nothing: connections are looked at before a question is asked."""
    with opened_store(url=server.url) as store:
        now = ready(store)
        for _ in range(5):
            assert marked(store, b"k", b"a", now) == ""
            with server.admin() as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal")
            wait_until(lambda: is_back(store))


def test_many_threads_share_few_connections(server: RedisServer) -> None:
    """More callers than connections wait for each other, and all are answered."""
    with opened_store(url=server.url) as store, ThreadPoolExecutor(40) as pool:
        now = ready(store)
        found = list(pool.map(lambda n: marked(store, b"%d" % (n % 100), b"a", now), range(1000)))
        assert found == [""] * 1000
        with server.admin() as client:
            clients = [one for one in client.client_list() if one["name"] == "agent-authz"]
        assert 0 < len(clients) <= 17


def test_who_waits_for_a_connection_takes_no_processor(proxy: SlowProxy) -> None:
    """Callers beyond the connections sleep: they do not wake each other while nothing is free."""
    with opened_store(url=url(proxy), timeout=SHORT * 4) as store, ThreadPoolExecutor(40) as pool:
        now = ready(store)
        proxy.hang()
        begun, spent = time.monotonic(), time.process_time()
        found = list(pool.map(lambda n: marked(store, b"%d" % n, b"a", now), range(40)))
        assert time.process_time() - spent < (time.monotonic() - begun) / 3
        assert set(found) <= {"StoreAwayError", "StoreBusyError"}


def test_a_caller_without_time_says_nothing_about_the_store(proxy: SlowProxy) -> None:
    """A caller with an early deadline does not have the store held back for others."""
    with opened_store(url=url(proxy)) as store:
        now = ready(store)
        proxy.delay_seconds = SHORT
        for number in range(5):
            with pytest.raises(StoreBusyError):
                store.use(Mark(b"%d" % number, b"a", now, now + 600), now, 0.03)
        for number in range(5):
            with pytest.raises(StoreBusyError):
                store.use(Mark(b"%d" % number, b"a", now, now + 600), now, 0.0)
        assert marked(store, b"k", b"a", now) == ""
        assert ("use", "held_back") not in store.status().calls


def test_watchers_are_woken_after_a_loss(proxy: SlowProxy) -> None:
    """A cut subscription may have missed a change: who watches looks again."""
    with opened_store(url=url(proxy)) as store:
        woken = threading.Event()
        store.watch(woken.set)
        wait_until(woken.is_set)
        for _ in range(2):
            proxy.refuse()
            proxy.resume()
            woken.clear()
            wait_until(woken.is_set)
        wait_until(lambda: is_back(store))
        wait_until(lambda: proxy.connections() >= 2)
        woken.clear()
        store.add({"a": b"1"}, "ann", SECONDS)
        wait_until(woken.is_set)


def test_a_hung_subscription_ends(proxy: SlowProxy) -> None:
    """A silent server is asked for a sign of life: without any, who watches is woken."""
    with opened_store(url=url(proxy)) as store:
        woken = threading.Event()
        store.watch(woken.set)
        wait_until(woken.is_set)
        proxy.hang()
        woken.clear()
        wait_until(woken.is_set)
        proxy.resume()


def test_too_many_revocations_are_refused(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or none are added."""
    monkeypatch.setattr("authz.adapters.store.register.MAX_ENTRIES", 3)
    with opened_store(url=server.url) as store:
        store.add({"a": b"1", "b": b"2"}, "ann", SECONDS)
        with pytest.raises(StoreFullError):
            store.add({"c": b"3", "d": b"4"}, "ann", SECONDS)
        store.add({"a": b"1", "c": b"3"}, "ann", SECONDS)
        assert set(store.entries(SECONDS).entries) == {"a", "b", "c"}


@pytest.mark.parametrize("ahead", [-60.0, 60.0])
def test_a_server_with_a_wrong_clock_uses_nothing(server: RedisServer, ahead: float) -> None:
    """Its marks would end while others still take the proof."""
    settings = StoreSettings(url=server.url, insecure=True, timeout=5.0)
    store = EngineStore(settings, namespace(), lambda: time.time() + ahead)
    store.start()
    try:
        ready(store)
        now = time.time() + ahead
        with pytest.raises(StoreForgotError, match="clock"):
            store.use(Mark(b"k", b"a", now, now + 600), now, SECONDS)
        assert not store.status().is_away
    finally:
        store.close()


def test_a_store_whose_clock_was_set_back_has_forgotten(server: RedisServer) -> None:
    """It may have ended marks while it was ahead."""
    name = namespace()
    with opened_store(name, url=server.url) as store, server.admin() as client:
        now = ready(store)
        assert marked(store, b"k", b"first", now) == ""
        client.hset(f"{{authz:{name}}}:memory", "seen", str(time.time() + 3600))
        assert marked(store, b"l", b"other", now) == "StoreForgotError"
        assert marked(store, b"k", b"other", now) == "AlreadyUsedError"
        assert marked(store, b"new", b"x", time.time()) == ""


def test_a_replica_is_not_used(server: RedisServer) -> None:
    """Whoever names a replica is told so."""
    with (
        RedisServer(f"replicaof 127.0.0.1 {server.port}") as replica,
        opened_store(url=replica.url) as store,
        pytest.raises(StoreAwayError, match="a replica"),
    ):
        store.version(SECONDS)


def test_a_server_that_becomes_a_replica_is_left() -> None:
    """Connections from before its demotion neither write nor read, and what it was is over."""
    with RedisServer() as other, RedisServer() as server, opened_store(url=server.url) as store:
        now = ready(store)
        assert marked(store, b"k", b"first", now) == ""
        with server.admin() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", other.port)
            with pytest.raises(StoreAwayError, match="replica"):
                store.version(SECONDS)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            client.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: is_back(store))
        assert marked(store, b"k", b"other", now) == "StoreForgotError"


def test_a_server_that_was_a_replica_meanwhile_has_forgotten() -> None:
    """A connection that saw nothing of it, as it was idle, does not use the lost mark again."""
    with RedisServer() as other, RedisServer() as server, opened_store(url=server.url) as store:
        now = ready(store)
        assert marked(store, b"k", b"first", now) == ""
        with server.admin() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", other.port)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up")
            client.execute_command("REPLICAOF", "NO", "ONE")
        found = marked(store, b"k", b"other", now)
        assert found in {"StoreAwayError", "StoreForgotError"}
        wait_until(lambda: is_back(store))
        assert marked(store, b"k", b"other", now) == "StoreForgotError"


def test_a_forgotten_mark_is_not_made() -> None:
    """Who was refused because of a loss is refused again, and not taken for a second try."""
    with RedisServer() as server, opened_store(url=server.url) as store:
        for _ in range(2):
            with pytest.raises(StoreForgotError):
                store.use(old_mark(), time.time(), SECONDS)


def test_a_silent_server_holds_up_no_stop() -> None:
    """A close waits for no answer: its time is not in what a server's stop may take."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = EngineStore(StoreSettings(url=f"redis://127.0.0.1:{port}", insecure=True), "silent")
        store.watch(lambda: None)
        store.start()
        asked = [silent.accept()[0] for _ in range(2)]  # to ask, and to watch
        begun = time.monotonic()
        store.close()
        seconds = time.monotonic() - begun
        for each in asked:
            each.close()

    assert seconds < 1.3  # and not two seconds, or four


def test_a_close_ends_the_calls_that_wait(proxy: SlowProxy) -> None:
    """Calls that wait, for a connection or an answer, end with errors, and none hangs."""
    with opened_store("closed", url=url(proxy)) as store:
        ready(store)
        proxy.hang()
        with ThreadPoolExecutor(40) as pool:
            asked = [
                pool.submit(store.spend, [Charge(b"a", 1, 9, 60.0)], 0.0, 3.0) for _ in range(39)
            ]
            store.close()
            errors = {type(each.exception(SECONDS)) for each in asked}
    assert errors <= {StoreAwayError, StoreBusyError}
