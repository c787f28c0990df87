"""Files that are rewritten in place: what takes something away holds at every moment."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.files import STABLE_SECONDS
from authz.adapters.revocation_file import RevocationSettings
from authz.adapters.revocation_file.watched import RevocationFile
from authz.core.revocations import RevocationError, read_entry
from lab.ca import Authority
from lab.config_builder import AT_ALICE, LAB
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.processes import Process
from support.world import READ, check_request, reason_of, wait_until

CHECK = "/envoy.service.auth.v3.Authorization/Check"
LOOK_SECONDS = 0.2  # between two looks of a server
IDS = "abcdef"


def lines_of(ids: Sequence[str]) -> bytes:
    """A file that revokes these token ids."""
    return b"".join(b'{"issuer":"i","token_id":"%s"}\n' % one.encode() for one in ids)


def in_force(revocations: RevocationFile) -> set[str]:
    """The token ids that are revoked now."""
    return {read_entry(line).token_id or "" for line in revocations.current.lines}


IN_PLACE = st.tuples(
    st.lists(st.sampled_from(IDS), unique=True),
    st.lists(st.floats(0, 1), max_size=4).map(sorted),  # where the writer stops meanwhile
    st.integers(0, 8),  # looks before it begins again
    st.booleans(),  # whether it truncates first
)


@settings(deadline=None)
@given(st.lists(IN_PLACE, min_size=1, max_size=5))
def test_any_rewriting(
    tmp_path: Path, rounds: list[tuple[list[str], list[float], int, bool]]
) -> None:
    """Wherever it is cut: what is old and new stays, new counts at once, old goes at rest."""
    path, old, now = tmp_path / "revoked", "ab", 1000.0
    path.write_bytes(lines_of(old))
    watched = RevocationFile(RevocationSettings(file=str(path)))
    still: set[str] = {*old}  # that a second has not passed for
    for new, cuts, pause, is_truncated in rounds:
        data = lines_of(new)
        with path.open("wb" if is_truncated else "r+b", buffering=0) as file:
            for begin, end in zip((0.0, *cuts), (*cuts, 1.0), strict=True):
                file.write(data[int(begin * len(data)) : int(end * len(data))])
                now += LOOK_SECONDS
                watched.refresh(now)
                assert in_force(watched) >= {*old}, "half of the new content is believed"
            file.truncate()
        now += LOOK_SECONDS
        watched.refresh(now)
        still |= {*old, *new}
        assert in_force(watched) >= {*new}, "it counts at once"
        assert in_force(watched) <= still
        for _ in range(pause):
            now += LOOK_SECONDS
            watched.refresh(now)
        if pause * LOOK_SECONDS > STABLE_SECONDS:
            still = {*new}
            assert in_force(watched) == still
        assert in_force(watched) >= {*new}
        old = "".join(new)


def test_a_writer_that_pauses(tmp_path: Path) -> None:
    """What is covered and what is not: half a second's pause is, three seconds' are not."""
    path = tmp_path / "revoked"
    whole = lines_of(IDS)
    for seconds, holds in ((0.5, True), (0.9, True), (3.0, False)):
        path.write_bytes(whole)
        watched = RevocationFile(RevocationSettings(file=str(path)))
        path.write_bytes(whole[: len(whole) // 2])
        for look in range(int(seconds / LOOK_SECONDS) + 1):
            watched.refresh(100 + look * LOOK_SECONDS)
        assert (in_force(watched) == {*IDS}) is holds


def test_a_bad_file_that_never_rests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told after a while, and once: what is added to it does not count."""
    path = tmp_path / "revoked.jsonl"
    path.write_bytes(lines_of(["a"]))
    revocations = RevocationFile(RevocationSettings(file=str(path)))
    for number in range(60):
        path.write_bytes(b"bad\n" * (number + 1) + lines_of(["a", "b"]))
        revocations.refresh(1000.0 + number / 2)

    assert in_force(revocations) == {"a"}
    assert revocations.status().refused == 1
    assert caplog.text.count("not reloaded") == 1
    assert "line 1: " in caplog.text


