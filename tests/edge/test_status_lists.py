"""Tokens of a status list through the real service: what the list says counts, and nothing else."""

import gzip
import json
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from lab.config_builder import AT_ISSUER, LAB, ConfigBuilder
from lab.issuer import b64
from lab.mesh import ISSUER, PAYMENTS, TRAVEL, sample_of
from support.jwks_server import Behaviour, answer, ec_key, held, raw
from support.status_server import LIST_TYPE, StatusServer, pack
from support.world import READ, World, check_request, reason_of, wait_until

VALID, INVALID, SUSPENDED = 0, 1, 2
Hostile = Callable[["Served", str], Behaviour]
"""Makes the behaviour of a place."""
AT_LISTS = (*AT_ISSUER, "status_list")


class Served:
    """A world whose issuer has lists, and their server."""

    def __init__(self, folder: Path, opened: ExitStack, **settings: Any) -> None:
        """Start both, with further settings of the lists."""
        self.server = opened.enter_context(StatusServer(folder / "status"))
        self.changes = LAB.with_(AT_LISTS, self.server.settings(**settings))
        self.world = opened.enter_context(World(folder / "world", self.changes))
        self.issuer = self.world.issuer

    def publish(self, number: int = VALID, name: str = "1", **changes: Any) -> None:
        """Publish a list that says this of the token at 5, and that the others count."""
        numbers = [number if index == 5 else 0 for index in range(64)]
        self.server.publish(self.issuer, numbers, name=name, **changes)

    def token(self, index: int = 5, name: str = "1", **changes: Any) -> str:
        """Make a token of the list."""
        return self.world.token(status=self.server.status(index, name), **changes)

    def ask(self, token: str, **changes: Any) -> str:
        """Ask, and return the reason."""
        return reason_of(self.world.ask(token, **changes))

    def detail(self) -> str:
        """Return what the last record says."""
        return str(self.world.audit_records()[-1]["detail"])

    def sample(self, name: str) -> float:
        """Return a number of a scrape."""
        return sample_of(generate_latest(self.world.registry).decode(), name)

    def fetches(self, result: str) -> float:
        """Return how many fetches had this result."""
        labels = f'{{issuer="{ISSUER}",result="{result}"}}'
        return self.sample(f"authz_status_list_fetches_total{labels}")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A world whose lists are good for long."""
    folder = tmp_path_factory.mktemp("lists")
    with ExitStack() as opened:
        yield Served(folder, opened, max_age="1h", max_bytes=100_000)


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A world whose lists are fetched every second, and end after two without a fetch."""
    with ExitStack() as opened:
        yield Served(tmp_path_factory.mktemp("brief"), opened, max_age="2s")


# What a list says


def test_revoked_suspended_and_back(brief: Served) -> None:
    """A list that changes counts for remembered decisions too, whichever way it changes."""
    brief.publish()
    token, other = brief.token(), brief.token(6)
    assert [brief.ask(token), brief.ask(token), brief.ask(other)] == ["allow"] * 3
    brief.publish(INVALID)
    wait_until(lambda: brief.ask(token) == "token_revoked")
    assert "revoked" in brief.detail()
    assert brief.ask(token, path="/finance/other") == "token_revoked"
    brief.publish(SUSPENDED)
    wait_until(lambda: "suspended" in (brief.ask(token) and brief.detail()))
    brief.publish(VALID)
    wait_until(lambda: brief.ask(token) == "allow")
    assert brief.ask(other) == "allow"


def test_away_until_its_end(brief: Served) -> None:
    """While its server is away the last good list counts, until its end; then nothing does."""
    brief.publish(name="away")
    token = brief.token(name="away")
    assert brief.ask(token) == "allow"
    brief.server.serve(answer(b"", 503), "away")
    kept = brief.world.parts.status_lists.get(ISSUER, brief.server.uri("away"))
    assert kept is not None
    while time.time() < kept.usable_until - 0.5:
        found, at = brief.ask(token), time.time()
        assert found == "allow" or at >= kept.usable_until
        time.sleep(0.02)
    wait_until(lambda: brief.ask(token) == "status_unavailable")
    assert "status 503" in brief.detail() or "failed too often" in brief.detail()
    assert brief.fetches("failure") >= 1
    brief.publish(name="away")
    wait_until(lambda: brief.ask(token) == "allow")


