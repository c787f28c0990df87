"""How a store's server is reached: TLS, certificates, users, and what a user must be allowed."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.store.engine import EngineStore
from authz.adapters.store.settings import SentinelSettings, StoreTlsSettings
from authz.adapters.store.store import Charge, Mark, StoreError
from authz.core.settings import ClientCertificateSettings
from lab.ca import Authority, Svid
from support.conformance.store import SECONDS, marked, ready
from support.redis_server import RedisServer, RedisTls
from support.stores import opened_store
from support.world import wait_until

HOW_TO = Path(__file__).parents[2] / "docs/howto/share-state.md"
PASSWORD = "p4ssword-of-the-test"
NAMESPACE = "corp.example"
CHANNEL = f"{{authz:{NAMESPACE}}}:revocations:changed"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the CA that the servers' certificates come from."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[RedisServer]:
    """Run a server with TLS, which asks for a client's certificate."""
    leaf = authority.issue(dns=("localhost",))
    with RedisServer(tls=RedisTls(leaf, authority.path, clients_must=True)) as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a server for all tests that make users."""
    with RedisServer() as running:
        yield running


def trusting(authority: Authority, client: Svid | None = None) -> StoreTlsSettings:
    """Return settings that trust the CA, and show a certificate."""
    certificate = None
    if client is not None:
        shown, key = str(client.certificate_path), str(client.key_path)
        certificate = ClientCertificateSettings(certificate=shown, private_key=key)
    return StoreTlsSettings(ca_file=str(authority.path), client=certificate)


def fault_of(store: EngineStore) -> str:
    """Return why a store can't be used, once it says so; "" if it can."""
    try:
        store.version(SECONDS)
    except StoreError as error:
        return str(error)
    return ""


def test_mutual_tls(secured: RedisServer, authority: Authority) -> None:
    """A certificate of the right CA opens the store."""
    tls = trusting(authority, authority.issue())
    with opened_store(url=secured.url, tls=tls) as store:
        assert marked(store, b"k", b"a", ready(store)) == ""


def test_a_client_certificate_is_read_anew(secured: RedisServer, authority: Authority) -> None:
    """A renewed certificate needs no restart of ours."""
    fresh = authority.issue()
    other = Authority(authority.folder / "other").issue()
    shown = authority.folder / "shown.pem", authority.folder / "shown.key"
    for path, text in zip(shown, (other.certificate_pem, other.key_pem), strict=True):
        path.write_text(text)
    client = ClientCertificateSettings(certificate=str(shown[0]), private_key=str(shown[1]))
    tls = StoreTlsSettings(ca_file=str(authority.path), client=client)
    with opened_store(url=secured.url, tls=tls) as store:
        assert fault_of(store)
        for path, text in zip(shown, (fresh.certificate_pem, fresh.key_pem), strict=True):
            path.write_text(text)
        wait_until(lambda: not fault_of(store))


def test_a_server_of_another_ca_is_refused(secured: RedisServer, authority: Authority) -> None:
    """The fault says which setting names the CA."""
    other = Authority(authority.folder / "another", "another")
    with opened_store(url=secured.url, tls=trusting(other, authority.issue())) as store:
        assert re.search("its certificate is invalid.*ca_file", fault_of(store))


def test_the_servers_name_is_verified(secured: RedisServer, authority: Authority) -> None:
    """A certificate for localhost is none for an address, even of the same server."""
    tls = trusting(authority, authority.issue())
    with opened_store(url=f"rediss://127.0.0.1:{secured.port}", tls=tls) as store:
        assert "its certificate is invalid" in fault_of(store)


def test_without_a_certificate_the_server_ends_it(
    secured: RedisServer, authority: Authority
) -> None:
    """A store that demands certificates can't be used without."""
    with opened_store(url=secured.url, tls=trusting(authority)) as store:
        assert fault_of(store)


def test_plain_tcp_to_a_tls_port_is_a_fault(secured: RedisServer) -> None:
    """And a TLS client at a plain port gets no answer either."""
    with opened_store(url=f"redis://localhost:{secured.port}") as store:
        assert fault_of(store)


def test_tls_to_a_plain_port_is_a_fault(server: RedisServer, authority: Authority) -> None:
    """It says so, and never goes on without TLS."""
    url = f"rediss://localhost:{server.port}"
    with opened_store(url=url, tls=trusting(authority)) as store:
        wait_until(lambda: "does it serve TLS at this port?" in fault_of(store))


