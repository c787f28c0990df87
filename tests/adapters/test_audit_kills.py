"""Processes of a chained audit log that are killed under load: no promise is broken, no chain.

``AUTHZ_KILLS=200`` kills as often.
"""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from support.audit_chain import Proven, key_in, verifier
from support.child import with_support
from support.world import PATIENCE_SECONDS, wait_until

KILLS: Final = int(os.environ.get("AUTHZ_KILLS", "6"))
WORKERS: Final = 2
# Writes bursts until its standard input ends, and says after each how many records the file has.
WRITER = """
import sys, threading, time
from pathlib import Path
from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.records.line import AuditLine
from authz.adapters.audit.log import AuditLog
from support.audit_chain import settings_in

folder, worker, workers, told = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
settings = settings_in(folder, {"records": 300}, queue=100_000)
log = AuditLog(settings, identity=WorkerIdentity(worker, workers, "r" * 16))
log.start()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
operation = b',"path":"/' + b"x" * 700 + b'"'
count = 0
with open(told, "a", buffering=1) as promises:
    while not ended.is_set():
        for _ in range(300):
            count += 1
            decision = b'{"decision":"allow","principal":"%d"' % (count % 50)
            assert log.append(AuditLine(decision, operation, time.time(), "", "", "d", True, 1e-5))
        while log.status().queued and not ended.is_set():
            time.sleep(0.002)
        if not log.status().queued:
            print(log._chain.log.origin, count, file=promises)
log.close()
"""


class Writer:
    """A process of the log, and what its processes have promised."""

    def __init__(self, folder: Path, number: int) -> None:
        """Start it."""
        self._folder, self._number = folder, number
        self.told = folder / f"told-{number}"
        self.told.touch()
        self._told_bytes = 0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self._told_bytes = self.told.stat().st_size
        arguments = map(str, (self._folder, self._number, WORKERS, self.told))
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments], env=with_support(), stdin=subprocess.PIPE
        )

    def is_at_work(self) -> bool:
        """Tell whether it has written its first burst; it must not have ended."""
        assert self.process.poll() is None
        return self.told.stat().st_size > self._told_bytes

    def kill(self) -> None:
        """Kill it at work, and start another one."""
        self.process.kill()
        assert self.process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process = self._started()

    def stop(self) -> None:
        """Let it close the log."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_SECONDS) == 0

    def promises(self) -> dict[str, int]:
        """How many records each log has at least, by the lines that were told whole."""
        told = re.findall(r"^(\S+) ([0-9]+)$", self.told.read_text(), re.MULTILINE)
        return {origin: int(count) for origin, count in told}


@contextmanager
def writer(folder: Path, number: int) -> Iterator[Writer]:
    """A process that ends with the test."""
    one = Writer(folder, number)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def test_kills_under_load(tmp_path: Path) -> None:
    """However often processes are killed: each log is closed, proven, and has what was promised."""
    key_in(tmp_path)
    chance, path, files = random.Random(19), tmp_path / "audit.jsonl", list[Path]()
    with ExitStack() as stack:
        writers = [stack.enter_context(writer(tmp_path, n)) for n in range(WORKERS)]
        for number in range(KILLS):
            victim = chance.choice(writers)
            wait_until(victim.is_at_work)
            size = path.stat().st_size + chance.randrange(1 << 18)  # somewhere in a burst
            wait_until(lambda: path.stat().st_size >= size)  # noqa: B023 - called at once
            if number % 3 == 1:
                files.append(path.rename(tmp_path / f"audit.jsonl.{number}"))
            victim.kill()
            wait_until(path.exists)
        wait_until(lambda: all(one.is_at_work() for one in writers))
        for one in writers:
            one.stop()
        promises = {**writers[0].promises(), **writers[1].promises()}
    proven = Proven(*files, path, key=verifier(tmp_path))
    crashed = [one for one in proven.records if one.get("reason") == "crashed"]
    opened = [one for one in proven.records if one.get("audit") == "opened"]
    named = [previous for one in opened for previous in one["previous"]]

    assert proven.kinds.count("closed") == len(proven.logs) == len(opened)
    assert len(crashed) == KILLS
    assert all(proven.covered[log] == len(leaves) for log, leaves in proven.logs.items())
    assert len(named) == len(proven.logs) - WORKERS
    assert all(len(proven.logs[one["log"]]) == one["size"] for one in named)
    for log, count in promises.items():
        assert proven.decisions[log] >= count
