"""What the command revokes in a store, or takes back, counts on every server that shares it."""

from collections.abc import Iterator

import pytest

from lab.config_builder import LAB
from lab.mesh import ISSUER, TRAVEL
from support.redis_server import RedisServer
from support.serving import Serving
from support.verbs import run
from support.world import wait_until

ENTRIES = 'authz_revocations{source="store"}'


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Serving]]:
    """Two servers with a file of their own each, and a store that they share."""
    with RedisServer() as server:
        store = LAB.with_(("store",), {"url": server.url, "insecure": True})
        folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
        with Serving(folders[0], store) as one, Serving(folders[1], store) as two:
            for replica in (one, two):
                replica.read_until("serving")
                replica.until("allow")
            yield one, two
            assert [replica.stop() for replica in (one, two)] == [0, 0]


def told(replica: Serving, verb: str, *flags: str) -> None:
    """Run a verb on the config of a replica."""
    assert run(verb, str(replica.config), *flags) == 0


def all_until(replicas: tuple[Serving, Serving], reason: str) -> None:
    """Ask both until that is their answer."""
    for replica in replicas:
        replica.until(reason)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--agent", TRAVEL), "agent_suspended"),
        (("--issuer", ISSUER, "--subject", "alice", "--any-time"), "token_revoked"),
        (("--everything",), "stopped"),
    ],
    ids=["agent", "subject", "everything"],
)
def test_every_server(
    replicas: tuple[Serving, Serving], flags: tuple[str, ...], reason: str
) -> None:
    """A remembered allow is refused on both, and allowed when the other's config takes it back."""
    one, two = replicas
    all_until(replicas, "allow")
    told(one, "revoke", *flags, "--note", "drill", "--source", "store")
    all_until(replicas, reason)
    assert [replica.metric(ENTRIES) for replica in replicas] == [1, 1]
    exact = [flag for flag in flags if flag != "--any-time"]
    told(two, "revocations", *exact, "--take-back")
    all_until(replicas, "allow")


def test_the_file_and_the_store(replicas: tuple[Serving, Serving]) -> None:
    """An entry in both counts until it is taken back from both."""
    one, two = replicas
    told(one, "revoke", "--agent", TRAVEL)
    all_until(replicas, "agent_suspended")
    wait_until(lambda: one.metric('authz_revocations{source="file"}') == 1)
    told(two, "revocations", "--agent", TRAVEL, "--take-back")
    two.until("allow")
    assert one.ask() == "agent_suspended", "its file has the entry"
    told(one, "revocations", "--agent", TRAVEL, "--take-back")
    all_until(replicas, "allow")
