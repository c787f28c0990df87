"""Consents of the file and of the store: what is there when a token is asked for, and no more."""

import json
import threading
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.consents import ConsentSettings
from authz.adapters.consents import stored as stored_consents
from authz.adapters.consents.file import MAX_FILE_BYTES
from authz.adapters.consents.sources import MAX_AGE_SECONDS, ConsentSources
from authz.adapters.consents.stored import StoredConsents
from authz.adapters.entry_file.history import read_changes
from authz.adapters.entry_file.writing import EntryFile
from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import Store
from authz.core.consents import READER, Consent, Consents
from authz.core.reason import Denied, Reason
from authz.core.sts.consent import ConsentAsked, ConsentFound, ConsentToCall
from support.consent_model import is_covered
from support.redis_server import RedisServer
from support.shaky_store import ShakyStore
from support.stores import namespace, opened_store
from support.world import PATIENCE_SECONDS

AGENT: Final = "spiffe://corp.example/ns/agents/sa/travel"
END: Final = "2040-01-01T00:00:00Z"
SECONDS: Final = 5.0
RACERS: Final = 8
WANTED: Final = ConsentAsked("i", "alice", AGENT, ("a",), frozenset({"read"}))


def consent(**members: Any) -> Consent:
    """A consent of Alice's."""
    whole = {"issuer": "i", "subject": "alice", "agent": AGENT, "until": END, **members}
    return READER.read(json.dumps(whole).encode())


def once(**members: Any) -> Consent:
    """A consent for a single token, given now."""
    return consent(once=True, since=moment(), **members)


