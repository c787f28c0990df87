"""The key store: nobody waits for known keys, nobody loses good ones, nobody causes a flood."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.keys.fetcher import MAX_ABSENT_KEY_IDS, Fetcher, KeySourceConfig
from authz.adapters.keys.store import KeyStore, KeyStoreError
from authz.core.jose import KeySettings
from authz.core.jose.key_set import KeySet
from support.jwks_server import Behaviour, ScriptedServer, answer, ec_key, held, key_set, raw
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until as until

ALL = frozenset({"ES256", "RS256", "Ed25519"})
URL = "https://as.example"
OLD, NEW = ec_key("old"), ec_key("new")
COOLDOWN = 1.0  # seconds, the shortest that an operator may say


def source(server: ScriptedServer, **changes: Any) -> KeySourceConfig:
    """A source that fetches from the server, with the shortest cooldown."""
    algorithms = changes.pop("algorithms", ALL)
    values: dict[str, Any] = {"cooldown": COOLDOWN, "timeout": SECONDS, **changes}
    refresh = values.pop("refresh", 300.0)
    settings = KeySettings(jwks_uri=server.url, insecure=True, **values)
    # Shorter than an operator may say, so that tests need not wait for seconds.
    return KeySourceConfig(settings.model_copy(update={"refresh": refresh}), algorithms)


@contextmanager
def running(sources: dict[str, KeySourceConfig]) -> Iterator[KeyStore]:
    """A started store."""
    store = KeyStore(sources)
    store.start()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server with the old key."""
    serving = ScriptedServer(answer(key_set(OLD)))
    yield serving
    serving.close()


@pytest.fixture
def store(server: ScriptedServer) -> Iterator[KeyStore]:
    """A store that has the old key, from a fetch on schedule."""
    with running({URL: source(server)}) as started:
        until(lambda: started.status()[0].next_refresh)
        yield started


def known(store: KeyStore) -> set[str]:
    """The kids of the issuer's keys."""
    keys = store.get(URL)
    return set(keys.keys) if keys else set()


def in_threads(count: int, work: Callable[[int], object]) -> list[Any]:
    """What each thread's work returned."""
    results: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: results.append(work(n))) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_first_fetch(server: ScriptedServer) -> None:
    """Nothing is known or fetched before the start; then the keys come by themselves."""
    begun = time.time()
    store = KeyStore({URL: source(server, max_age=60.0)})
    assert store.get(URL) is None
    assert not store.ready()
    assert not store.refresh(URL, "old", 1.0)
    assert server.fetches == 0
    store.start()
    store.start()
    until(store.ready)
    keys = store.get(URL)
    store.close()

    assert keys is not None
    assert begun <= keys.fetched_at <= time.time()
    assert keys.usable_until == keys.fetched_at + 60.0
    assert store.get("https://other.example") is None
    assert not store.refresh("https://other.example", "old", SECONDS)
    assert server.fetches == 1


def test_rotated_key_on_first_use(server: ScriptedServer, store: KeyStore) -> None:
    """A key that was just published is known after one refresh, and a withdrawn one is gone."""
    server.serve(answer(key_set(NEW)))
    generation = store.generation

    assert store.refresh(URL, "new", SECONDS)
    assert known(store) == {"new"}
    assert store.generation == generation + 1
    assert store.refresh(URL, "new", SECONDS)  # known by now: no fetch
    assert server.fetches == 2


def test_a_fetch_on_schedule_delays_no_new_key(server: ScriptedServer, store: KeyStore) -> None:
    """A key published just after one is fetched at once; the next waits for the cooldown."""
    server.serve(answer(key_set(NEW)))
    begun = time.monotonic()
    assert store.refresh(URL, "new", SECONDS)
    server.serve(answer(key_set(OLD)))
    until(lambda: store.refresh(URL, "old", SECONDS))

    assert time.monotonic() - begun >= COOLDOWN
    assert server.fetches == 3


def test_waiting_is_bounded_by_the_caller(server: ScriptedServer, store: KeyStore) -> None:
    """Each caller waits as long as he likes, while the fetch goes on without him."""
    go = threading.Event()
    server.serve(held(go, answer(key_set(NEW))))
    begun = time.monotonic()
    assert not store.refresh(URL, "new", 0.1)
    assert not store.refresh(URL, "new", 0.1)  # joins the fetch under way
    assert time.monotonic() - begun >= 0.2
    assert known(store) == {"old"}
    go.set()
    until(lambda: known(store) == {"new"})

    assert server.fetches == 2