def test_an_older_list(brief: Served) -> None:
    """An older list, which an attacker or a cache repeats, never replaces a newer list."""
    old = brief.server.list_token(brief.issuer, pack([0] * 8, 2), 2, "old", iat=time.time() - 20)
    brief.publish(INVALID, "old")
    token = brief.token(name="old")
    assert brief.ask(token) == "token_revoked"
    brief.server.serve(answer(old.encode(), content_type=LIST_TYPE), "old")
    wait_until(lambda: brief.ask(token) == "status_unavailable")
    assert "older than the last one" in brief.detail() or "too often" in brief.detail()


def test_numbers_of_a_scrape(brief: Served) -> None:
    """The lists are counted, with the age of the oldest."""
    brief.publish(name="counted")
    assert brief.ask(brief.token(name="counted")) == "allow"
    assert brief.sample(f'authz_status_lists{{issuer="{ISSUER}"}}') >= 1
    oldest = brief.sample(f'authz_status_list_oldest_timestamp_seconds{{issuer="{ISSUER}"}}')
    assert 0 < oldest <= time.time()


def test_an_opaque_token(tmp_path: Path) -> None:
    """An issuer that says that an opaque token is active has said its status: no list is asked."""
    with ExitStack() as opened:
        server = opened.enter_context(StatusServer(tmp_path / "status"))
        asked = {"url": f"{server.http.base}/introspect", "ca_file": str(server.authority.path)}
        lists = LAB.with_(AT_LISTS, server.settings())
        changes = lists.with_((*AT_ISSUER, "introspection"), {**asked, "timeout": "10s"})
        world = opened.enter_context(World(tmp_path / "world", changes))
        claims = world.issuer.claims(TRAVEL, "alice", READ, status=server.status(5))
        said = json.dumps({"active": True, "token_type": "Bearer", **claims}).encode()
        server.http.paths["/introspect"] = answer(said, content_type="application/json")
        assert reason_of(world.ask("an-opaque-token")) == "allow"
        assert server.fetches() == 0


# When a list is fetched


def test_once_for_all(served: Served) -> None:
    """Many checks that need a list cause one fetch, and later ones none."""
    served.publish(name="once")
    tokens = [served.token(index, "once") for index in range(8)]
    with ThreadPoolExecutor(2) as pool:  # as many of an agent as may wait
        assert set(pool.map(served.ask, tokens)) == {"allow"}
    assert served.server.fetches("once") == 1


def test_the_token_itself_comes_first(served: Served) -> None:
    """No list is fetched for a token that is refused anyway (section 8.3)."""
    served.publish(name="first")
    now = int(time.time())
    for changes, reason in (
        ({"exp": now - 100, "iat": now - 200}, "token_expired"),
        ({"aud": "https://other.example"}, "token_audience"),
        ({"act": {"sub": PAYMENTS}}, "actor_mismatch"),
        ({"act": None}, "actor_missing"),
    ):
        assert served.ask(served.token(name="first", **changes)) == reason
    forged = served.token(name="first")[:-8] + "AAAAAAAA"
    assert served.ask(forged) == "token_signature"
    assert served.server.fetches("first") == 0


def test_a_token_without_a_list(served: Served) -> None:
    """A token without status needs no list."""
    before = served.server.http.fetches
    assert served.ask(served.world.token()) == "allow"
    assert served.server.http.fetches == before


