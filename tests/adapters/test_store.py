"""Stores: what each must do, in memory and in a real server, and both against a model."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import Store
from support.conformance.store import SECONDS, StoreConformance, marked
from support.redis_server import RedisServer, one_node_cluster
from support.stores import namespace, opened_store

_IDS = st.sampled_from(["a", "b", "c", "d"])
_KEYS = st.sampled_from([b"k", b"l", b"m"])


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a server for all tests of the module."""
    with RedisServer() as running:
        yield running


class TestMemoryStore(StoreConformance):
    """The store of a process."""

    def opened(self) -> AbstractContextManager[Store]:
        """Return one."""

        @contextmanager
        def made() -> Iterator[Store]:
            yield MemoryStore()

        return made()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    """Run a cluster for all tests of the module."""
    with one_node_cluster() as running:
        yield running


class TestEngineStore(StoreConformance):
    """The store of a server."""

    @pytest.fixture(autouse=True)
    def _served(self, server: RedisServer) -> None:
        self._server = server

    def opened(self) -> AbstractContextManager[Store]:
        """Return one with a namespace of its own."""
        return opened_store(url=self._server.url)


class TestEngineStoreOfSocket(TestEngineStore):
    """The store of a server behind a unix socket."""

    def opened(self) -> AbstractContextManager[Store]:
        """Return one."""
        return opened_store(url=f"unix://{self._server.socket}")


class TestEngineStoreOfCluster(StoreConformance):
    """The store of a cluster: all keys of a namespace are in a slot."""

    @pytest.fixture(autouse=True)
    def _served(self, cluster: RedisServer) -> None:
        self._server = cluster

    def opened(self) -> AbstractContextManager[Store]:
        """Return one."""
        return opened_store(cluster=(self._server.address,), insecure=True)


class StoreMachine(RuleBasedStateMachine):
    """Two clients of a store do what two replicas and an operator do; a model says what comes."""

    url: str

    def __init__(self) -> None:
        """Open the store twice."""
        super().__init__()
        name = namespace()
        self._contexts = [opened_store(name, url=self.url) for _ in range(2)]
        self._stores: list[Store] = [context.__enter__() for context in self._contexts]
        self._stores[0].version(SECONDS)
        self._used: dict[bytes, bytes] = {}
        self._entries: dict[str, bytes] = {}
        self._agreed: dict[str, bytes] = {}
        self._number = 0
        self._history: list[tuple[int, bool, str, bytes]] = []

    def teardown(self) -> None:
        """Close it."""
        for context in self._contexts:
            context.__exit__(None, None, None)

    @rule(at=st.integers(0, 1), key=_KEYS, attempt=_KEYS)
    def use(self, at: int, key: bytes, attempt: bytes) -> None:
        """Use a key."""
        first = self._used.setdefault(key, attempt)
        expected = "" if first == attempt else "AlreadyUsedError"
        assert marked(self._stores[at], key, attempt, time.time()) == expected

    @rule(at=st.integers(0, 1), name=_IDS, value=_KEYS)
    def agree(self, at: int, name: str, value: bytes) -> None:
        """Propose a value."""
        expected = self._agreed.setdefault(name, value)
        assert self._stores[at].agreed(name, value, SECONDS) == expected

    @rule(at=st.integers(0, 1), entries=st.dictionaries(_IDS, _KEYS))
    def add(self, at: int, entries: dict[str, bytes]) -> None:
        """Add some entries."""
        for name, entry in entries.items():
            if name not in self._entries:
                self._entries[name] = entry
                self._changed(name, entry, is_added=True)
        assert self._stores[at].add(entries, "ann", SECONDS).number == self._number

    @rule(at=st.integers(0, 1), ids=st.lists(_IDS, unique=True))
    def take_back(self, at: int, ids: list[str]) -> None:
        """Take some entries back."""
        for name in ids:
            if name in self._entries:
                self._changed(name, self._entries.pop(name), is_added=False)
        listing = self._stores[at].take_back(ids, "bob", "why", SECONDS)
        assert dict(listing.entries) == self._entries

    def _changed(self, name: str, entry: bytes, *, is_added: bool) -> None:
        self._number += 1
        self._history.append((self._number, is_added, name, entry))

    @invariant()
    def lists_what_the_model_has(self) -> None:
        """Both clients list the model's entries, as of its number."""
        for store in self._stores:
            listing = store.entries(SECONDS)
            assert dict(listing.entries) == self._entries
            assert listing.version.number == self._number == store.version(SECONDS).number

    @rule(most=st.integers(1, 20))
    def tell(self, most: int) -> None:
        """Tell the last changes."""
        told = self._stores[0].changes(most, SECONDS)
        found = [(one.number, one.is_added, one.id, one.entry) for one in reversed(told)]
        assert found == self._history[-most:]


def test_a_store_does_what_a_model_does(server: RedisServer) -> None:
    """Any sequence of calls by two clients has the results of the model."""
    StoreMachine.url = server.url
    machine = StoreMachine.TestCase
    machine.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
    machine().runTest()