@pytest.mark.parametrize("behaviour", [answer(key_set(OLD)), answer(b"", 500)], ids=["good", "bad"])
def test_flood_of_unknown_kids(
    server: ScriptedServer, store: KeyStore, behaviour: Behaviour
) -> None:
    """Any number of unknown kids cause one fetch a cooldown, whatever it brings; few wait."""
    server.serve(behaviour)
    begun = time.monotonic()
    count = 0
    while server.fetches < 3:
        assert not store.refresh(URL, f"never-{count}", SECONDS)
        count += 1

    assert time.monotonic() - begun >= COOLDOWN
    assert count > 500, "each waited for a fetch"


def test_absent_kids_wait_for_nothing(server: ScriptedServer, store: KeyStore) -> None:
    """A kid that a fetch did not bring joins no other fetch within the cooldown."""
    go = threading.Event()
    assert not store.refresh(URL, "absent", SECONDS)
    server.serve(held(go, answer(key_set(OLD))))
    waiting = threading.Thread(target=_ask_until, args=(store, lambda: server.fetches == 3))
    waiting.start()
    until(lambda: server.fetches == 3)
    store._fetchers[URL].source = source(server, cooldown=SECONDS)  # so that it lasts
    assert not store.refresh(URL, "absent", SECONDS)
    assert waiting.is_alive()
    go.set()
    waiting.join()

    assert set(store._fetchers[URL]._absent) == {"absent", "other"}


def _ask_until(store: KeyStore, condition: Callable[[], bool]) -> None:
    while not condition():
        store.refresh(URL, "other", SECONDS)


def test_absent_kids_are_forgotten(server: ScriptedServer, store: KeyStore) -> None:
    """They are few, and none is remembered once the keys have changed."""
    fetcher = store._fetchers[URL]
    for number in range(3000):
        fetcher._absent[f"k{number}"] = None
    assert len(fetcher._absent) == MAX_ABSENT_KEY_IDS
    assert "k2999" in fetcher._absent
    server.serve(answer(key_set(OLD, NEW)))
    assert store.refresh(URL, "new", SECONDS)

    assert not fetcher._absent


def test_a_failed_fetch_makes_no_kid_absent(server: ScriptedServer, store: KeyStore) -> None:
    """Only a good set says that a kid is not there."""
    server.serve(answer(b"", 503))
    assert not store.refresh(URL, "new", SECONDS)

    assert not store._fetchers[URL]._absent


@pytest.mark.parametrize(
    "behaviour",
    [
        answer(b""),
        answer(b"{}"),
        answer(b'{"keys":[]}'),
        answer(b"<html>", content_type="text/html"),
        answer(b"\xff"),
        answer(key_set(OLD)[:-5]),
        answer(b" " * 300_000),
        answer(key_set(NEW), 500),
        answer(b"", 302, headers={"location": "http://127.0.0.1:1/"}),
        raw(b"garbage"),
    ],
    ids=str.split("nothing object empty html bytes cut huge status redirect garbage"),
)
def test_last_good_keys_are_kept(server: ScriptedServer, behaviour: Behaviour) -> None:
    """Garbage, an empty set included, replaces nothing, and is reported."""
    with running({URL: source(server, refresh=0.05)}) as store:
        until(store.ready)
        generation = store.generation
        server.serve(behaviour)
        until(lambda: store.status()[0].failures)
        before = store.get(URL)
        until(lambda: store.status()[0].failures > 1)
        status = store.status()[0]

        assert store.get(URL) is before
        assert known(store) == {"old"}
        assert store.generation == generation
        assert status.last_error
        assert "kty" not in status.last_error


def test_too_old_sets_stay(server: ScriptedServer) -> None:
    """A set past its time is still given out, for the core to refuse."""
    with running({URL: source(server, max_age=1.0)}) as store:
        until(store.ready)
        server.serve(answer(b"", 500))
        until(lambda: store.status()[0].failures)
        keys = store.get(URL)
        assert keys is not None
        until(lambda: time.time() > keys.usable_until)

        assert store.get(URL) is keys
        assert store.ready()


