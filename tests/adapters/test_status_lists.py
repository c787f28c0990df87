"""The status lists that are kept: bounded, never replaced by older ones, fetched again on time."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.store import KeyStore
from authz.adapters.status_lists import (
    StatusFetchError,
    StatusListClient,
    StatusListResult,
    StatusLists,
)
from authz.adapters.status_lists.client import (
    BREAKER_FAILURES,
    JITTER,
    MIN_REFRESH_SECONDS,
)
from authz.adapters.status_lists.kept import MAX_BYTES, MAX_LISTS, MAX_MARKS, KeptLists
from authz.adapters.status_lists.news import PacedNews
from authz.core.delegation import IssuerSettings
from authz.core.delegation.status_list_token import MAX_INFLATED_BYTES, StatusList, StatusListError
from authz.core.jose import KeySettings
from authz.core.needs import StatusListNeeded
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER
from support.jwks_server import answer, held
from support.status_server import StatusServer
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until

START = 1000.0  # monotonic seconds


def a_list(numbers: bytes = b"\0", issued_at: float = 0.0) -> StatusList:
    """A list that was verified."""
    return StatusList(1, numbers, issued_at, 0.0, 1e12, None, "key", "thumbprint")


# What is kept


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        """Begin."""
        self.now = START

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "get", "due", "fail", "wait"]),
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 4),
        ),
        max_size=80,
    )
)
def test_kept_lists_against_a_model(steps: list[tuple[str, str, int]]) -> None:
    """It has the last list of each place, tells what is news and what is due, and drops unused."""
    clock = Clock()
    kept = KeptLists(clock)
    lists: dict[str, tuple[StatusList, float, float]] = {}  # with use, and the next fetch
    last: dict[str, StatusList] = {}
    for step, uri, number in steps:
        if step == "wait":
            clock.now += number
        elif step == "take":
            fresh = a_list(bytes([number % 2]), float(number))
            if uri in last and last[uri].issued_at > number:
                with pytest.raises(StatusListError):
                    kept.take(uri, fresh, 5.0)
                continue
            is_news = uri in last and last[uri].numbers != fresh.numbers
            assert kept.take(uri, fresh, 5.0) is is_news
            used = lists[uri][1] if uri in lists else clock.now
            lists[uri], last[uri] = (fresh, used, clock.now + 5.0), fresh
        elif step == "get":
            found = kept.get(uri)
            assert found is (lists[uri][0] if uri in lists else None)
            if uri in lists:
                lists[uri] = (lists[uri][0], clock.now, lists[uri][2])
        elif step == "fail":
            kept.postpone(uri, lambda _: 3.0)
            if uri in lists:
                lists[uri] = (*lists[uri][:2], clock.now + 3.0)
        else:
            lists = {at: of for at, of in lists.items() if clock.now - of[1] <= 8.0}
            assert sorted(kept.due(8.0)) == sorted(
                at for at, of in lists.items() if clock.now >= of[2]
            )
        assert len(kept.fetched_at()) == len(lists)


def test_bounds() -> None:
    """An issuer fills so many lists and so many bytes; those that were not used longest go."""
    clock = Clock()
    kept = KeptLists(clock)
    for number in range(MAX_LISTS + 5):
        clock.now += 1
        kept.take(f"{number}", a_list(), 5.0)
        assert kept.get("0") is not None
    assert len(kept.fetched_at()) == MAX_LISTS
    assert kept.get("1") is None
    large = a_list(bytes(MAX_INFLATED_BYTES))
    for number in range(2 * MAX_BYTES // MAX_INFLATED_BYTES):
        clock.now += 1
        kept.take(f"large {number}", large, 5.0)
    assert len(kept.fetched_at()) == MAX_BYTES // MAX_INFLATED_BYTES


def test_news_of_a_list_that_was_dropped() -> None:
    """A change shows though the list before it is no longer kept, and so does forgetting that."""
    kept = KeptLists(Clock())
    assert kept.take("first", a_list(b"\0"), 5.0) is False
    for number in range(MAX_LISTS):
        assert kept.take(f"{number}", a_list(), 5.0) is False
    assert kept.get("first") is None
    assert kept.take("first", a_list(b"\0"), 5.0) is False
    assert kept.take("first", a_list(b"\1"), 5.0) is True
    told = [kept.take(f"more {number}", a_list(), 5.0) for number in range(MAX_MARKS)]
    assert sum(told) == 1


def test_news_have_a_pace() -> None:
    """Lists that change all the time make what is remembered stale once in a while, and surely."""
    clock, told = Clock(), list[float]()
    news = PacedNews(lambda: told.append(clock.now), clock, 1.0)
    news.tell()
    news.tell()
    assert len(told) == 2, "as nothing would repeat it"
    news.is_repeated = True
    clock.now += 1.0
    for _ in range(10):
        news.tell()
        clock.now += 0.05
    assert len(told) == 3
    news.repeat()
    news.repeat()
    assert len(told) == 4
    clock.now += 1.0
    news.tell()
    assert len(told) == 5


# The client


class Fetching:
    """A client of a real server, with a clock that a test sets, and what it did."""

    def __init__(self, server: StatusServer, keys: KeyStore, **settings: object) -> None:
        """Begin without lists."""
        self.server = server
        self.monotonic = Clock()
        self.results: list[StatusListResult] = []
        self.outdated = 0
        given = server.settings(**settings)
        self.issuer = IssuerSettings.model_validate(
            {
                "issuer": ISSUER,
                "audiences": (AUDIENCE,),
                "keys": {"jwks_uri": "https://as.corp.example/jwks"},
                "status_list": {**given, "uris": tuple(given["uris"])},
            }
        )
        assert self.issuer.status_list is not None
        self.client = StatusListClient(
            self.issuer,
            self.issuer.status_list,
            keys,
            self.outdate,
            lambda _, result: self.results.append(result),
            clock=(time.time, self.monotonic),
        )

    def outdate(self) -> None:
        """Note a change."""
        self.outdated += 1

    def ask(self, name: str = "1", seconds: float = SECONDS) -> None:
        """Fetch a list."""
        self.client.ask(self.server.uri(name), seconds)

    def later(self, seconds: float) -> None:
        """Refresh after so many seconds, and wait for the fetches."""
        self.monotonic.now += seconds
        before = len(self.results)
        begun = self.server.http.fetches
        self.client.refresh()
        wait_until(lambda: not len(self.client._calls))
        assert len(self.results) - before >= self.server.http.fetches - begun


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """The issuer that signs lists."""
    return Issuer(ISSUER, AUDIENCE)


@pytest.fixture(scope="module")
def keys(issuer: Issuer) -> Iterator[KeyStore]:
    """Its keys, fetched."""
    with ExitStack() as opened:
        served = opened.enter_context(closing(JwksServer(issuer)))
        settings = KeySettings(jwks_uri=f"{served.url}/jwks", insecure=True)
        source = KeySourceConfig(settings, frozenset({"ES256"}))
        store = opened.enter_context(closing(KeyStore({ISSUER: source})))
        store.start()
        wait_until(store.ready)
        yield store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatusServer]:
    """The server of lists."""
    with StatusServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def fetching(server: StatusServer, keys: KeyStore, issuer: Issuer) -> Fetching:
    """A client; each test has a server without requests and with a good list."""
    server.http.requests.clear()
    server.publish(issuer, ttl=60)
    return Fetching(server, keys)


def test_fetched_again_by_its_ttl(fetching: Fetching, issuer: Issuer) -> None:
    """A list is fetched again after its ttl, not before, and a change outdates what is remembered.

    What it says first, and says again, outdates nothing.
    """
    fetching.ask()
    fetching.later(60 * (1 - JITTER) - 1)
    assert fetching.server.fetches() == 1
    fetching.later(60 * JITTER + 1)
    assert (fetching.server.fetches(), fetching.outdated) == (2, 0)
    fetching.server.publish(issuer, [1] * 64, ttl=60)
    fetching.later(60)
    assert (fetching.server.fetches(), fetching.outdated) == (3, 1)
    assert fetching.results == [StatusListResult.SUCCESS] * 3
    asked = fetching.server.http.requests[-1][1]
    assert asked["accept"] == "application/statuslist+jwt"


def test_limits_of_a_ttl(fetching: Fetching, issuer: Issuer) -> None:
    """However short a ttl is, pauses are seconds; however long, half of max_age."""
    fetching.server.publish(issuer, ttl=0.001)
    fetching.ask()
    fetching.later(MIN_REFRESH_SECONDS - 0.1)
    assert fetching.server.fetches() == 1
    fetching.server.publish(issuer, ttl=10**9)
    fetching.later(0.1)
    assert fetching.server.fetches() == 2
    fetching.later(150)
    assert fetching.server.fetches() == 3


def test_after_failures(fetching: Fetching, caplog: pytest.LogCaptureFixture) -> None:
    """After a failure the pauses grow, the last good list stays, and a reason is logged once."""
    fetching.ask()
    good = fetching.client.get(fetching.server.uri())
    fetching.server.serve(answer(b"", 500))
    with caplog.at_level(logging.INFO, "authz.status_lists"):
        for seconds in (60, 5, 5, 5):
            fetching.later(seconds)
    # At 60 s, 65 s and 75 s, as the pauses are 5 s, 10 s and more; the breaker may take one.
    fetched = fetching.results.count(StatusListResult.FAILURE)
    assert fetched + fetching.results.count(StatusListResult.CUT_OFF) == 3
    assert fetching.client.get(fetching.server.uri()) is good
    assert sum("can't be had" in line for line in caplog.messages) == 1


def test_unused_lists_are_left_alone(fetching: Fetching) -> None:
    """A list that no check has looked up for long is not fetched again, and no longer kept."""
    fetching.ask()
    fetching.later(601)
    assert fetching.server.fetches() == 1
    assert fetching.client.get(fetching.server.uri()) is None


def test_many_lists_of_an_issuer(fetching: Fetching, issuer: Issuer) -> None:
    """An issuer with more lists than are kept is served, list by list, and outdates nothing."""
    for number in range(MAX_LISTS + 3):
        fetching.server.publish(issuer, name=f"many-{number}")
        fetching.ask(f"many-{number}")
    assert len(fetching.client.fetched_at()) == MAX_LISTS
    fetching.ask("many-0")
    assert fetching.server.fetches("many-0") == 2
    assert fetching.outdated == 0


def test_a_list_that_is_gone(fetching: Fetching) -> None:
    """After failures in a row checks do not wait for that list, and other lists are fetched."""
    for _ in range(BREAKER_FAILURES):
        with pytest.raises(StatusFetchError, match="status 404"):
            fetching.ask("gone")
    with pytest.raises(StatusFetchError, match="failed too often"):
        fetching.ask("gone")
    assert fetching.server.fetches("gone") == BREAKER_FAILURES
    fetching.ask()


def test_no_time(fetching: Fetching) -> None:
    """Without time nothing is asked, unless the list was fetched meanwhile."""
    with pytest.raises(StatusFetchError, match="no time"):
        fetching.ask(seconds=0.0)
    fetching.ask()
    fetching.ask(seconds=0.0)
    assert fetching.server.fetches() == 1


def test_one_fetch_for_all(fetching: Fetching) -> None:
    """Many that need the list at once cause a single fetch, which the background shares."""
    until = threading.Event()
    fetching.server.serve(held(until, fetching.server.http.paths["/statuslists/1"]))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(fetching.ask) for _ in range(8)]
        wait_until(lambda: fetching.results.count(StatusListResult.SHARED) == 7)
        until.set()
        for ask in asked:
            ask.result()
    assert fetching.server.fetches() == 1


def test_an_issuer_without_lists(keys: KeyStore) -> None:
    """What is no longer configured is not asked about."""
    lists = StatusLists(keys)
    assert lists.get(ISSUER, "https://as.corp.example/1") is None
    assert lists.ask(StatusListNeeded(ISSUER, "https://as.corp.example/1"), 1.0) is False
    assert lists.status() == ()
    lists.start()
    lists.close()


def test_lists_stay_over_a_reload(fetching: Fetching, keys: KeyStore) -> None:
    """Settings that are the same keep the lists, and others begin without."""
    lists = StatusLists(keys)
    lists.reconfigure([fetching.issuer])
    need = StatusListNeeded(ISSUER, fetching.server.uri())
    assert lists.ask(need, SECONDS) is True
    lists.reconfigure([fetching.issuer])
    assert lists.get(ISSUER, need.uri) is not None
    assert lists.status()[0].lists == 1
    lists.reconfigure([fetching.issuer.model_copy(update={"max_actors": 2})])
    assert lists.get(ISSUER, need.uri) is None