def test_sentinels_with_tls_and_users(
    secured: RedisServer, authority: Authority, password_file: str
) -> None:
    """TLS and a certificate are for Sentinels too, and their user is another one."""
    leaf = authority.issue(dns=("localhost",))
    lines = (
        "sentinel resolve-hostnames yes",
        "sentinel announce-hostnames yes",
        f"sentinel monitor authz localhost {secured.port} 1",
        f"user asker on >{PASSWORD} +sentinel|get-master-addr-by-name +client|setname",
        "user default off",
    )
    tls = trusting(authority, authority.issue())
    asked = RedisTls(leaf, authority.path, clients_must=True)
    with RedisServer(*lines, tls=asked, sentinel=True) as server:
        known: dict[str, Any] = {"addresses": (f"localhost:{server.port}",), "service": "authz"}
        right = SentinelSettings(**known, user="asker", password_file=password_file)
        with opened_store(sentinel=right, tls=tls) as store:
            assert marked(store, b"k", b"a", ready(store)) == ""
        with opened_store(sentinel=SentinelSettings(**known), tls=tls) as store:
            assert "refuses our user or password" in fault_of(store)


def acl_line() -> str:
    """Return the user that the how-to makes, as a line of the server's config."""
    found = re.search(r"^user agent-authz .*$", HOW_TO.read_text(), re.MULTILINE)
    assert found, "the how-to has no line of a user"
    assert f"authz:{NAMESPACE}" in found[0]
    return found[0]


def rules(line: str) -> list[str]:
    """Return the rules of a user's line, with the test's password."""
    return [f">{PASSWORD}" if rule.startswith(">") else rule for rule in line.split()[2:]]


def set_user(server: RedisServer, given: list[str]) -> None:
    """Make the user anew, with these rules."""
    with server.admin() as client:
        client.execute_command("ACL", "SETUSER", "agent-authz", "reset", *given)


def begin(server: RedisServer, given: list[str]) -> None:
    """Make the user anew, in a server that knows nothing, and has refused nothing."""
    set_user(server, given)
    with server.admin() as client:
        client.flushall()
        client.script_flush()
        client.acl_log_reset()


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    """Write the password to a file."""
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    return str(path)


def does_everything(store: EngineStore, server: RedisServer) -> bool:
    """Tell whether a store can do all that it does."""
    works: tuple[Callable[[], object], ...] = (
        lambda: store.version(SECONDS),
        lambda: store.use(Mark(b"k", b"a", time.time(), time.time() + 60), time.time(), SECONDS),
        lambda: store.agreed("n", b"x", SECONDS),
        lambda: store.add({"a": b"1"}, "ann", SECONDS),
        lambda: store.entries(SECONDS),
        lambda: store.take_back(["a"], "ann", "", SECONDS),
        lambda: store.changes(1, SECONDS),
        lambda: store.spend([Charge(b"b", 1, 10, 60.0)], time.time(), SECONDS),
    )
    try:
        for work in works:
            work()
    except StoreError:
        return False
    # Who watches is woken even without a subscription, though rarely.
    store.watch(lambda: None)
    return subscribes(server)


def subscribes(server: RedisServer) -> bool:
    """Tell whether there is a subscription, and nothing was refused."""
    with server.admin() as client:
        wait_until(lambda: client.pubsub_numsub(CHANNEL)[0][1] or client.acl_log())
        return not client.acl_log()


def test_the_line_of_the_how_to_is_enough(server: RedisServer, password_file: str) -> None:
    """The user that it makes can do all that a store does."""
    begin(server, rules(acl_line()))
    settings = {"url": server.url, "user": "agent-authz", "password_file": password_file}
    with opened_store(NAMESPACE, **settings) as store:
        assert does_everything(store, server)


# WAIT is for replicas, and a PING comes after a silence: these have tests of their own.
OTHERS = {"+wait", "+ping", "on", "resetchannels"}
CONNECTIONS = {"+info", "+client|setname", "+eval", "+evalsha", "+time"}  # the first call fails
NEEDED_TO_ASK = {"+hmget", "+hset"}  # since when the store remembers


def test_the_line_of_the_how_to_has_nothing_more(server: RedisServer, password_file: str) -> None:
    """Without any of its rules something is refused, and the fault says why."""
    given = rules(acl_line())
    settings = {"url": server.url, "user": "agent-authz", "password_file": password_file}
    for rule in [rule for rule in given if rule not in OTHERS]:
        begin(server, [kept for kept in given if kept != rule])
        with opened_store(NAMESPACE, **settings) as store:
            assert not does_everything(store, server), rule


def test_an_operator_is_told_what_is_missing(server: RedisServer, password_file: str) -> None:
    """Each command of the how-to's line but those of every connection, before it is needed."""
    given = rules(acl_line())
    commands = {rule for rule in given if rule.startswith("+")} - CONNECTIONS
    settings = {"url": server.url, "user": "agent-authz", "password_file": password_file}
    begin(server, [rule for rule in given if rule not in commands - NEEDED_TO_ASK])
    with opened_store(NAMESPACE, **settings, acknowledged_by=0) as store:
        found = store.inspect(SECONDS).missing
        assert {f"+{name}" for name in found} == commands - NEEDED_TO_ASK - {"+wait"}
        set_user(server, given)
        assert store.inspect(SECONDS).missing == ()


