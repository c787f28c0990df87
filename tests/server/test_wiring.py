"""What is opened runs only when it is started, is closed again, and is changed as a whole."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from authz.adapters.audit.log import AuditError
from authz.adapters.http_server import ListenError
from authz.adapters.keys.store import KeyStoreError
from authz.adapters.tls import TlsError
from authz.config import ConfigError
from authz.server import StartError, run
from authz.server.process import ServerProcess, open_server
from authz.server.reload import ConfigSource
from authz.transports.transport import TransportError
from authz.wiring.files import BuildError
from lab.ca import Authority
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, CONFIG, ISSUER, TRAVEL
from support.world import World, reason_of, wait_until

TOO_LARGE: Final = 1 << 46  # bytes of a thread's stack: more than there is memory for
# What names a file that is not there, and what the server says of it.
MISSING: Final = {
    "revocations": ("revocations: {file: /no}", BuildError),
    "candidate": ("candidate: /no", ConfigError),
    "certificate": ("{certificate: /no, private_key: /no, client_ca: /no}", TlsError),
    "nonce secret": ("token: {dpop: {nonce_secret: /no}}", BuildError),
    "token": ("pdp: {url: 'http://pdp.example/a', insecure: true, token_file: /no}", BuildError),
}
CALLERS: Final = "allowed_callers: ['spiffe://corp.example/a']"
SECOND: Final = """issuers:
  - issuer: https://second.example
    keys: {jwks_uri: "http://127.0.0.1:9/jwks", insecure: true}
    audiences: [https://second.example]
"""


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Have every start of a thread fail within: none has room for its stack."""
    before = threading.stack_size(TOO_LARGE)
    try:
        yield
    finally:
        threading.stack_size(before)


# Prints how many threads a process has that put a server together.
THREADS_OF_A_SERVER: Final = """
import sys
from pathlib import Path
from authz.server.process import open_server
from authz.server.reload import ConfigSource
source = ConfigSource(Path(sys.argv[1]))
with open_server(source.read_config(), source):
    print(len(list(Path("/proc/self/task").iterdir())))
"""


class Opened:
    """What this process has open: its threads, sockets, files and pipes, and what came since."""

    def __init__(self) -> None:
        """Note what there is."""
        self._before = self._all()

    @staticmethod
    def _all() -> set[object]:
        found: set[object] = set(threading.enumerate())
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # it was the listing's own
                found.add(str(descriptor.readlink()))
        return {thing for thing in found if not str(thing).startswith("anon_inode:")}

    def since(self) -> set[object]:
        """What came since then."""
        return self._all() - self._before


@pytest.fixture
def opened() -> Opened:
    """What was open before the test."""
    return Opened()


def source_of(folder: Path, *changes: tuple[str, str], jwks: str = "") -> ConfigSource:
    """The files of the lab's config, with some texts replaced."""
    text = CONFIG.format(
        socket=folder / "authz.sock",
        admin_port=0,
        drain="0s",
        jwks_uri=jwks or "http://127.0.0.1:9/jwks",
        audit=folder / "audit.jsonl",
    )
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "authz.yaml"
    path.write_text(text)
    return ConfigSource(path)


def server(stack: ExitStack, source: ConfigSource) -> ServerProcess:
    """Open a server by a config."""
    return stack.enter_context(open_server(source.read_config(), source))


def test_nothing_runs_before_it_is_started(tmp_path: Path, opened: Opened) -> None:
    """A server that was put together has no thread, no socket and no file; a started one has."""
    source = source_of(tmp_path, ("drain: 0s", "drain: 0s\n  pin: true"))
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        server(stack, source)
        assert opened.since() == set()
        assert not (tmp_path / "audit.jsonl").exists()
        assert os.sched_getaffinity(0) == cores
    assert opened.since() == set()


def test_no_library_runs_before_it_is_started(tmp_path: Path) -> None:
    """Nor has a process any thread of grpcio's, which Python does not know of."""
    source_of(tmp_path)
    program = [sys.executable, "-c", THREADS_OF_A_SERVER, str(tmp_path / "authz.yaml")]
    assert subprocess.run(program, check=True, capture_output=True, text=True).stdout == "1\n"


def test_what_was_started_is_closed(tmp_path: Path, opened: Opened) -> None:
    """A server that listened leaves no thread, no socket and no file behind."""
    with closing(JwksServer(Issuer(ISSUER, AUDIENCE))) as jwks, ExitStack() as stack:
        running = server(stack, source_of(tmp_path, jwks=f"{jwks.url}/jwks"))
        running.start()
        assert opened.since()
        staying = threading.Thread(target=running.stay)
        staying.start()
        wait_until((tmp_path / "authz.sock").exists)
        running.stop()
        staying.join()
    wait_until(lambda: not opened.since())


def test_a_certificate_is_not_watched_after_a_close(tmp_path: Path, opened: Opened) -> None:
    """A server with TLS leaves nothing behind either."""
    authority = Authority(tmp_path / "pki")
    svid = authority.issue(TRAVEL)
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    certificate.write_text(svid.certificate_pem)
    key.write_text(svid.key_pem)
    files = f"certificate: {certificate}, private_key: {key}, client_ca: {authority.path}"
    tls = ("drain: 0s", f"drain: 0s\n  tls: {{{files}, {CALLERS}}}")
    with ExitStack() as stack:
        listen = (f"unix:{tmp_path / 'authz.sock'}", "127.0.0.1:0")
        server(stack, source_of(tmp_path, tls, listen)).start()
        assert "tls" in {thread.name for thread in threading.enumerate()}
    wait_until(lambda: not opened.since())


@pytest.mark.parametrize("part", MISSING)
def test_a_part_that_can_not_be_opened(tmp_path: Path, opened: Opened, part: str) -> None:
    """What was opened before it is closed again."""
    line, error = MISSING[part]
    change = ("trust_domains:", f"{line}\ntrust_domains:")
    if part == "certificate":
        change = ("drain: 0s", f"drain: 0s\n  tls: {line[:-1]}, {CALLERS}}}")
    source = source_of(tmp_path, change)
    config = source.read_config()
    with pytest.raises(error), ExitStack() as stack:
        stack.enter_context(open_server(config, source))
    assert opened.since() == set()


def test_a_grpcio_that_is_made_otherwise(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are closed where the transport can't be made of them."""
    monkeypatch.setattr("authz.transports.grpcio.rpc._abort", lambda: None)
    with pytest.raises(TransportError, match="grpcio"), ExitStack() as stack:
        server(stack, source_of(tmp_path, ("server:\n", "server:\n  transport: grpcio\n")))
    assert opened.since() == set()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("authz.sock", "missing/authz.sock"), TransportError),
        (("audit.jsonl", "missing/audit.jsonl"), AuditError),
        (("127.0.0.1:0", "127.0.0.1:{port}"), ListenError),
    ],
    ids=["transport", "audit", "admin"],
)
def test_a_part_that_can_not_be_started(
    tmp_path: Path, opened: Opened, change: tuple[str, str], error: type[Exception]
) -> None:
    """What was started before it ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        old, new = change
        new = new.replace("{port}", str(taken.getsockname()[1]))
        with pytest.raises(error), ExitStack() as stack:
            server(stack, source_of(tmp_path, (old, new))).start()
    wait_until(lambda: not opened.since())


def test_a_supervisor_without_a_folder(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no folder for its workers' sockets it says so, as of any other start."""
    several = ("drain: 0s", "drain: 0s\n  workers: 2")
    source_of(tmp_path, several, ("authz.sock", "authz-{worker}.sock"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StartError, match="missing"):
        run(tmp_path / "authz.yaml")
    assert opened.since() == set()


@pytest.mark.parametrize("place", [0, 1, 2, 5, 6, 7, 8])
def test_a_system_without_threads(
    tmp_path: Path, opened: Opened, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever thread of a start can't be had, those before it end, and files are closed.

    They are of: audit log, keys, the pool (four), admin page, revocations, config.
    """
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def last_ones_fail(thread: threading.Thread) -> None:
        started.append(thread)
        with ExitStack() as stack:
            if len(started) > place:
                stack.enter_context(no_more_threads())
            start(thread)

    monkeypatch.setattr(threading.Thread, "start", last_ones_fail)
    with pytest.raises((RuntimeError, KeyStoreError, ListenError)), ExitStack() as stack:
        server(stack, source_of(tmp_path)).start()
    monkeypatch.undo()
    wait_until(lambda: not opened.since())


def with_second_issuer(world: World) -> str:
    """A config with another issuer, and the first one asked more seldom: both need a thread."""
    text = world.config_text.replace("issuers:\n", SECOND).replace("refresh: 60s", "refresh: 90s")
    assert text.count("issuer:") > world.config_text.count("issuer:")
    return text


def test_a_config_is_taken_as_a_whole_or_not_at_all(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a key thread can't be started the old config stays in force, and that is told."""
    path = world.folder / "authz.yaml"
    path.write_text(with_second_issuer(world))
    before = world.service.status().policy_version
    with no_more_threads():
        wait_until(lambda: not world.reload.look())

    assert world.reload.status().is_refused
    assert (
        "config not reloaded; the last valid one stays in force: the keys of https://"
        in caplog.text
    )
    assert world.service.status().policy_version == before
    assert [status.issuer for status in world.keys.status()] == [ISSUER]
    world.issuer.rotate()  # its keys are still fetched, by the thread that did so before
    assert reason_of(world.ask(world.token())) == "allow"

    world.reload.want()
    assert not world.reload.look()
    assert world.service.status().policy_version != before
    assert len(world.keys.status()) == 2
    assert reason_of(world.ask(world.issuer.token(TRAVEL, scope="balance:read"))) == "allow"


def test_a_config_that_can_not_be_built_changes_no_keys(world: World) -> None:
    """Where a file that it names is missing its issuers are not taken either."""
    line, _ = MISSING["token"]
    (world.folder / "authz.yaml").write_text(f"{line}\n{with_second_issuer(world)}")
    sources, snapshot = world.keys.status(), world.service.snapshot
    wait_until(lambda: not world.reload.look())

    assert world.reload.status().is_refused
    assert world.keys.status()[0].next_refresh == sources[0].next_refresh
    assert len(world.keys.status()) == 1
    assert world.service.snapshot is snapshot


def test_keys_change_as_a_whole_or_not_at_all(world: World) -> None:
    """A store whose threads can't be started keeps its sources, and goes on fetching."""
    store: Any = world.keys
    sources = {issuer: fetcher.source for issuer, fetcher in store._fetchers.items()}
    others = {**sources, "https://second.example": sources[ISSUER]}
    with no_more_threads(), pytest.raises(RuntimeError, match="thread"):
        store.reconfigure(others)

    assert [status.issuer for status in store.status()] == [ISSUER]
    store.reconfigure(others)
    assert len(store.status()) == 2
