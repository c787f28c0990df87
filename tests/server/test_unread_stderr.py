"""Standard error that nobody reads, that is closed, that breaks: nothing waits for it, or fails."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from authz.server.log_writer import MAX_LINES, LogWriter, keep_from_waiting
from authz.server.repeats import BURST, MAX_KINDS, REFILL_SECONDS, LogRateLimiter
from lab.config_builder import LAB
from support.serving import Serving
from support.world import PATIENCE_SECONDS, wait_until


def notice(message: str) -> bytes:
    """A line that the writer adds by itself."""
    return f"notice: {message}\n".encode()


def wait_for_the_end_of(writer: LogWriter) -> None:
    """Wait for its thread: it would write to whatever gets a closed descriptor's number next."""
    writer._thread.join(PATIENCE_SECONDS)
    assert not writer._thread.is_alive()


def test_a_client_cannot_stop_anything_through_the_log(tmp_path: Path) -> None:
    """Garbage fills a pipe that nobody reads: answers come, a revocation counts, a stop ends."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        serving.shrink_pipe()
        assert serving.ask() == "allow"
        threads = [threading.Thread(target=serving.garbage, args=(100,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        serving.revoke()

        serving.until("agent_suspended")
        assert serving.get("/healthz") == (200, "ok\n")
        assert serving.metric('authz_log_lost_total{cause="repeated"}') >= 400 - BURST - 2
        assert serving.stop() == 0


def test_what_was_lost_is_told_when_it_is_read_again(tmp_path: Path) -> None:
    """Once the pipe is read, lines come again, and the first ones say how many did not."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        serving.shrink_pipe()
        serving.garbage(BURST + 10)
        shown = told = 0
        while shown + told < BURST + 10:  # who is slow is told of less, as time makes room
            what = "a call sent bytes that are not a message of its method"
            message = serving.read_until(what)[-1]["message"]
            if "more lines like this were left out" in message:
                told += int(message.split()[0])
            else:
                shown += 1

        assert told > 0
        assert shown + told == BURST + 10


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_from_the_beginning(tmp_path: Path, closed: str) -> None:
    """Without standard files it serves; none of its own files gets their numbers."""
    command = ["bash", "-c", f'exec "$@" {closed}', "bash"]
    with Serving(tmp_path, stderr=subprocess.DEVNULL, command=command) as serving:
        wait_until(serving.socket.exists)
        serving.garbage(20)
        files = [Path(f"/proc/{serving.process.pid}/fd/{number}").readlink() for number in range(3)]

        assert str(files[2]) == os.devnull
        assert not [one for one in map(str, files) if "socket" in one or "audit" in one]
        assert serving.ask() == "allow"
        assert serving.stop() == 0


def test_a_reader_that_went_away(tmp_path: Path) -> None:
    """A broken pipe loses the lines and counts them; all else goes on."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        assert serving.process.stderr is not None
        serving.process.stderr.close()
        serving.garbage(20)
        serving.revoke()

        serving.until("agent_suspended")
        wait_until(lambda: serving.metric('authz_log_lost_total{cause="failed"}') >= 20)
        assert serving.stop() == 0


def test_standard_output_too(tmp_path: Path) -> None:
    """An audit log on standard output that nobody reads delays records, and nothing else."""
    changes = LAB.with_(("audit", "path"), "-")
    with Serving(tmp_path, changes, stdout=subprocess.PIPE) as serving:
        serving.read_until("serving")
        serving.shrink_pipe()
        for _ in range(50):
            assert serving.ask() == "allow"
        serving.revoke()

        serving.until("agent_suspended")
        assert serving.metric('authz_audit_queue_length{sink="stdout"}') > 0
        assert serving.stop() == 0


def test_workers_too(tmp_path: Path) -> None:
    """Several processes on one pipe that nobody reads: each goes on, and all of them stop."""
    with Serving(tmp_path, workers=2) as serving:
        serving.read_until("workers are up")
        wait_until(lambda: serving.get("/readyz")[0] == 200)
        assert serving.ask() == "allow"
        serving.shrink_pipe()
        serving.garbage(BURST + 50)
        serving.revoke()

        serving.until("agent_suspended")
        assert serving.stop() == 0


def test_failed_handshakes_are_no_news(tmp_path: Path) -> None:
    """What is no HTTP/2 or TLS leaves a few lines of ours at most, and none of gRPC's own."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(serving.socket))
                client.sendall(b"\x16\x03\x01\x02\x00garbage")
                while client.recv(1024):  # until the server has ended it, and says so
                    pass
        assert serving.ask() == "allow"
        assert serving.process.stderr is not None
        assert serving.stop() == 0

        rest = serving.process.stderr.read().decode().splitlines()
        messages = [json.loads(line)["message"] for line in rest]
        ours = [message for message in messages if "this is HTTP/2, with prior" in message]
        assert 0 < len(ours) <= BURST + 1
        assert [message for message in messages if message not in ours] == ["signal", "stopping"]