def test_a_machine_that_stood_still(tmp_path: Path) -> None:
    """A long pause between two looks says nothing of the writer, who may have stood still too."""
    path = tmp_path / "revoked"
    path.write_bytes(lines_of(IDS))
    watched = RevocationFile(RevocationSettings(file=str(path)))
    path.write_bytes(b"")
    watched.refresh(100.0)
    watched.refresh(1000.0)
    assert in_force(watched) == {*IDS}
    watched.refresh(1000.5)
    assert in_force(watched) == set()


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_gone_and_back(tmp_path: Path, seconds: float) -> None:
    """A file that is gone takes nothing away, for however long; what is there again counts."""
    path = tmp_path / "revoked"
    path.write_bytes(lines_of("ab"))
    watched = RevocationFile(RevocationSettings(file=str(path)))
    path.unlink()
    looks = int(seconds / LOOK_SECONDS) + 1
    for look in range(looks):
        watched.refresh(100 + look * LOOK_SECONDS)
    assert in_force(watched) == {*"ab"}
    assert watched.status().refused == (1 if seconds else 0)
    path.write_bytes(lines_of("bc"))
    watched.refresh(200.0)
    assert in_force(watched) == {*"abc"}
    for look in range(8):
        watched.refresh(200 + look * LOOK_SECONDS)
    assert in_force(watched) == {*"bc"}