def moment(hours: float = 0) -> str:
    """A time from now on, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + hours * 3600))


def to_calls(*consents: Consent) -> tuple[ConsentToCall, ...]:
    """What names the approvals that these consents are."""
    return tuple(
        ConsentToCall(each.digest, each.since.timestamp(), each.until_seconds)
        for each in consents
        if each.since is not None
    )


def answered(sources: ConsentSources, asked: ConsentAsked = WANTED) -> ConsentFound | Reason:
    """What the sources say now."""
    sources.catch_up(SECONDS)
    try:
        return sources.require(asked, time.time())
    except Denied as denied:
        return denied.reason


def used(sources: ConsentSources, found: ConsentFound) -> str:
    """What becomes of a use."""
    try:
        sources.use_up(found, AGENT, time.time(), SECONDS)
    except Denied as denied:
        return denied.reason.code
    return "used"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of consents, empty."""
    path = tmp_path / "consents.jsonl"
    path.touch()
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server for the tests that do not harm it."""
    with RedisServer() as server:
        yield server


def of_file(path: Path, store: Store | None = None) -> ConsentSources:
    """Sources with a file."""
    return ConsentSources(ConsentSettings(file=str(path)), store)


def lines(*entries: Consent) -> bytes:
    """The lines of entries."""
    return b"".join(entry.line + b"\n" for entry in entries)


def test_what_the_file_has_counts(path: Path) -> None:
    """A line that is added by hand counts with the next request, and a removed one no more."""
    sources, long, short = of_file(path), consent(), consent(until="2039-01-01T00:00:00Z")
    assert answered(sources) is Reason.APPROVAL_REQUIRED
    path.write_bytes(lines(short, long))
    assert answered(sources) == ConsentFound(long.id, long.until_seconds)
    path.write_bytes(lines(short))
    assert answered(sources) == ConsentFound(short.id, short.until_seconds)
    path.write_bytes(b"")
    assert answered(sources) is Reason.APPROVAL_REQUIRED


def test_a_broken_line_is_no_consent_and_takes_none_away(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in the other lines, a whole line counts, and each other is told."""
    entry = consent()
    half = entry.line[: len(entry.line) // 2]
    path.write_bytes(half + b"\n" + entry.line * 2 + b"\n\xff\n" + lines(entry) + half)
    sources = of_file(path)
    assert answered(sources) == ConsentFound(entry.id, entry.until_seconds)
    assert "line 1 of the file of consents is no consent" in caplog.text
    assert [(state.consents, state.invalid) for state in sources.status()] == [(1, 3)]
    path.write_bytes(half + b"\n" + entry.line * 2 + b"\n")
    assert answered(sources) is Reason.APPROVAL_REQUIRED


def test_a_file_that_can_not_be_read_has_no_consent(path: Path) -> None:
    """Without the file, or if it is too large, it is not certain that there is none: try again."""
    path.write_bytes(lines(consent()))
    sources = of_file(path)
    assert isinstance(answered(sources), ConsentFound)
    path.rename(path.with_name("away"))
    assert answered(sources) is Reason.STORE_UNAVAILABLE
    assert sources.status()[0].is_away
    path.write_bytes(b" " * MAX_FILE_BYTES + lines(consent()))
    assert answered(sources) is Reason.STORE_UNAVAILABLE
    path.with_name("away").rename(path)
    assert isinstance(answered(sources), ConsentFound)


def test_an_old_look_says_nothing(path: Path) -> None:
    """A consent that was seen longer ago than a second may have been taken back since."""
    path.write_bytes(lines(consent()))
    now = [0.0]
    settings = ConsentSettings(file=str(path))
    sources = ConsentSources(settings, monotonic=lambda: now[0])
    with pytest.raises(Denied) as never:
        sources.require(WANTED, time.time())
    assert never.value.reason is Reason.STORE_UNAVAILABLE
    sources.catch_up(SECONDS)
    now[0] += MAX_AGE_SECONDS
    assert sources.require(WANTED, time.time()).id == consent().id
    now[0] += 0.001
    with pytest.raises(Denied) as late:
        sources.require(WANTED, time.time())
    assert late.value.reason is Reason.STORE_UNAVAILABLE


def test_each_detail_needs_a_consent(path: Path) -> None:
    """Two calls need two consents; one that may be used once is not for two calls alike."""
    calls = [{"type": "t", "amount": amount} for amount in (1, 2)]
    first = once(audiences=["a"], authorization_details=[calls[0]], until=moment(hours=2))
    second = consent(
        audiences=["a"],
        authorization_details=[calls[1]],
        since=moment(),
        until=moment(hours=1),
    )
    path.write_bytes(lines(first, second))
    sources, asked = of_file(path), ConsentAsked("i", "alice", AGENT, ("a",), frozenset())

    def found(*details: dict[str, Any]) -> ConsentFound | Reason:
        return answered(sources, ConsentAsked(*whose, details))

    whose = asked.issuer, asked.subject, asked.agent, asked.audiences, asked.scopes
    assert found(*calls) == ConsentFound(
        f"{first.id} {second.id}", second.until_seconds, (first.digest,), to_calls(first, second)
    )
    again = found(calls[1], calls[1])
    assert isinstance(again, ConsentFound)
    assert again.calls == to_calls(second, second)  # so that both elements are one approval
    assert found(calls[0], calls[0]) is Reason.APPROVAL_REQUIRED
    assert found(*calls, {"type": "t"}) is Reason.APPROVAL_REQUIRED
    assert found() is Reason.APPROVAL_REQUIRED


def test_no_sources_have_no_consent() -> None:
    """With neither file nor store there is none."""
    assert answered(ConsentSources(ConsentSettings())) is Reason.APPROVAL_REQUIRED


def race(sources: list[ConsentSources]) -> list[str]:
    """Have all find a consent, then all use it up at once."""
    found = [answered(each) for each in sources]
    assert all(isinstance(each, ConsentFound) and each.once for each in found)
    barrier = threading.Barrier(len(sources))

    def use(at: int) -> str:
        barrier.wait(PATIENCE_SECONDS)
        each = found[at]
        assert isinstance(each, ConsentFound)
        return used(sources[at], each)

    with ThreadPoolExecutor(len(sources)) as pool:
        return sorted(pool.map(use, range(len(sources))))


def test_one_of_many_uses_up_a_line(path: Path) -> None:
    """Of processes that use a line up at once, one does; what others write meanwhile stays."""
    entry, other = once(), consent(subject="bob")
    path.write_bytes(lines(entry, other))
    assert race([of_file(path) for _ in range(RACERS)]) == [
        *(["approval_required"] * (RACERS - 1)),
        "used",
    ]
    assert path.read_bytes() == lines(other)
    change = read_changes(path, 10)[0]
    assert (change.by, change.id, change.note, change.is_added) == (AGENT, entry.id, "used", False)


def test_edits_by_hand_and_by_command_at_once(path: Path) -> None:
    """Lines that are appended without a lock, added, and used up at once: none is lost or left."""
    spent = [once(note=f"once {number}") for number in range(20)]
    path.write_bytes(lines(*spent))
    kept = [consent(subject=f"{how} {number}") for how in "hc" for number in range(20)]

    def by_hand() -> None:
        for entry in kept[:20]:
            with path.open("ab", buffering=0) as file:
                file.write(lines(entry))

    def by_command() -> None:
        for entry in kept[20:]:
            EntryFile(path, READER, is_tolerant=True).append([entry])

    def by_use() -> None:
        sources = of_file(path)
        for _ in spent:
            found = answered(sources)
            assert isinstance(found, ConsentFound)
            assert used(sources, found) == "used"

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work) for work in (by_hand, by_command, by_use)]:
            done.result(PATIENCE_SECONDS)
    assert {*path.read_bytes().splitlines()} == {entry.line for entry in kept}


