"""What every key source must do: whatever ``KeySettings`` can name, through the key store."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.store import KeyStore
from authz.core.jose import KeySettings
from authz.core.jose.settings import MAX_DOCUMENT_BYTES
from lab.issuer import SigningKey
from support.jwks_server import ec_key
from support.world import PATIENCE_SECONDS, wait_until

OLD, NEW = ec_key("old"), ec_key("new")
BAD: Final = {
    "nothing": b"",
    "an object": b"{}",
    "a list": b"[]",
    "no JSON": b"{",
    "bytes": b"\xff\xfe",
    "keys of another type": b'{"keys":{}}',
}
ASKERS: Final = 20


class Publisher(Protocol):
    """Who publishes keys where the source reads them."""

    @property
    def issuer(self) -> str:
        """Return whose keys they are."""

    @property
    def settings(self) -> KeySettings:
        """Return the settings that name the place."""

    def document(self, *keys: SigningKey) -> bytes:
        """Return a good document with these keys."""

    def publish(self, document: bytes) -> None:
        """Put a document in place of the one before."""

    def vanish(self) -> None:
        """Have nothing there, until something is published."""


class RemotePublisher(Publisher, Protocol):
    """Who is asked over a connection, and may be slow."""

    @property
    def asked(self) -> int:
        """Return how often the keys were asked for."""

    def hold(self, go: threading.Event) -> None:
        """Answer no sooner than the event, until something is published."""


class KeySourceConformance(ABC):
    """The clauses.

    Not guaranteed: how soon a change is seen without anyone asking for a new key, that a source
    that comes back is asked at once, and that two processes see the same keys at one moment. Keys
    that are too old stay, with their time: the core refuses them.

    Attributes:
        foreign_reader: who reads its documents, where that is no code of ours: what a bad one is
            is then theirs to say.
    """

    foreign_reader: str = ""

    @abstractmethod
    def publisher(self, folder: Path) -> AbstractContextManager[Publisher]:
        """Return a publisher of nothing yet."""

    @pytest.fixture
    def published(self, tmp_path: Path) -> Iterator[Publisher]:
        """A publisher of the old key."""
        with self.publisher(tmp_path) as publisher:
            publisher.publish(publisher.document(OLD))
            yield publisher

    def test_a_good_set_is_taken(self, published: Publisher) -> None:
        """Nothing is known before the start; then the keys come by themselves."""
        store = store_of(published)
        assert store.get(published.issuer) is None
        assert not store.ready()

        with running(store, published):
            assert known(store, published) == {"old"}
            assert store.status()[0].last_error == ""

    def test_a_rotation(self, published: Publisher) -> None:
        """A key that was just published is known after one refresh, and a withdrawn one is gone."""
        with running(store_of(published), published) as store:
            published.publish(published.document(OLD, NEW))
            wait_until(lambda: store.refresh(published.issuer, "new", PATIENCE_SECONDS))
            assert known(store, published) == {"old", "new"}
            published.publish(published.document(NEW))
            wait_until(lambda: ask(store, published) and known(store, published) == {"new"})

    @pytest.mark.parametrize("why", BAD)
    def test_a_bad_one_replaces_nothing(self, published: Publisher, why: str) -> None:
        """What can't be read is a failure with few words; the last good keys stay, to the bit."""
        if self.foreign_reader:
            pytest.skip(self.foreign_reader)
        with running(store_of(published, refresh=0.05), published) as store:
            wait_until(lambda: store.status()[0].successes)
            published.publish(BAD[why])
            wait_until(lambda: store.status()[0].failures)
            before, generation = store.get(published.issuer), store.generation
            ask(store, published)

            assert known(store, published) == {"old"}
            assert store.get(published.issuer) is before
            assert store.generation == generation
            assert 0 < len(store.status()[0].last_error) < 300

    def test_a_document_that_is_too_large(self, published: Publisher) -> None:
        """A good set that is larger than the bound is not read."""
        if self.foreign_reader:
            pytest.skip(self.foreign_reader)
        with running(store_of(published, refresh=0.05), published) as store:
            published.publish(published.document(NEW) + b" " * MAX_DOCUMENT_BYTES)
            wait_until(lambda: store.status()[0].failures)

            assert known(store, published) == {"old"}

    def test_keys_that_cannot_be_used(self, published: Publisher) -> None:
        """A set without a usable key replaces nothing."""
        with running(store_of(published, refresh=0.05), published) as store:
            published.publish(published.document(ec_key("")))
            wait_until(lambda: store.status()[0].failures)

            assert known(store, published) == {"old"}

    def test_a_source_that_goes_away(self, published: Publisher) -> None:
        """Keys outlive their source; it is taken again when it is back."""
        with running(store_of(published, refresh=0.05), published) as store:
            published.vanish()
            wait_until(lambda: store.status()[0].failures > 1)
            assert known(store, published) == {"old"}
            published.publish(published.document(NEW))
            wait_until(lambda: ask(store, published) and known(store, published) == {"new"})

    def test_a_source_that_is_not_there_yet(self, tmp_path: Path) -> None:
        """A start without it has no keys, fails nobody's start, and finds it when it is there."""
        with self.publisher(tmp_path) as publisher:
            publisher.vanish()
            store = store_of(publisher, refresh=0.05)
            store.start()
            try:
                wait_until(lambda: store.status()[0].failures)
                assert store.get(publisher.issuer) is None
                publisher.publish(publisher.document(OLD))
                wait_until(lambda: ask(store, publisher) and store.get(publisher.issuer))
            finally:
                store.close()

    def test_its_place_is_told_apart(self, published: Publisher) -> None:
        """All that says where keys come from is in ``place``: other settings, other keys."""
        settings = published.settings
        given = {name: getattr(settings, name) for name in settings.model_fields_set}

        assert given
        assert all(value in settings.place for value in given.values())
        assert settings.name

    def test_many_ask_for_a_new_key(self, published: Publisher) -> None:
        """All who miss a key at the same time have it afterwards."""
        with running(store_of(published), published) as store:
            published.publish(published.document(OLD, NEW))

            assert all(asked_by_many(store, published))

    def test_a_stop_ends_its_thread(self, published: Publisher) -> None:
        """After a close nothing is fetched, nobody waits, and no thread is left."""
        before = set(threading.enumerate())
        with running(store_of(published), published) as store:
            published.publish(published.document(NEW))

        assert not store.refresh(published.issuer, "never", PATIENCE_SECONDS)
        wait_until(lambda: not {one for one in _ours(before) if "keys" in one.name})