def test_a_start_waits_for_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts while the file is written has the whole of it, and refuses one without an end."""
    path = tmp_path / "revoked"
    whole = lines_of(IDS)
    path.write_bytes(whole[: len(whole) // 3])
    with path.open("ab", buffering=0) as file:
        cut = path.read_bytes().rfind(b"\n") + 1
        file.truncate(cut)
        watched = RevocationFile(RevocationSettings(file=str(path)))
        assert in_force(watched) < {*IDS}
        threading.Timer(0.3, lambda: file.write(whole[cut:])).start()
        watched.settle()
    assert in_force(watched) == {*IDS}
    monkeypatch.setattr(
        "authz.adapters.revocation_file.watched.LOOK_SECONDS", 3600.0
    )  # by now it is old: no wait
    RevocationFile(RevocationSettings(file=str(path))).settle()


def test_a_pipe_in_the_place_of_a_file(tmp_path: Path) -> None:
    """A pipe is not opened: who looks waits for nothing, and what was in force stays."""
    path = tmp_path / "revoked"
    path.write_bytes(lines_of(IDS))
    watched = RevocationFile(RevocationSettings(file=str(path)))
    path.unlink()
    subprocess.run(["mkfifo", path], check=True)
    for look in range(8):
        watched.refresh(100 + look * LOOK_SECONDS)

    assert in_force(watched) == {*IDS}
    assert watched.status().refused == 1
    with pytest.raises(RevocationError, match="it is not a plain file"):
        RevocationFile(RevocationSettings(file=str(path)))


AUDIT = "audit:\n"
DENY = """\
  - effect: deny
    hosts: [mcp.corp.example]
    methods: [GET]
    paths: [/finance/**]
"""
# Writes a file in place again and again, in two parts, of which the first is good in itself.
WRITER = """
import sys, time
path, whole, cut = sys.argv[1], open(sys.argv[2]).read(), int(sys.argv[3])
for number in range(int(sys.argv[4])):
    with open(path, "w") as file:
        file.write(f"{sys.argv[5]}{number}\\n" if sys.argv[5] else "")
        file.write(whole[:cut])
        file.flush()
        time.sleep(0.15)
        file.write(whole[cut:])
    time.sleep(0.05)
"""


def writer(
    path: Path, whole: str, last: str, times: int, comment: str = ""
) -> subprocess.Popen[bytes]:
    """A process that rewrites a file so many times, and stops each time before its last part."""
    source = path.with_suffix(".whole")
    source.write_text(whole)
    cut = len(whole) - len(last)
    assert whole[cut:] == last
    arguments = [str(path), str(source), str(cut), str(times), comment]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments])


def denying(text: str) -> str:
    """The lab's config, whose last rule is a deny, and whose last line is that rule's."""
    rules, audit, after = text.partition(AUDIT)
    assert audit
    return audit + after + rules + DENY


class Asked:
    """A server of the lab's config and its revocation file, asked by a connection of its own."""

    def __init__(self, folder: Path, jwks_uri: str, issuer: Issuer) -> None:
        """Start it; its config ends with a deny, and its revocations with bob."""
        self.revoked = folder / "revoked.jsonl"
        many = [{"issuer": ISSUER, "token_id": f"{number:04}"} for number in range(999)]
        self.bob = json.dumps({"issuer": ISSUER, "subject": "bob"}) + "\n"
        self.entries = "".join(f"{json.dumps(one)}\n" for one in many) + self.bob
        self.revoked.write_text(self.entries)
        change = LAB.with_section("revocations", f"{{file: '{self.revoked}'}}")
        change = change.with_((*AT_ALICE, "match", "subjects"), ["alice", "bob"])
        self.server = Server(folder, "asked", jwks_uri, changes=change)
        self.config = self.server.config
        self.text = denying(self.config.read_text())
        self.config.write_text(self.text)
        svid = Authority(folder / "pki").issue(TRAVEL)
        self._messages = {
            subject: check_request(
                svid, [("authorization", f"Bearer {issuer.token(TRAVEL, subject, READ)}")]
            ).SerializeToString()
            for subject in ("alice", "bob")
        }

    def reason(self, subject: str) -> str:
        """Ask for a principal, over a new connection."""
        with grpc.insecure_channel(f"unix:{self.server.socket}") as channel:
            check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
            return reason_of(check(self._messages[subject], timeout=60))

    def reasons(self, until: Callable[[], object]) -> set[tuple[str, str]]:
        """Ask for both, again and again until something is."""
        found: Counter[tuple[str, str]] = Counter()
        with grpc.insecure_channel(f"unix:{self.server.socket}") as channel:
            check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
            while not until():
                for subject, message in self._messages.items():
                    found[subject, reason_of(check(message, timeout=60))] += 1
                time.sleep(0.002)
        assert found.total() > 20
        return {*found}


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    """One of these, ready."""
    issuer = Issuer(ISSUER, AUDIENCE)
    jwks = JwksServer(issuer)
    made = Asked(tmp_path, f"{jwks.url}/jwks", issuer)
    try:
        made.server.wait_ready()
        yield made
    finally:
        made.server.process.stop()
        jwks.close()


def test_a_server_whose_files_are_rewritten(asked: Asked) -> None:
    """While its config and 1,000 revocations are rewritten, the last of each holds all the time."""
    wait_until(lambda: asked.reason("alice") == "policy_denied")
    writers = [
        writer(asked.revoked, asked.entries, asked.bob, 25),
        writer(asked.config, asked.text, DENY, 25, "# "),
    ]

    def is_done() -> bool:
        if random.random() < 0.05:
            asked.server.process.signal(signal.SIGHUP)
        return all(one.poll() is not None for one in writers)

    assert asked.reasons(is_done) == {("alice", "policy_denied"), ("bob", "token_revoked")}
    for kind in ("config", "revocation"):
        source = 'source="file",' if kind == "revocation" else ""
        refused = f'authz_{kind}_reloads_total{{{source}result="refused"}}'
        assert asked.server.metric(refused) == 0, "a half is no error either"
    asked.revoked.write_text(asked.entries.replace(asked.bob, ""))
    asked.config.write_text(asked.text.replace(DENY, ""))
    wait_until(lambda: asked.reason("alice") == "allow")
    wait_until(lambda: asked.reason("bob") == "allow")


def test_a_server_that_starts_meanwhile(asked: Asked, tmp_path: Path) -> None:
    """A start while the files are written waits for the writers, and has the whole of it."""
    asked.server.process.stop()
    writers = [
        writer(asked.revoked, asked.entries, asked.bob, 12),
        writer(asked.config, asked.text, DENY, 12, "# "),
    ]
    wait_until(lambda: asked.config.read_text() not in {"", asked.text})
    command = [sys.executable, "-m", "authz", "serve", str(asked.config)]
    again = asked.server.process = Process("again", command, tmp_path / "again.log")
    asked.server.wait_ready()

    assert [one.wait() for one in writers] == [0, 0]
    assert again.pid
    assert asked.reason("alice") == "policy_denied"
    assert asked.reason("bob") == "token_revoked"
