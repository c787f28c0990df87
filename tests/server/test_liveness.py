"""Liveness that means something: what hangs is told, and a worker that hangs is replaced."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from authz.adapters.admin import AdminServer
from authz.edge.check_pool import CheckPool
from authz.edge.methods import methods_of
from authz.edge.settings import ServerSettings
from authz.server.liveness import CONFIG, LIMITS, MAIN, REVOCATIONS, TRANSPORT, Liveness
from authz.server.looking import PACE_SECONDS, PeriodicThread
from authz.server.process import ServerProcess
from authz.server.reload import ConfigSource
from authz.transports.native import NativeTransport
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts
from authz.wiring.parts import open_parts
from lab.config_builder import AT_ISSUER, LAB
from support.serving import SECONDS, Serving, children_of
from support.world import World, wait_until

LATER = 11.0  # seconds after which every part that is judged is stuck


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    """A pipe by name: opening it hangs until somebody opens its other end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    yield path
    os.close(os.open(path, os.O_RDWR))  # lets go of who hangs


def get(address: str, path: str) -> tuple[int, str]:
    """GET from an admin server: status and body."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_part_is_stuck_after_its_limit() -> None:
    """Each part has its own limit; one that was never heard of is not missed."""
    liveness = Liveness()
    for part in (MAIN, REVOCATIONS, CONFIG):
        liveness.beat(part, 100.0)

    assert liveness.stuck(105.0) == ()
    assert liveness.stuck(106.0) == ("main: has made no progress for 6 s",)
    assert len(liveness.stuck(111.0)) == 2
    idle = liveness.status(111.0).idle_seconds
    assert idle == dict.fromkeys((MAIN, REVOCATIONS, CONFIG), 11.0)
    liveness.beat(MAIN, 111.0)
    assert liveness.stuck(111.0) == ("revocations: has made no progress for 11 s",)
    assert max(limit for limit in LIMITS.values() if limit) < LATER


def test_a_thread_that_hangs_is_told(fifo: Path) -> None:
    """While a look hangs in an open, /healthz is 503 and says which; once it goes on, it beats."""
    liveness = Liveness()
    offset = 0.0
    admin = AdminServer(
        "127.0.0.1:0",
        CollectorRegistry(),
        lambda: (True, {}),
        lambda: liveness.stuck(time.monotonic() + offset),
    )
    admin.start()
    hung = threading.Event()

    def look() -> None:
        hung.set()
        fifo.read_bytes()

    looking = PeriodicThread(REVOCATIONS, look, 0.01, liveness.beat)
    looking.start()
    with closing(admin):
        assert hung.wait(SECONDS)
        assert get(admin.address, "/healthz") == (200, "ok\n")
        offset = LATER
        status, body = get(admin.address, "/healthz")
        assert (status, body[:27]) == (503, "revocations: has made no pr")
        looking.stop()
        before = liveness.status().idle_seconds[REVOCATIONS]
        os.close(os.open(fifo, os.O_RDWR))
        wait_until(lambda: liveness.status().idle_seconds[REVOCATIONS] < before)


def test_a_look_that_fails_is_no_movement(caplog: pytest.LogCaptureFixture) -> None:
    """A look that raises is made again, and logged without its text; it counts as none."""
    beats: list[str] = []
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) < 4:
            raise ValueError("the secret")

    looking = PeriodicThread("x", look, 0.001, beats.append)
    looking.start()
    wait_until(lambda: len(beats) > 2)
    looking.stop()

    assert len(beats) <= len(looks) - 3 + 1  # one at the start, none for those that failed
    assert [one.getMessage() for one in caplog.records] == ["can't check x for changes"] * 3


def test_announcements_have_a_pace() -> None:
    """A look that is asked for all the time leaves time for others; the first is made at once."""
    looks: list[float] = []

    def look() -> None:
        looks.append(time.monotonic())
        looking.soon()

    looking = PeriodicThread("x", look, 3600.0, lambda _: None, is_prompt=True)
    looking.start()
    wait_until(lambda: len(looks) > 4)
    looking.stop()

    assert looks[4] - looks[0] >= 4 * PACE_SECONDS * 0.99


def test_grpc_health_is_asked_of_the_process(shared_world: World, tmp_path: Path) -> None:
    """The answer changes when the process is not well, though nobody sets it."""
    wanted = [True]
    parts = TransportParts(
        ServerSettings(listen=(f"unix:{tmp_path}/s.sock",)),
        methods_of(shared_world.service),
        None,
        shared_world.metrics,
        shared_world.parts.pool,
        is_wanted=lambda: wanted[0],
    )
    transport = open_transport(parts)
    transport.start()
    transport.set_serving(serving=True)
    with grpc.insecure_channel(f"unix:{tmp_path}/s.sock") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        answers = [health.Check(request, timeout=SECONDS).status]
        wanted[0] = False
        answers.append(health.Check(request, timeout=SECONDS).status)
    transport.stop(0)

    status = health_pb2.HealthCheckResponse
    assert answers == [status.SERVING, status.NOT_SERVING]


def test_a_pool_that_has_calls_and_ends_none(fifo: Path) -> None:
    """Calls that end are counted, also those that fail; while all threads hang, none is."""
    pool = CheckPool(2, 8)
    pool.start()
    for count, text in enumerate(("no number", "1"), start=1):
        pool.submit(int, text)
        wait_until(lambda count=count: pool.status().finished == count)  # type: ignore[misc]
    for _ in range(3):
        pool.submit(fifo.read_bytes)
    wait_until(lambda: pool.status().queued == 1)

    assert pool.status().finished == 2
    while pool.status().queued or pool.status().finished < 4:
        os.close(os.open(fifo, os.O_RDWR))  # lets go of who hangs at this moment
        time.sleep(0.01)
    pool.close()


def test_a_transport_that_hangs(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its loop hangs, /healthz is 503 and says so; once it goes on, all is well."""
    monkeypatch.setattr("authz.server.liveness.LIMITS", {**LIMITS, TRANSPORT: 1.0})
    changes = LAB.with_(("server", "listen"), f"unix:{tmp_path}/s.sock")
    config = world.configure(changes)
    goes_on = threading.Event()
    with open_parts(config) as parts:
        process = ServerProcess(parts, config, ConfigSource(tmp_path / "authz.yaml"))
        process.start()
        wait_until(parts.keys.ready)
        serving = threading.Thread(target=process.serve, daemon=True)
        serving.start()
        address = process._admin.address
        wait_until(lambda: get(address, "/readyz")[0] == 200)
        assert isinstance(process._transport, NativeTransport)
        process._transport._loop.ask(partial(goes_on.wait, SECONDS))

        wait_until(lambda: get(address, "/healthz")[0] == 503)
        assert get(address, "/healthz")[1].startswith("transport: has made no progress")
        assert get(address, "/readyz")[0] == 503
        goes_on.set()
        wait_until(lambda: get(address, "/healthz")[0] == 200)
        process.stop()
        serving.join(SECONDS)
        process.close()