class RemoteKeySourceConformance(KeySourceConformance):
    """The further clauses of a source that is asked over a connection."""

    @abstractmethod
    def publisher(self, folder: Path) -> AbstractContextManager[RemotePublisher]:
        """Return a publisher of nothing yet."""

    @pytest.fixture
    def remote(self, tmp_path: Path) -> Iterator[RemotePublisher]:
        """A publisher of the old key."""
        with self.publisher(tmp_path) as publisher:
            publisher.publish(publisher.document(OLD))
            yield publisher

    def test_a_fetch_is_shared(self, remote: RemotePublisher) -> None:
        """All who miss a key at the same time cause one fetch."""
        go = threading.Event()
        with running(store_of(remote), remote) as store:
            before = remote.asked
            remote.hold(go)
            threading.Timer(0.2, go.set).start()
            asked_by_many(store, remote)

            assert remote.asked == before + 1

    def test_a_flood_of_unknown_keys(self, remote: RemotePublisher) -> None:
        """Any number of keys that nobody has cause one fetch in a cooldown, and few wait."""
        # A cooldown in which a busy machine asks more than a hundred times.
        with running(store_of(remote, cooldown=1.0), remote) as store:
            before, count = remote.asked, 0
            while remote.asked < before + 2:
                assert not store.refresh(remote.issuer, f"never-{count}", PATIENCE_SECONDS)
                count += 1

        assert count > 100, "each waited for a fetch"

    def test_one_that_never_answers(self, remote: RemotePublisher) -> None:
        """A fetch ends at ``timeout``, whatever the other side does; the keys stay."""
        go = threading.Event()
        with running(store_of(remote, refresh=0.05, timeout=0.3), remote) as store:
            remote.hold(go)
            wait_until(lambda: store.status()[0].failures)

            assert known(store, remote) == {"old"}
            go.set()

    def test_known_keys_never_wait(self, remote: RemotePublisher) -> None:
        """While a fetch hangs known keys are there at once, and who asks waits as he likes."""
        go = threading.Event()
        with running(store_of(remote), remote) as store:
            remote.hold(go)
            assert not store.refresh(remote.issuer, "new", 0.05)
            assert not store.status()[0].failures, "it waited for the end of the fetch"
            for _ in range(1000):
                assert store.refresh(remote.issuer, "old", PATIENCE_SECONDS)
            assert known(store, remote) == {"old"}
            go.set()


def store_of(publisher: Publisher, **changes: Any) -> KeyStore:
    """Return a store of that one source; ``changes`` may go below what operators may say."""
    given = {"cooldown": 0.2, "timeout": PATIENCE_SECONDS, **changes}
    settings = publisher.settings.model_copy(update=given)
    return KeyStore({publisher.issuer: KeySourceConfig(settings, frozenset({"ES256"}))})


@contextmanager
def running(store: KeyStore, publisher: Publisher) -> Iterator[KeyStore]:
    """Run a store, from its first keys on."""
    store.start()
    try:
        wait_until(lambda: store.get(publisher.issuer) and store.status()[0].successes)
        yield store
    finally:
        store.close()


def known(store: KeyStore, publisher: Publisher) -> set[str]:
    """Return the kids that are known."""
    keys = store.get(publisher.issuer)
    return set(keys.keys) if keys else set()


def ask(store: KeyStore, publisher: Publisher) -> bool:
    """Ask for a key that nobody has, so that the source is looked at; True for a condition."""
    store.refresh(publisher.issuer, "nobody's", PATIENCE_SECONDS)
    return True


def asked_by_many(store: KeyStore, publisher: Publisher) -> list[bool]:
    """Ask for the new key in many threads at once."""
    with ThreadPoolExecutor(ASKERS) as pool:
        asked = [
            pool.submit(store.refresh, publisher.issuer, "new", PATIENCE_SECONDS)
            for _ in range(ASKERS)
        ]
    return [one.result() for one in asked]


def _ours(before: set[threading.Thread]) -> set[threading.Thread]:
    return set(threading.enumerate()) - before
