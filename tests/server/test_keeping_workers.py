"""A supervisor keeps its workers: when one can't be started, and when all stood still."""

import os
import resource
import signal
import time
from pathlib import Path

from authz.server.workers import HUNG_SECONDS, LONGEST_PAUSE_SECONDS, LOOK_SECONDS, Worker
from support.serving import SECONDS, Serving, children_of
from support.world import wait_until


def test_a_machine_that_stood_still_has_no_hung_workers(tmp_path: Path) -> None:
    """A server that was paused as a whole, as a container can be, goes on with its workers."""
    with Serving(tmp_path, workers=2) as serving:
        serving.read_until("workers are up")
        wait_until(lambda: serving.get("/readyz")[0] == 200, SECONDS)
        workers = children_of(serving)
        everybody = [serving.process.pid, *workers]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(HUNG_SECONDS + 1)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)

        for _ in range(3):  # each scrape asks them all
            wait_until(lambda: serving.get("/readyz")[0] == 200, SECONDS)
            time.sleep(LOOK_SECONDS / 2)
        assert children_of(serving) == workers


def test_a_worker_that_cannot_be_started_again(tmp_path: Path) -> None:
    """Without a descriptor, process or memory for it the others go on, and it comes later."""
    with Serving(tmp_path, workers=2) as serving:
        serving.read_until("workers are up")
        wait_until(lambda: serving.get("/readyz")[0] == 200, SECONDS)
        killed, well = children_of(serving)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        os.kill(killed, signal.SIGKILL)
        serving.read_until("can't be started")
        assert children_of(serving) == [well]

        resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, before)
        wait_until(lambda: len(children_of(serving)) == 2, SECONDS)
        wait_until(lambda: serving.get("/readyz")[0] == 200, SECONDS)
        assert serving.stop() == 0


def test_a_worker_that_never_starts_again_ends_nobody(tmp_path: Path) -> None:
    """The pauses between its starts stay bounded, however many there were."""
    file = tmp_path / "file"
    file.touch()
    worker = Worker(0, tmp_path / "authz.yaml", file, "run")  # no folder: it can't be started
    for _ in range(1100):
        worker._start_at = 0.0
        worker.start_if_due()

    assert worker.pid == 0
    assert worker._start_at - time.monotonic() <= LONGEST_PAUSE_SECONDS