def test_a_lock_that_another_holds_is_not_waited_for(path: Path) -> None:
    """A process that hangs while it writes makes the use uncertain, and holds up no thread."""
    path.write_bytes(lines(once()))
    sources = of_file(path)
    found = answered(sources)
    assert isinstance(found, ConsentFound)
    with path.open("rb") as held:
        flock(held, LOCK_EX)
        with pytest.raises(Denied, match="another process is writing it") as busy:
            sources.use_up(found, AGENT, time.time(), 0.05)
    assert busy.value.reason is Reason.STORE_UNAVAILABLE
    assert used(sources, found) == "used"


def test_the_store_says_what_counts(server: RedisServer) -> None:
    """What another process gives or takes back counts with the next request."""
    name, entry = namespace(), consent(by="ann")
    with opened_store(name, url=server.url) as own, opened_store(name, url=server.url) as other:
        sources = ConsentSources(ConsentSettings(), own)
        assert answered(sources) is Reason.APPROVAL_REQUIRED
        other.consents.add({entry.id: entry.line}, "ann", SECONDS)
        assert answered(sources) == ConsentFound(entry.id, entry.until_seconds)
        assert not other.entries(SECONDS).entries, "revocations are another register"
        other.consents.take_back([entry.id], "ann", "", SECONDS)
        assert answered(sources) is Reason.APPROVAL_REQUIRED
        other.consents.add({"x": entry.line, "y": b"{"}, "ann", SECONDS)
        assert answered(sources) is Reason.APPROVAL_REQUIRED
        assert sources.status()[0].invalid == 2


def test_while_the_store_is_away_there_is_no_consent(path: Path) -> None:
    """Without the store's word only what the file has counts; then the store's word does again."""
    entry = consent()
    with RedisServer() as server, opened_store(url=server.url, timeout=0.2) as store:
        store.consents.add({entry.id: entry.line}, "ann", SECONDS)
        sources = of_file(path, store)
        assert isinstance(answered(sources), ConsentFound)
        server.pause()
        assert answered(sources) is Reason.STORE_UNAVAILABLE
        path.write_bytes(lines(consent(note="of the file")))
        assert answered(sources) != Reason.STORE_UNAVAILABLE
        path.write_bytes(b"")
        server.resume()
        end = time.monotonic() + PATIENCE_SECONDS
        while not isinstance(answered(sources), ConsentFound):
            assert time.monotonic() < end


def later(**members: Any) -> Consent:
    """A consent for a single token, given when a store that was just made has its memory."""
    since = moment(hours=1)
    return consent(once=True, since=since, **members)


def test_one_of_many_replicas_uses_up_a_consent(server: RedisServer, tmp_path: Path) -> None:
    """Of replicas that use a consent up at once, one does, also if each has it in a file."""
    of_store, of_files = later(), later(note="of the files")
    with opened_store(url=server.url) as store:
        store.consents.add({of_store.id: of_store.line}, "ann", SECONDS)
        replicas = [ConsentSources(ConsentSettings(), store) for _ in range(RACERS)]
        expected = [*(["approval_required"] * (RACERS - 1)), "used"]
        assert race(replicas) == expected
        assert answered(replicas[0]) is Reason.APPROVAL_REQUIRED
        change = store.consents.changes(1, SECONDS)[0]
        assert (change.by, change.id, change.note) == (AGENT, of_store.id, "used")
        paths = [tmp_path / str(number) for number in range(RACERS)]
        for path in paths:
            path.write_bytes(lines(of_files))
        assert race([of_file(path, store) for path in paths]) == expected