@pytest.mark.parametrize(
    "uri",
    ["http://127.0.0.1:1/statuslists/1", "https://localhost/statuslists/1", "{base}/other/1"],
)
def test_lists_elsewhere(served: Served, uri: str) -> None:
    """A token that names a list at another place is refused, and nothing goes there."""
    before = served.server.http.fetches
    status = {"status_list": {"idx": 5, "uri": uri.format(base=served.server.http.base)}}
    assert served.ask(served.world.token(status=status)) == "token_claim"
    assert served.server.http.fetches == before


def test_an_index_beyond_the_list(served: Served) -> None:
    """A token without a place in its list is refused, however far beyond it is."""
    served.publish(name="short")
    assert served.ask(served.token(63, "short")) == "allow"
    for index in (64, 10**9, 10**30):
        assert served.ask(served.token(index, "short")) == "token_claim"


def test_terms_are_shared_and_places_are_not(served: Served) -> None:
    """Of two tokens that differ in nothing but id and place, each has its own status."""
    served.publish(INVALID, "terms")
    for index, reason in ((4, "allow"), (5, "token_revoked"), (6, "allow"), (99, "token_claim")):
        assert served.ask(served.token(index, "terms")) == reason
    assert served.ask(served.world.token(status={"status_list": {"idx": 4}})) == "token_claim"


def test_an_unknown_key_is_fetched(served: Served) -> None:
    """A list by a key that was just published counts."""
    key = served.issuer.rotate()
    served.publish(name="rotated", key=key)
    wait_until(lambda: served.ask(served.token(name="rotated")) == "allow")


def test_a_withdrawn_key_takes_its_lists_along(served: Served) -> None:
    """A list counts no longer than the issuer publishes the key that signed it."""
    key = served.issuer.rotate()
    served.publish(name="withdrawn", key=key)
    other = served.issuer.rotate()
    token = served.token(name="withdrawn", key=other)
    wait_until(lambda: served.ask(token) == "allow")
    del served.issuer.keys[key.key_id]

    def refused() -> bool:
        served.world.keys.refresh(ISSUER, f"unknown-{time.monotonic()}", 1.0)
        return served.ask(token) == "status_unavailable"

    wait_until(refused)


# Hostile servers


def sent(token: str, content_type: str = LIST_TYPE) -> Behaviour:
    """Send a list."""
    return answer(token.encode(), content_type=content_type)


def moved(served: Served, _: str) -> Behaviour:
    """Redirect to a good list."""
    return answer(b"", 302, headers={"location": served.server.uri("good")})


def zipped(served: Served, place: str) -> Behaviour:
    """Send a good list in gzip, which was not asked for."""
    body = gzip.compress(served.server.list_token(served.issuer, bytes(16), name=place).encode())
    return answer(body, content_type=LIST_TYPE, headers={"content-encoding": "gzip"})


def typed(content_type: str) -> Hostile:
    """Send a good list as another type."""
    return lambda served, place: sent(
        served.server.list_token(served.issuer, bytes(16), name=place), content_type
    )


def with_(**changes: Any) -> Hostile:
    """Send a list with changes."""
    return lambda served, place: sent(
        served.server.list_token(served.issuer, bytes(16), name=place, **changes)
    )


def forged(served: Served, place: str) -> Behaviour:
    """Send a list that another key signed under the issuer's kid."""
    return with_(key=ec_key(served.issuer.current.key_id))(served, place)


def says(behaviour: Behaviour) -> Hostile:
    """Answer like this, whoever the issuer is."""
    return lambda *_: behaviour