def test_flapping(server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    """Failures are counted each, told once when they begin, and once when they end."""
    caplog.set_level(logging.INFO, "authz.keys")
    with running({URL: source(server, refresh=0.05)}) as store:
        until(store.ready)
        for _ in range(2):
            failures = store.status()[0].failures
            server.serve(answer(b"", 500))
            until(lambda: store.status()[0].failures >= failures + 3)  # noqa: B023 - called before the next round
            server.serve(answer(key_set(OLD)))
            until(lambda: store.status()[0].last_error == "")
        status = store.status()[0]
    told = [record.getMessage() for record in caplog.records]

    assert sum("status 500" in line for line in told) == 2
    assert sum("a fetch succeeded again" in line for line in told) == 2
    assert status.failures >= 6
    assert status.source == server.url
    assert status.last_success is not None
    assert (status.keys, status.refused) == (1, 0)


def test_refused_keys_are_told_once(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that can't be used is one line when it comes, not one each fetch, and no material."""
    bad = NEW.jwk() | {"use": "enc", "kid": "bad\nline"}
    server.serve(answer(json.dumps({"keys": [OLD.jwk(), bad]}).encode()))
    with running({URL: source(server, refresh=0.05)}) as store:
        until(lambda: server.fetches > 3)
        status = store.status()[0]
    lines = [
        record.getMessage() for record in caplog.records if "refused key" in record.getMessage()
    ]

    assert len(lines) == 1
    assert r"'bad\nline'" in lines[0]
    assert bad["x"] not in caplog.text
    assert (status.keys, status.refused) == (1, 1)


def test_generation_is_of_content(server: ScriptedServer) -> None:
    """A fetch that confirms the keys moves their age; what changes them moves the generation."""
    with running({URL: source(server, refresh=0.05)}) as store:
        until(store.ready)
        generation, first = store.generation, store.get(URL)
        until(lambda: server.fetches > 3)
        again = store.get(URL)
        assert first is not None
        assert again is not None
        assert again.fetched_at > first.fetched_at
        assert again.usable_until > first.usable_until
        assert again.keys["old"] is first.keys["old"]
        assert store.generation == generation
        same_kid = {**NEW.jwk(), "kid": "old"}
        server.serve(answer(json.dumps({"keys": [same_kid]}).encode()))
        until(lambda: store.generation == generation + 1)

        assert known(store) == {"old"}


def pauses(count: int, fresh: float | None = None, failed: int = 0, **changes: Any) -> list[float]:
    """How long a fetcher pauses, several times over."""
    settings = KeySettings(jwks_uri="https://a/", **changes)
    fetcher = Fetcher(URL, KeySourceConfig(settings, ALL), lambda _, __: None)
    fetcher._fresh_seconds = fresh
    fetcher._failures_in_a_row = failed
    return [fetcher._pause() for _ in range(count)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 300.0),
        ({"fresh": 0.0}, 30.0),
        ({"fresh": 100.0}, 100.0),
        ({"fresh": 600.0}, 300.0),
        ({"fresh": 3e8, "max_age": 1e6, "refresh": 600.0}, 600.0),
        ({"fresh": 1.0, "refresh": 5.0}, 5.0),
        ({"max_age": 60.0}, 30.0),
        ({"failed": 1}, 10.0),
        ({"failed": 2}, 20.0),
        ({"failed": 4}, 80.0),
        ({"failed": 9}, 300.0),
        ({"failed": 10**9}, 300.0),
        ({"failed": 1, "refresh": 5.0}, 5.0),
    ],
)
def test_pauses(arguments: dict[str, Any], expected: float) -> None:
    """Cache-Control counts within bounds, failures double the pause, and no two are alike."""
    found = pauses(50, **arguments)

    assert all(0.9 * expected <= pause <= 1.1 * expected for pause in found)
    assert len(set(found)) > 40


def test_cache_control_sets_the_next_fetch(server: ScriptedServer) -> None:
    """An issuer may ask to be fetched from more often than the setting says, never less."""
    for max_age, least, most in ((60, 54, 66), (6000, 270, 330)):
        begun = time.time()
        server.serve(answer(key_set(OLD), headers={"cache-control": f"max-age={max_age}"}))
        with running({URL: source(server)}) as store:
            until(lambda: store.status()[0].next_refresh)
            due = store.status()[0].next_refresh

        assert due is not None
        assert due - begun > least
        assert due - time.time() < most


def test_files(tmp_path: Path) -> None:
    """A key file that changes is read by itself, and for an unknown key."""
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(OLD))
    with running({URL: KeySourceConfig(KeySettings(file=str(path)), ALL)}) as store:
        until(store.ready)
        path.write_bytes(key_set(OLD, NEW))
        until(lambda: known(store) == {"old", "new"})
        third = ec_key("third")
        path.write_bytes(key_set(third))
        until(lambda: store.refresh(URL, "third", SECONDS))
        path.write_bytes(b"{")
        until(lambda: store.status()[0].failures)

        assert known(store) == {"third"}
        assert store.status()[0].source == str(path)