def test_a_thread_that_fails_leaves_a_line() -> None:
    """An error that ends a thread, or that a finaliser raises, is a line without its text."""
    program = """
import sys, threading
from authz.server.json_log import logging_to_stderr
class Odd:
    def __del__(self):
        raise KeyError("the secret")
def fail():
    raise ValueError("the secret")
with logging_to_stderr("info"):
    thread = threading.Thread(target=fail, name="odd")
    thread.start()
    thread.join()
    Odd()
    print("of a library", file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    thread, finaliser, printed = done.stderr.splitlines()

    assert "secret" not in done.stderr
    assert (json.loads(thread)["error"], json.loads(finaliser)["error"]) == (
        "ValueError",
        "KeyError",
    )
    assert json.loads(thread)["place"] == "<string>:8"
    assert printed == "of a library"


def test_a_full_pipe_delays_nobody() -> None:
    """Lines beyond the queue are lost at once and counted; once it is read, the rest is whole."""
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor, notice)
    sent = MAX_LINES + 500
    for number in range(sent):
        writer.put(number % 200, b"x" * 1000)  # a kind of its own, nearly
    lost = writer.status().full
    data = b""
    told: list[int] = []  # in several lines, if the writer begins late
    while data.count(b"x" * 1000 + b"\n") < sent - lost or sum(told) < lost:
        data += os.read(reader, 65536)
        told = [int(one) for one in re.findall(rb"notice: ([0-9]+) lines were lost\n", data)]
    writer.close()
    wait_for_the_end_of(writer)
    os.close(descriptor)
    os.close(reader)

    assert 0 < lost <= 500
    assert sum(told) == lost


def test_an_end_does_not_wait_for_a_reader() -> None:
    """With a pipe that stays full, a close takes its time and no more."""
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor, notice)
    for number in range(MAX_LINES):
        writer.put(number % 200, b"x" * 1000)
    writer.close()

    assert select.select([reader], [], [], 0)[0]
    os.close(reader)  # ends the writer's thread: the write fails
    wait_for_the_end_of(writer)
    os.close(descriptor)


def test_other_processes_keep_their_pipe() -> None:
    """Our descriptor does not wait any more; who shares the pipe with us is not concerned."""
    reader, descriptor = os.pipe()
    shared = os.dup(descriptor)
    keep_from_waiting(descriptor)

    assert (os.get_blocking(descriptor), os.get_blocking(shared)) == (False, True)
    os.write(descriptor, b"the same pipe")
    assert os.read(reader, 100) == b"the same pipe"
    for one in (reader, descriptor, shared):
        os.close(one)


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    """A file, which never makes us wait, keeps its place: nothing of it is written over."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"before ")
        file.flush()
        keep_from_waiting(file.fileno())
        os.write(file.fileno(), b"after")

    assert path.read_bytes() == b"before after"


def test_repeated_lines() -> None:
    """So many at once, then one each few seconds; what was left out is told once there is room."""
    repeats = LogRateLimiter()
    admitted = [repeats.admit("a", 0.0) for _ in range(BURST + 5)]

    assert admitted == [True] * BURST + [False] * 5
    assert repeats.admit("b", 0.0)
    assert list(repeats.untold(REFILL_SECONDS / 2)) == []
    assert list(repeats.untold(REFILL_SECONDS)) == [("a", 5)]
    assert list(repeats.untold(REFILL_SECONDS * 9)) == []
    assert repeats.left_out == 5


def test_kinds_are_bounded() -> None:
    """Who makes new kinds of lines without end shares one allowance; known kinds keep theirs."""
    repeats = LogRateLimiter()
    admitted = [repeats.admit(f"kind {number}", 0.0) for number in range(MAX_KINDS + BURST + 50)]

    assert admitted.count(False) == 50
    assert repeats.admit("kind 0", 0.0)
    assert repeats.admit("new", REFILL_SECONDS * 2), "those that were quiet gave up their place"
