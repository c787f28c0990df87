"""Where signals are kept: a real store that replicas share, or the file, also at the same time."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from authz.adapters.signals import writer as writer_module
from authz.adapters.signals.writer import FileWriter, RevocationWriter, StoreWriter, WriteError
from authz.adapters.store.engine import EngineStore
from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.settings import StoreSettings
from authz.core.revocations import Revocation, read_entries
from authz.core.signals import effects
from authz.core.signals.effects import Restoration
from authz.core.signals.security_event import SecurityEvent
from authz.core.signals.sender import SignalSender
from authz.core.signals.subjects import Target
from lab.mesh import ISSUER
from support.redis_server import RedisServer
from support.world import PATIENCE_SECONDS

RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SENDER = SignalSender(
    issuer=ISSUER,
    about=ISSUER,
    audiences=("us",),
    algorithms=frozenset({"ES256"}),
    max_age=3600.0,
    clock_skew=30.0,
    token_seconds=3600.0,
)
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A real store."""
    with RedisServer() as server:
        yield server


def entry(name: str, subject: str, at: float = NOW) -> Revocation:
    """The entry of an event."""
    told = {"format": "opaque", "id": subject}
    event = SecurityEvent(RISC + name, {}, told, f"j-{subject}-{at}", at, at)
    (made,) = effects.effect_of(event, SENDER).entries
    return made


def restoration(subject: str, at: float) -> Restoration:
    """What an enabled account takes back."""
    return Restoration(f"signal {ISSUER} ", ISSUER, Target(subject=subject), at)


class Kept:
    """A writer, and what is kept."""

    def __init__(self, kind: str, folder: Path, redis: RedisServer) -> None:
        """Open a store or a file, empty."""
        self.path = folder / "revoked"
        self.path.write_bytes(b"")
        settings = StoreSettings(url=redis.url, insecure=True, timeout=PATIENCE_SECONDS / 12)
        store = EngineStore(settings, folder.name) if kind == "engine" else MemoryStore()
        self.store = store
        store.start()
        self.writer: RevocationWriter = (
            FileWriter(self.path) if kind == "file" else StoreWriter(store)
        )
        self.is_file = kind == "file"

    def entries(self) -> list[Revocation]:
        """What is kept."""
        if not self.is_file:
            listed = self.store.entries(PATIENCE_SECONDS).entries
            found = [msgspec.json.decode(line, type=Revocation) for line in listed.values()]
            assert [one.id for one in found] == list(listed)
            return found
        read = read_entries(self.path.read_bytes())
        return [one for _, one in read if isinstance(one, Revocation)]


@pytest.fixture(params=["memory", "engine", "file"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Iterator[Kept]:
    """Each of them."""
    made = Kept(request.param, tmp_path, redis)
    with closing(made.store):
        yield made


def test_entries_are_kept(kept: Kept) -> None:
    """Entries of a signal are kept as they are; the same again is the same."""
    both = [entry("credential-compromise", "alice"), entry("account-disabled", "bob")]
    kept.writer.add(both, "signal x j")
    kept.writer.add(both, "signal x j")

    assert sorted({one.id for one in kept.entries()}) == sorted(one.id for one in both)


def test_entries_that_are_there(kept: Kept) -> None:
    """A signal that comes again, after it was forgotten, adds nothing."""
    made = [entry("sessions-revoked", f"u{number}") for number in range(3)]
    kept.writer.add(made, "by")
    kept.writer.add([*made, entry("sessions-revoked", "other")], "by")

    assert len(kept.entries()) == 4


def test_a_file_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired lines of signals leave the file, others' stay; an issuer gets so many lines."""
    path = tmp_path / "revoked"
    others = b'{"agent":"spiffe://a/b","expires":"2020-01-01T00:00:00Z"}\n\n{"tool": "t"}\n'
    path.write_bytes(others)
    writer = FileWriter(path)
    writer.add([entry("sessions-revoked", "old", 1_600_000_000.0)], "by")
    assert path.read_bytes().count(b"\n") == 4
    writer.add([entry("sessions-revoked", "new")], "by")
    assert path.read_bytes() == others + entry("sessions-revoked", "new").line + b"\n"

    monkeypatch.setattr(writer_module, "MAX_IN_FILE", 2)
    writer.add([entry("sessions-revoked", "second")], "by")
    with pytest.raises(WriteError, match="use a store"):
        writer.add([entry("sessions-revoked", "third")], "by")
    of_other = msgspec.structs.replace(entry("sessions-revoked", "x"), issuer="https://o.example")
    writer.add([of_other], "by")


def test_a_restoration(kept: Kept) -> None:
    """An account that is enabled has its earlier disabling taken back, and nothing else."""
    earlier, later = entry("account-disabled", "alice"), entry("account-disabled", "alice", NOW + 9)
    others = [
        entry("account-disabled", "bob"),
        entry("account-purged", "alice"),
        entry("credential-compromise", "alice"),
        Revocation(issuer=ISSUER, subject="alice", note="account-disabled", by="an operator"),
    ]
    kept.writer.add([earlier, later, *others], "signal x j")

    assert kept.writer.restore([restoration("alice", NOW + 5)], "signal x k") == 1
    assert {one.id for one in kept.entries()} == {one.id for one in (later, *others)}
    assert kept.writer.restore([restoration("alice", NOW + 5)], "signal x k") == 0


def test_many_threads(kept: Kept) -> None:
    """Signals that are taken at the same time lose none of each other's entries."""
    subjects = [f"u{number}" for number in range(8)]
    threads = [
        threading.Thread(target=kept.writer.add, args=([entry("sessions-revoked", subject)], "s"))
        for subject in subjects
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert sorted(str(one.subject) for one in kept.entries()) == subjects


def test_a_store_that_is_away(tmp_path: Path, redis: RedisServer) -> None:
    """While the store is away nothing is taken, and later it is."""
    kept = Kept("engine", tmp_path, redis)
    with closing(kept.store):
        kept.writer.add([entry("credential-compromise", "alice")], "s")
        redis.kill()
        with pytest.raises(WriteError, match="the store"):
            kept.writer.add([entry("credential-compromise", "bob")], "s")
        with pytest.raises(WriteError, match="the store"):
            kept.writer.restore([restoration("alice", NOW)], "s")
        redis.start()


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """A file that is missing is not made anew: what it revoked would be lost unseen."""
    writer = FileWriter(tmp_path / "gone")
    with pytest.raises(WriteError, match="No such file"):
        writer.add([entry("credential-compromise", "alice")], "s")
    with pytest.raises(WriteError, match="No such file"):
        writer.restore([restoration("alice", NOW)], "s")