def test_a_hung_worker_is_replaced(tmp_path: Path) -> None:
    """A worker that was stopped is killed, counted and started again; the other one stays."""
    with Serving(tmp_path, workers=2) as serving:
        serving.read_until("workers are up")
        wait_until(lambda: serving.get("/readyz")[0] == 200)
        hung, well = children_of(serving)
        os.kill(hung, signal.SIGSTOP)
        assert serving.get("/readyz")[0] == 503
        assert serving.metric('authz_idle_seconds{part="main"}') < SECONDS
        assert hung in children_of(serving), "a scrape waited for it"
        lines = serving.read_until("restarting it")

        assert "has been unhealthy for" in lines[-1]["message"]
        wait_until(lambda: serving.get("/readyz")[0] == 200)
        assert hung not in children_of(serving)
        assert well in children_of(serving)
        assert serving.metric("authz_worker_kills_total") == 1
        assert serving.metric("authz_worker_restarts_total") == 1
        assert serving.stop() == 0


def test_a_stop_with_a_hung_worker_ends(tmp_path: Path) -> None:
    """A worker that can't hear that it should stop is killed when the time is up."""
    with Serving(tmp_path, workers=2) as serving:
        serving.read_until("workers are up")
        os.kill(children_of(serving)[0], signal.SIGSTOP)

        assert serving.stop() == 0


def _is_worker(pid: int) -> bool:
    """Whether it runs its own program: before, it shares the supervisor's memory, which waits."""
    return b"authz.server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_worker_that_does_not_get_on(tmp_path: Path) -> None:
    """A worker that hangs in its start ends the start, with a message, after some seconds."""
    with Serving(tmp_path, workers=2) as serving:
        wait_until(lambda: sum(map(_is_worker, children_of(serving))) == 2)
        os.kill(children_of(serving)[1], signal.SIGSTOP)
        assert serving.process.stderr is not None
        said = serving.process.stderr.read().decode()

        assert serving.process.wait(SECONDS) == 3
        assert "a worker did not start: worker 1 has made no progress in its start for 10 s" in said