def test_discovery(server: ScriptedServer) -> None:
    """A store finds the keys of the very issuer that it keeps them for."""
    document = {"issuer": server.base, "jwks_uri": server.url}
    path = "/.well-known/openid-configuration"
    server.paths[path] = answer(json.dumps(document).encode())
    settings = KeySettings(discovery=True, insecure=True)
    with running({server.base: KeySourceConfig(settings, ALL)}) as store:
        until(store.ready)

        assert store.status()[0].source == "discovery"


def test_reconfigure(server: ScriptedServer) -> None:
    """Sources that stay keep their keys; one that goes is forgotten; a new one is fetched."""
    one, other = source(server), "https://other.example"
    with running({URL: one}) as store:
        until(store.ready)
        kept, generation = store.get(URL), store.generation
        store.reconfigure({URL: source(server), other: one})
        assert store.get(URL) is kept
        assert store.generation == generation
        until(lambda: store.get(other))
        assert server.fetches == 2
        store.reconfigure({other: one})
        assert store.get(URL) is None
        assert store.generation > generation + 1
        assert not store.refresh(URL, "old", 0.1)


def test_reconfigure_of_one_place(server: ScriptedServer) -> None:
    """Other intervals keep the keys while the issuer is down; fewer algorithms leave fewer."""
    with running({URL: source(server)}) as store:
        until(store.ready)
        server.serve(answer(b"", 500))
        store.reconfigure({URL: source(server, max_age=50.0)})
        keys = store.get(URL)
        assert keys is not None
        assert keys.usable_until == keys.fetched_at + 50.0
        store.reconfigure({URL: source(server, algorithms=frozenset({"RS256"}))})
        assert store.get(URL) is None


def test_reconfigure_of_another_place(server: ScriptedServer) -> None:
    """Keys of one place are not taken for those of another, even by a fetch under way."""
    go = threading.Event()
    server.serve(held(go, answer(key_set(OLD))))
    elsewhere = ScriptedServer(answer(b"", 500))
    with running({URL: source(server)}) as store:
        until(lambda: server.fetches == 1)
        before = store._fetchers[URL]
        store.reconfigure({URL: source(elsewhere)})
        go.set()
        until(lambda: store.status()[0].failures)
        until(lambda: before.successes)

        assert store.get(URL) is None
    elsewhere.close()


def test_close_frees_who_waits(server: ScriptedServer, store: KeyStore) -> None:
    """Who waits for a fetch is free when the store closes."""
    go = threading.Event()
    server.serve(held(go, answer(key_set(OLD))))
    threading.Timer(0.1, store.close).start()
    assert not store.refresh(URL, "new", SECONDS)
    assert store.status()[0].successes == 1, "it was waited for"
    go.set()


def test_the_thread_survives_surprises(server: ScriptedServer) -> None:
    """An exception that nobody foresaw is a failure like others, and the next fetch is made."""
    taken: list[KeySet] = []
    surprises = [OSError("secret"), RuntimeError("secret")]

    def take(_: Fetcher, fresh: KeySet) -> None:
        if surprises:
            raise surprises.pop()
        taken.append(fresh)

    fetcher = Fetcher(URL, source(server, refresh=0.05), take)
    errors: set[str] = set()
    fetcher.start()
    while not taken and fetcher.failures < 10:
        errors.add(fetcher.last_error)
        time.sleep(0.001)
    fetcher.stop()

    assert fetcher.failures == 2
    assert errors <= {"", "RuntimeError", "OSError"}


def threads_of_keys() -> set[str]:
    """The names of the threads that fetch keys now."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("keys ")}


def test_a_thread_that_was_started_for_nothing_ends(
    store: KeyStore, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the first of two new sources gets a thread, that thread ends with the refusal."""
    before, start = threads_of_keys(), threading.Thread.start

    def no_second(thread: threading.Thread) -> None:
        if thread.name == "keys https://second.example":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_second)
    new = {f"https://{name}.example": source(server) for name in ("first", "second")}
    with pytest.raises(KeyStoreError, match=r"second\.example"):
        store.reconfigure({URL: source(server), **new})

    until(lambda: threads_of_keys() == before)
    assert [status.issuer for status in store.status()] == [URL]


def test_keys_from_disk_replace_none_that_were_fetched(store: KeyStore) -> None:
    """A set that is kept from before the start counts only until the first fetch."""
    held_: Any = store
    fetched = store.get(URL)
    assert fetched is not None
    held_._take(held_._fetchers[URL], replace(fetched, keys={}, is_kept=True))

    assert store.get(URL) is fetched