BOMB = {"bits": 1, "lst": b64(zlib.compress(bytes(40 * 1024 * 1024), 9))}
SPARE = b64(zlib.compress(bytes(16)))
HOSTILE: dict[str, tuple[Hostile, str]] = {
    "404": (says(answer(b"", 404)), "status 404"),
    "redirect": (moved, "redirects are not followed"),
    "gzip": (zipped, "content-encoding"),
    "html": (typed("text/html"), "content-type"),
    "json": (typed("application/json"), "content-type"),
    "long": (says(answer(b"x" * 100_001, content_type=LIST_TYPE)), "larger than"),
    "empty": (says(answer(b"", content_type=LIST_TYPE)), "base64url"),
    "cut": (says(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc")), "list"),
    "sub": (with_(sub="https://as.corp.example/statuslists/2"), "sub"),
    "iss": (with_(iss="https://other.example"), "iss"),
    "typ": (with_(header={"typ": "at+jwt"}), "typ"),
    "untyped": (with_(header={"typ": None}), "typ"),
    "alg": (with_(header={"alg": "none"}), "alg"),
    "kid": (with_(key=ec_key("unheard-of")), "no such key"),
    "key": (forged, "signature"),
    "future": (with_(iat=2**40), "future"),
    "past": (with_(exp=1), "exp"),
    "bits": (with_(status_list={"bits": 3, "lst": SPARE}), "bits"),
    "padded": (with_(status_list={"bits": 1, "lst": f"{SPARE}=="}), "base64url"),
    "bomb": (with_(status_list=BOMB), "more than"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_lists_that_do_not_count(served: Served, name: str) -> None:
    """What is not clearly the list refuses its tokens, and the record says why."""
    behaviour, words = HOSTILE[name]
    served.publish(name="good")
    served.server.serve(behaviour(served, name), name)
    assert served.ask(served.token(name=name)) == "status_unavailable"
    assert words in served.detail()


# Slow servers


def test_a_slow_server_holds_nobody_else(served: Served) -> None:
    """Checks that wait for a list have places of their own: the others are answered meanwhile."""
    until = threading.Event()
    served.publish(name="slow")
    served.server.serve(held(until, served.server.http.paths["/statuslists/slow"]), "slow")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(served.ask, served.token(index, "slow")) for index in (1, 2)]
        wait_until(lambda: served.world.parts.bulkhead.status().waiting == 2)
        assert served.ask(served.token(3, "slow")) == "overloaded"
        assert served.ask(served.world.token()) == "allow"
        svid = served.world.authority.issue(PAYMENTS)
        token = served.issuer.token(PAYMENTS, scope=READ)
        message = check_request(svid, [("authorization", f"Bearer {token}")], principal=PAYMENTS)
        assert reason_of(served.world.check(message)) == "allow"
        until.set()
        assert [ask.result() for ask in waiting] == ["allow"] * 2
    assert served.server.fetches("slow") == 1


def test_a_check_waits_no_longer_than_its_deadline(served: Served) -> None:
    """A check whose proxy waits less than the list takes is refused in time."""
    until = threading.Event()
    served.publish(name="late")
    served.server.serve(held(until, served.server.http.paths["/statuslists/late"]), "late")
    token = served.token(name="late")
    message = check_request(served.world.svid, [("authorization", f"Bearer {token}")])
    assert reason_of(served.world.check(message, deadline=0.2)) == "status_unavailable"
    assert "not fetched in time" in served.detail()
    until.set()
    assert served.ask(token) == "allow"
    assert served.server.fetches("late") == 1


# Another config


def test_another_config(tmp_path: Path) -> None:
    """Without the settings the token is refused, as its restriction can't be checked; and back."""
    with ExitStack() as opened:
        served = Served(tmp_path, opened, max_age="1h")
        served.publish()
        world, token = served.world, served.token()
        assert served.ask(token) == "allow"
        for changes, reason in (
            (LAB, "token_claim"),
            (LAB.with_((*AT_ISSUER, "accept_unchecked"), ["status"]), "allow"),
            (served.changes, "allow"),
            (elsewhere(served.changes), "token_claim"),
        ):
            world.parts.reconfigure(world.configure(changes))
            assert served.ask(token) == reason


def elsewhere(changes: ConfigBuilder) -> ConfigBuilder:
    """The same, with lists at another place."""
    return changes.with_((*AT_LISTS, "uris"), ["https://as.corp.example/lists/*"])