HANGS = """
import sys, time
from authz.server.unix_signals import signals
class Hanging:
    stop_seconds = 0.3
    def stop(self): pass
    def reload(self): print("reload", flush=True)
with signals(Hanging()):
    print("up", flush=True)
    open(sys.argv[1]).read()
"""


@contextmanager
def hanging(fifo: Path, program: str = HANGS) -> Iterator["subprocess.Popen[str]"]:
    """A process whose main thread hangs."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(fifo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        try:
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_whatever_hangs(fifo: Path, number: signal.Signals) -> None:
    """With a main thread that hangs for good, signals are heard, and a stop ends in its time."""
    with hanging(fifo) as child:
        child.send_signal(signal.SIGHUP)
        assert child.stdout is not None
        assert child.stdout.readline() == "reload\n"
        child.send_signal(number)

        assert child.wait(SECONDS) == -signal.SIGALRM


FAILS = HANGS.replace('print("reload", flush=True)', '(print("reload", flush=True), 1 / 0)')


def test_a_signal_that_can_t_be_passed_on(fifo: Path) -> None:
    """An error on SIGHUP takes no later signal away, above all not the one that stops."""
    with hanging(fifo, FAILS) as child:
        assert child.stdout is not None
        for _ in range(2):
            child.send_signal(signal.SIGHUP)
            assert child.stdout.readline() == "reload\n"
        child.send_signal(signal.SIGTERM)

        assert child.wait(SECONDS) == -signal.SIGALRM


def test_a_config_that_hangs_in_its_read(tmp_path: Path) -> None:
    """A pipe in the config's place hangs nobody but its reader: all that enforces goes on."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        assert serving.ask() == "allow"
        serving.config.unlink()
        os.mkfifo(serving.config)
        os.kill(serving.process.pid, signal.SIGHUP)
        wait_until(
            lambda: (
                serving.metric('authz_idle_seconds{part="config"}') > 1.5
                or serving.metric('authz_config_reloads_total{result="refused"}')
            ),
            SECONDS,
        )
        serving.revoke()

        serving.until("agent_suspended")
        assert serving.get("/healthz")[0] == 200
        assert serving.stop() == 0


def test_a_storm_of_signals(tmp_path: Path) -> None:
    """Signals that come while the main thread is anywhere in its steps can't block it."""
    with Serving(tmp_path) as serving:
        serving.read_until("serving")
        for _ in range(300):
            os.kill(serving.process.pid, signal.SIGHUP)
        serving.until("allow")
        for _ in range(20):
            os.kill(serving.process.pid, signal.SIGTERM)

        assert serving.stop() == 0


@pytest.mark.parametrize(
    ("socket", "why"),
    [("x" * 108, "longer than 107 bytes"), ("file/authz.sock", "there is no folder")],
)
def test_sockets_that_cannot_be(tmp_path: Path, socket: str, why: str) -> None:
    """They are told at the start, and not when the keys are there."""
    (tmp_path / "file").touch()
    keys = tmp_path / "keys.json"
    changed = LAB.with_((*AT_ISSUER, "keys"), {"file": str(keys)})
    changed = changed.with_(("server", "listen"), f"unix:{tmp_path}/{socket}")
    with Serving(tmp_path, changed) as serving:
        assert serving.process.wait(SECONDS) == 3
        assert serving.process.stderr is not None
        assert why in serving.process.stderr.read().decode()


def test_it_listens_once_it_has_keys(tmp_path: Path) -> None:
    """Without keys nothing listens, /readyz says what is missing and /healthz is well."""
    keys = tmp_path / "keys.json"
    changed = LAB.with_((*AT_ISSUER, "keys"), {"file": str(keys)})
    with Serving(tmp_path, changed) as serving:
        serving.read_until("started")
        status, body = serving.get("/readyz")

        assert (status, serving.get("/healthz")[0]) == (503, 200)
        assert '"keys":false,"listening":false' in body
        assert not serving.socket.exists()
        fresh = tmp_path / "fresh.json"
        fresh.write_bytes(serving.issuer.jwks())
        fresh.rename(keys)
        serving.read_until("serving")
        assert serving.ask() == "allow"
        assert serving.get("/readyz")[0] == 200
