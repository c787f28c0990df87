"""The audit log that can't be written: nothing is lost, doubled or cut, or allowed unrecorded."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditError, AuditLog
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.live_files import whole_records
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.storm import CHECK
from support.world import READ, World, check_request, reason_of
from support.world import wait_until as until

DENY = LAB.with_(("audit", "when_full"), "deny")


def started(path: Path, **changes: str | int) -> AuditLog:
    """A running log."""
    log = AuditLog(AuditSettings(path=str(path), **changes))  # type: ignore[arg-type]
    log.start()
    return log


def run(script: str, folder: Path) -> str:
    """What a process of its own printed, as it limits how large its files may be."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


LIMITED = """
import resource, sys, time
from pathlib import Path
from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditLog
from authz.adapters.audit.sinks.output import Output

LIMIT = 100_000
folder = Path(sys.argv[1])
def may_grow_to(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
def filled(name, left):
    path = folder / name
    path.write_bytes(b"x" * (LIMIT - left - 1) + b"\\n")
    return path
def lines(path):
    return path.read_bytes().split(b"\\n", 1)[1]
"""
FULL = """
logs = {left: AuditLog(AuditSettings(path=str(filled(str(left), left)))) for left in range(20)}
may_grow_to(LIMIT)
for log in logs.values():
    log.start()
    for number in range(5):
        assert log.append(f"line-{number}\\n")
until(lambda: all(log.status().is_failing for log in logs.values() if log.status().queued))
assert all(log.status().queued for log in logs.values())
for log in logs.values():
    for number in range(5, 8):
        assert log.append(f"line-{number}\\n")
until(lambda: all(log.status().errors > 2 for log in logs.values()))
may_grow_to(resource.RLIM_INFINITY)
until(lambda: not any(log.status().queued for log in logs.values()))
for left, log in logs.items():
    log.close()
    assert not log.status().is_failing
    print(lines(folder / str(left)).decode().split())
"""


def test_a_disk_that_was_full(tmp_path: Path) -> None:
    """Wherever in a line a disk became full, the lines are there once it has room: each once."""
    written = run(LIMITED + FULL, tmp_path).splitlines()

    assert written == [str([f"line-{number}" for number in range(8)])] * 20


SHARED = """
def cut(name, left, line=b"aaaaaa\\n"):
    path = filled(name, left)
    output = Output(path)
    output.follow()
    output.take(line)
    may_grow_to(LIMIT)
    try:
        output.flush()
    except OSError:
        may_grow_to(resource.RLIM_INFINITY)
        return path, output
def put(path, line):
    other = Output(path)
    other.follow()
    other.take(line)
    other.flush()

for left in (0, 1, 3, 6):
    path, output = cut(f"shared-{left}", left)
    put(path, b"bbb\\n")
    output.follow()
    output.flush()
    assert not output.waiting
    print(lines(path))
    path, output = cut(f"moved-{left}", left)
    path.rename(folder / "old")
    output.follow()
    output.flush()
    print(path.read_bytes())
"""


def test_a_file_that_others_write_to(tmp_path: Path) -> None:
    """A line cut by a full disk is ended before another worker's, and then written whole, once."""
    written = run(LIMITED + SHARED, tmp_path).split("\n")

    assert written == [
        r"b'bbb\naaaaaa\n'",
        r"b'aaaaaa\n'",
        r"b'a\nbbb\naaaaaa\n'",
        r"b'aaaaaa\n'",
        r"b'aaa\nbbb\naaaaaa\n'",
        r"b'aaaaaa\n'",
        r"b'aaaaaa\nbbb\n'",  # only its end was missing, and there it is
        "b''",
        "",
    ]


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    """Lines are kept while the folder is gone, as many as the queue has room for, and then come."""
    path = tmp_path / "folder" / "a"
    path.parent.mkdir()
    log = started(path, queue=3)
    shutil.rmtree(path.parent)
    until(lambda: log.status().is_failing)  # though nothing waits

    assert [log.append(f"{number}\n") for number in range(5)] == [True] * 3 + [False] * 2
    before = log.status().errors
    until(lambda: log.status().errors > before)
    assert (log.status().queued, log.status().dropped, log.refuses_allows) == (3, 2, False)
    path.parent.mkdir()
    until(lambda: not log.status().queued)
    log.append("more\n")
    log.close()

    assert path.read_text().split() == ["0", "1", "2", "more"]
    assert not log.status().is_failing