def test_a_silent_subscription_needs_ping(server: RedisServer, password_file: str) -> None:
    """PING is allowed too: without it a subscription would end after each silence."""
    begin(server, [rule for rule in rules(acl_line()) if rule != "+ping"])
    settings = {"url": server.url, "user": "agent-authz", "password_file": password_file}
    with opened_store(NAMESPACE, **settings) as store, server.admin() as client:
        store.watch(lambda: None)
        wait_until(lambda: any(error["object"] == "ping" for error in client.acl_log()))


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("+evalsha", "our user may not run evalsha: its access control list is too narrow"),
        ("+hmget", "our user may not .*: its access control list is too narrow"),
        ("+info", "our user may not run info"),
        (f">{PASSWORD}", "it refuses our user or password"),
    ],
)
def test_a_refusal_says_what_is_missing(
    server: RedisServer, password_file: str, missing: str, words: str
) -> None:
    """The fault names the command, and nothing secret."""
    set_user(server, [rule for rule in rules(acl_line()) if rule != missing])
    settings = {"url": server.url, "user": "agent-authz", "password_file": password_file}
    with opened_store(NAMESPACE, **settings) as store:
        assert re.search(words, fault_of(store))
        assert PASSWORD not in fault_of(store)


def test_a_rotated_password_is_read_anew(server: RedisServer, tmp_path: Path) -> None:
    """A wrong password in the file is a fault; the right one is taken without a restart."""
    set_user(server, rules(acl_line()))
    path = tmp_path / "password"
    path.write_text("an-old-one")
    settings = {"url": server.url, "user": "agent-authz", "password_file": str(path)}
    with opened_store(NAMESPACE, **settings) as store:
        assert "refuses our user or password" in fault_of(store)
        path.write_text(PASSWORD)
        wait_until(lambda: not fault_of(store))


@pytest.mark.parametrize("content", ["", "\n", "two\nlines"])
def test_a_password_file_that_holds_none(server: RedisServer, tmp_path: Path, content: str) -> None:
    """The fault says so, and the content is not told."""
    path = tmp_path / "password"
    path.write_text(content)
    with opened_store(url=server.url, user="agent-authz", password_file=str(path)) as store:
        assert "must hold a password in a single line" in fault_of(store)


def test_a_password_file_that_is_missing(server: RedisServer, tmp_path: Path) -> None:
    """The fault names the setting."""
    path = str(tmp_path / "none")
    with opened_store(url=server.url, user="agent-authz", password_file=path) as store:
        assert fault_of(store) == "password_file can't be read: No such file or directory"


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0"])
def test_addresses_that_are_never_a_stores(host: str) -> None:
    """Nothing connects to where clouds answer with credentials."""
    with opened_store(url=f"redis://{host}:6379") as store:
        assert "link-local, metadata or multicast" in fault_of(store)


def test_another_database(server: RedisServer) -> None:
    """The URL's number divides stores of the same namespace."""
    with (
        opened_store("divided", url=f"{server.url}/1") as first,
        opened_store("divided", url=f"{server.url}/2") as second,
    ):
        first.add({"a": b"1"}, "ann", SECONDS)
        assert second.version(SECONDS).number == 0


def test_namespaces_and_prefixes_are_apart(server: RedisServer) -> None:
    """What one has used and revoked is free in the others."""
    with (
        opened_store("apart-1", url=server.url) as first,
        opened_store("apart-2", url=server.url) as second,
        opened_store("apart-1", url=server.url, prefix="other") as third,
    ):
        first.add({"a": b"1"}, "ann", SECONDS)
        assert marked(first, b"k", b"a", ready(first)) == ""
        for other in (second, third):
            assert marked(other, b"k", b"b", ready(other)) == ""
            assert other.version(SECONDS).number == 0


def test_a_server_that_is_not_there() -> None:
    """The fault is the system's."""
    with opened_store(url="redis://127.0.0.1:1") as store:
        assert fault_of(store) == "Connection refused"


def test_all_keys_are_in_a_slot(server: RedisServer) -> None:
    """Every key and channel has the hash tag of its namespace."""
    with opened_store("slot", url=server.url) as store:
        marked(store, b"k", b"a", ready(store))
        store.agreed("n", b"x", SECONDS)
        store.add({"a": b"1"}, "ann", SECONDS)
        with server.admin() as client:
            keys: Any = client.keys("*slot*")
        assert len(keys) == 6
        assert all(key.startswith(b"{authz:slot}:") for key in keys)


def test_marks_leave_the_store(server: RedisServer) -> None:
    """A mark has an end, soon after that of what it marks."""
    with opened_store("leaves", url=server.url) as store:
        marked(store, b"k", b"a", ready(store), lasts=100)
        with server.admin() as client:
            left: Any = client.pttl("{authz:leaves}:marks:6b")
        assert 90_000 < left <= 100_001