class SlowConsents(Consents):
    """Consents whose every change takes a while, and counts those that begin meanwhile."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.meetings = 0
        self._turn = threading.RLock()

    def drop(self, name: Hashable) -> None:
        """Drop, and count a thread that comes while another is here."""
        if not self._turn.acquire(blocking=False):
            self.meetings += 1
            self._turn.acquire()
        with self._turn:
            time.sleep(0.001)
            super().drop(name)
        self._turn.release()


def test_a_use_while_another_thread_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They change what is in force one after the other: else a consent just given may be lost."""
    held = SlowConsents()
    monkeypatch.setattr(stored_consents, "Consents", lambda: held)
    store = MemoryStore()
    stored = StoredConsents(store.consents)
    old, new = ([once(note=f"{kind} {at}") for at in range(20)] for kind in ("old", "new"))
    store.consents.add({each.id: each.line for each in old}, "test", SECONDS)
    stored.look()
    with ThreadPoolExecutor(1) as pool:
        used = [pool.submit(stored.use_up, each.id, AGENT, SECONDS) for each in old]
        for each in new:
            store.consents.add({each.id: each.line}, "test", SECONDS)
            stored.look()
        for use in used:
            use.result()
    stored.look()
    assert (held.meetings, len(stored)) == (0, len(new))


def test_a_store_that_may_have_forgotten_a_use_lets_none_pass(server: RedisServer) -> None:
    """A consent that is older than the store's memory may have been used: it is not certain."""
    entry = consent(once=True, since="2026-01-01T00:00:00Z")
    with opened_store(url=server.url) as store:
        store.consents.add({entry.id: entry.line}, "ann", SECONDS)
        sources = ConsentSources(ConsentSettings(), store)
        found = answered(sources)
        assert isinstance(found, ConsentFound)
        assert used(sources, found) == "store_unavailable"


def test_what_was_taken_back_stays_so_if_the_store_forgets_it() -> None:
    """After a failover that lost it, it does not count, and is taken back from the store again."""
    store, kept, gone = ShakyStore(), consent(), consent(note="taken back")
    stored = StoredConsents(store)
    store.add({kept.id: kept.line, gone.id: gone.line}, "ann", 1.0)
    stored.look()
    copy = store.copy()
    store.take_back([gone.id], "ann", "", 1.0)
    stored.look()
    store.restore(copy)
    stored.look()
    assert len(stored) == 1
    assert {*store.held()} == {kept.id}
    stored.look()
    store.add({gone.id: gone.line}, "ann", 1.0)
    stored.look()
    assert len(stored) == 2


SUBJECTS: Final = ("alice", "bob")
MADE: Final = tuple(
    consent(subject=subject, scopes=[scope], note=note)
    for subject in SUBJECTS
    for scope in ("read", "write")
    for note in ("", "b")
)
ENTRIES: Final = st.sampled_from(MADE)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("file"), st.lists(ENTRIES | st.just(b"{broken"), max_size=4)),
        st.tuples(st.sampled_from(["give", "take"]), ENTRIES),
        st.tuples(st.just("away"), st.booleans()),
    ),
    max_size=12,
)


@given(steps=STEPS)
def test_like_the_model(steps: list[tuple[str, Any]]) -> None:
    """Whatever is written where, an answer is what the lines that are there say, or unavailable."""
    with TemporaryDirectory() as folder:
        path, store = Path(folder) / "consents", ShakyStore()
        path.touch()
        sources = of_file(path, _Shared(store))  # type: ignore[arg-type] # its register alone
        for step, value in steps:
            _take(step, value, path, store)
            sources.catch_up(SECONDS)
            for subject in SUBJECTS:
                _compare(sources, subject, path.read_bytes().splitlines(), store)


class _Shared:
    """A store whose register of consents is another store's register of revocations."""

    def __init__(self, register: ShakyStore) -> None:
        """Take the register."""
        self.consents = register


def _take(step: str, value: Any, path: Path, store: ShakyStore) -> None:
    if step == "file":
        each = (line if isinstance(line, bytes) else line.line for line in value)
        path.write_bytes(b"\n".join(each))
    elif step == "away":
        store.is_away = value
    elif not store.is_away and step == "give":
        store.add({value.id: value.line}, "ann", 1.0)
    elif not store.is_away:
        store.take_back([value.id], "ann", "", 1.0)


def _compare(sources: ConsentSources, subject: str, held: list[bytes], store: ShakyStore) -> None:
    asked = ConsentAsked("i", subject, AGENT, ("a",), frozenset({"read"}))
    plain: dict[str, Any] = {"issuer": "i", "subject": subject, "agent": AGENT}
    plain |= {"audiences": ("a",), "scopes": ("read",), "detail": None}
    in_file = is_covered(held, plain, time.time())
    in_store = is_covered(store.held().values(), plain, time.time())
    try:
        sources.require(asked, time.time())
        told = "found"
    except Denied as denied:
        told = denied.reason.code
    if in_file or (in_store and not store.is_away):
        assert told == "found"
    else:
        assert told == ("store_unavailable" if store.is_away else "approval_required")