def test_a_pipe_without_a_reader(tmp_path: Path) -> None:
    """It holds up no start, which fails with the reason; and a reader that comes back has all."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(AuditError, match="a pipe without a reader"):
        started(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = started(path, when_full="deny")
    os.close(reader)
    log.append("first\n")
    until(lambda: log.status().is_failing and log.refuses_allows)
    log.append("second\n")

    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    until(lambda: not log.status().is_failing and not log.status().queued)
    log.close()
    assert os.read(reader, 1000) == b"first\nsecond\n"
    os.close(reader)


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    """A new file is 0600 whatever the umask; what an operator opened to others stays so."""
    path = tmp_path / "a"
    before = os.umask(0)
    try:
        log = started(path)
        modes = [stat.S_IMODE(path.stat().st_mode)]
        path.chmod(0o640)
        path.rename(tmp_path / "a.1")
        until(path.exists)
        modes.append(stat.S_IMODE(path.stat().st_mode))
    finally:
        os.umask(before)
    log.close()

    assert modes == [0o600, 0o640]


def test_nothing_is_allowed_while_it_fails(tmp_path: Path) -> None:
    """With when_full deny allows become refusals, which are recorded later, and it mends itself."""
    folder = tmp_path / "world"
    folder.mkdir()
    with World(folder, DENY) as world:
        token = world.token()
        answers = [reason_of(world.ask(token))]
        until(lambda: not world.audit.status().queued)
        folder.rename(tmp_path / "gone")
        until(lambda: world.audit.refuses_allows)
        refused = world.ask(token)
        answers += [reason_of(refused), reason_of(world.ask()), reason_of(world.ask(token))]
        assert refused.denied_response.status.code == 503
        (tmp_path / "gone").rename(folder)
        until(lambda: not world.audit.status().is_failing)
        answers.append(reason_of(world.ask(token)))
        records = world.audit_records()

    assert answers == ["allow", "overloaded", "token_missing", "overloaded", "allow"]
    assert [record["reason"] or record["decision"] for record in records] == answers
    assert records[1]["path"] == "/finance/balance"
    assert records[1]["detail"] == "the audit log can't be written"


def test_all_is_allowed_while_it_fails_and_may(tmp_path: Path) -> None:
    """With when_full drop requests pass; those with room in the queue are recorded after all."""
    folder = tmp_path / "world"
    folder.mkdir()
    with World(folder, LAB.with_(("audit", "queue"), 5)) as world:
        folder.rename(tmp_path / "gone")
        until(lambda: world.audit.status().is_failing)
        answers = [reason_of(world.ask(world.token())) for _ in range(8)]
        (tmp_path / "gone").rename(folder)
        until(lambda: not world.audit.status().queued)
        records = world.audit_records()

    assert answers == ["allow"] * 8
    assert [record["decision"] for record in records] == ["allow"] * 5
    assert world.audit.status().dropped == 3


class Running:
    """A real server that must record, in a process of its own, and calls of it."""

    def __init__(self, folder: Path, server: Server, message: bytes, channel: grpc.Channel) -> None:
        """Take the parts."""
        self.server = server
        self.log = folder / "log" / "audit.jsonl"
        self._message = message
        self._check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
        self.allowed: set[str] = set()

    def ask(self) -> str:
        """Ask; the reason, of an allow with its id noted."""
        answer = self._check(self._message, timeout=60)
        if (reason := reason_of(answer)) == "allow":
            self.allowed.add(str(answer.dynamic_metadata["decision_id"]))
        return reason

    def is_failing(self) -> bool:
        """Whether it says so."""
        return self.server.metric('authz_audit_failing{sink="file"}') == 1.0

    def recorded(self) -> set[str]:
        """The ids of the allows in the log, each of which is a whole line."""
        records = whole_records(self.log)
        ids = [one["decision_id"] for one in records]
        assert len(ids) == len(set(ids))
        return {one["decision_id"] for one in records if one["decision"] == "allow"}


@contextmanager
def serving(folder: Path) -> Iterator[Running]:
    """Start one."""
    (folder / "log").mkdir()
    jwks = JwksServer(issuer := Issuer(ISSUER, AUDIENCE))
    changes = DENY.with_(("audit", "path"), str(folder / "log" / "audit.jsonl"))
    server = Server(folder, "own", f"{jwks.url}/jwks", "0s", changes=changes)
    try:
        server.wait_ready()
        svid = Authority(folder / "pki").issue(TRAVEL)
        token = issuer.token(TRAVEL, scope=READ)
        message = check_request(svid, [("authorization", f"Bearer {token}")]).SerializeToString()
        with grpc.insecure_channel(f"unix:{server.socket}") as channel:
            yield Running(folder, server, message, channel)
    finally:
        server.process.stop()
        jwks.close()


def test_a_server_on_a_full_disk(tmp_path: Path) -> None:
    """On a disk that is full, in mid-line, no more is allowed than is recorded when it has room."""
    with serving(tmp_path) as running:
        for _ in range(20):  # so that it is larger than the server's own log
            assert running.ask() == "allow"
        until(lambda: len(running.recorded()) == 20)
        limits = (running.log.stat().st_size + 300, resource.RLIM_INFINITY)
        resource.prlimit(running.server.process.pid, resource.RLIMIT_FSIZE, limits)
        running.ask()
        until(running.is_failing)
        answers = {running.ask() for _ in range(200)}
        status, body = running.server.get("/readyz")
        begun = len(running.log.read_bytes()) - limits[0]
        limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(running.server.process.pid, resource.RLIMIT_FSIZE, limits)
        until(lambda: not running.is_failing())
        assert running.ask() == "allow"
        until(lambda: running.allowed == running.recorded())

    assert answers == {"overloaded"}
    assert begun == 0  # a part of a line was there
    assert (status, json.loads(body)["checks"]["audit"]) == (503, False)


def test_a_server_whose_folder_is_gone(tmp_path: Path) -> None:
    """While the folder of the log is gone nothing is allowed, from before the first request on."""
    with serving(tmp_path) as running:
        assert running.ask() == "allow"
        until(lambda: running.allowed == running.recorded())
        shutil.rmtree(running.log.parent)
        until(running.is_failing)
        answers = {running.ask() for _ in range(50)}
        running.log.parent.mkdir()
        until(lambda: not running.is_failing())
        running.allowed.clear()
        assert running.ask() == "allow"
        until(lambda: running.allowed == running.recorded())

    assert answers == {"overloaded"}
