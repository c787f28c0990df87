"""Receivers that are away for long: what is lost, what is told, and who waits for them."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit import AuditSettings
from authz.adapters.audit.batch import Batch
from authz.adapters.audit.chain.tree_log import Encodes
from authz.adapters.audit.log import AuditLog
from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.network_sinks import network_sink_of
from authz.adapters.audit.sinks.sink import sink_of
from authz.adapters.audit.sinks.status import SinkStatus
from authz.adapters.audit.sinks.writer import SinkWriter, WriterLimits
from lab.ca import Authority
from lab.config_builder import LAB
from lab.issuer import Issuer, JwksServer
from lab.live_files import whole_lines, whole_records
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from lab.storm import CHECK
from support.audit_chain import key_in, line
from support.record_receiver import CUT, Received, RecordReceiver, Reply, always
from support.world import (
    PATIENCE_SECONDS,
    READ,
    World,
    check_request,
    reason_of,
    wait_until,
)

A_MINUTES_RECORDS = 30_000  # 500 a second
LINE = b'{"n":%d,"x":"' + b"x" * 500 + b'"}\n'


class Line(bytes):
    """A line that needs no encoding."""

    def encode(self) -> bytes:
        """Return it."""
        return self


def numbered(begin: int, end: int) -> list[Line]:
    """Lines with these numbers, of a usual length."""
    return [Line(LINE % number) for number in range(begin, end)]


def numbers(receiver: RecordReceiver) -> list[int]:
    """The numbers that arrived, in the order of their first arrivals."""
    return list(dict.fromkeys(json.loads(line)["n"] for line in receiver.lines()))


def http(receiver: RecordReceiver, name: str, **changes: Any) -> dict[str, Any]:
    """A sink's settings."""
    target = {"url": receiver.url, "insecure": True, "timeout": PATIENCE_SECONDS}
    return {"name": name, "http": target, **changes}


def spool(folder: Path, mib: int = 64) -> dict[str, Any]:
    """A spool's settings."""
    return {"folder": str(folder), "max_megabytes": mib}


@pytest.fixture
def receiver() -> Iterator[RecordReceiver]:
    """A receiver."""
    server = RecordReceiver()
    yield server
    server.stop()


@contextmanager
def running(*sinks: dict[str, Any], **changes: Any) -> Iterator[AuditLog]:
    """Run a log with these sinks."""
    log = AuditLog(AuditSettings.model_validate({"sinks": sinks, **changes}))
    log.start()
    try:
        yield log
    finally:
        log.close()


def append(log: AuditLog, lines: Iterable[Encodes]) -> None:
    """Append lines as fast as the log's own queue takes them."""
    for each in lines:
        if not log.append(each):
            wait_until(lambda each=each: log.append(each))  # type: ignore[misc]


def status(log: AuditLog, name: str) -> SinkStatus:
    """A sink's state."""
    return next(one for one in log.status().sinks if one.name == name)


def hang(receiver: RecordReceiver) -> tuple[threading.Event, threading.Event]:
    """Let a receiver hang until the first event is set; the second is set by its first request."""
    go, asked = threading.Event(), threading.Event()

    def wait(_: Received) -> Reply:
        asked.set()
        go.wait(PATIENCE_SECONDS)
        return CUT

    receiver.decide = wait
    return go, asked


def test_a_minute_away(tmp_path: Path, receiver: RecordReceiver) -> None:
    """With a spool nothing is lost, without it all losses are told; a file has all meanwhile."""
    path = tmp_path / "audit.jsonl"
    other = RecordReceiver()
    sinks = (
        http(receiver, "spooled", queue=1000, spool=spool(tmp_path / "spool")),
        http(other, "plain", queue=1000),
        {"path": str(path)},
    )
    before, count = 200, A_MINUTES_RECORDS
    with running(*sinks) as log:
        append(log, numbered(0, before))
        wait_until(lambda: len(numbers(receiver)) == len(numbers(other)) == before)
        receiver.stop()
        other.stop()
        append(log, numbered(before, count))
        wait_until(lambda: path.read_bytes().count(b"\n") == count)  # while these are away
        spooled, plain = status(log, "spooled"), status(log, "plain")
        assert (spooled.dropped, spooled.is_failing, plain.is_failing) == (0, True, True)
        assert spooled.spooled_bytes > 1_000_000
        wait_until(lambda: status(log, "plain").dropped == count - before - 1000)
        receiver.start()
        other.start()
        wait_until(lambda: len(numbers(receiver)) == count)
        wait_until(lambda: not status(log, "plain").queued)
        wait_until(lambda: not status(log, "spooled").spooled_bytes)
        spooled, plain = status(log, "spooled"), status(log, "plain")
    other.stop()

    assert numbers(receiver) == list(range(count))
    assert spooled.written == count
    assert numbers(other) == list(range(before + 1000))  # the oldest are kept
    assert plain.written + plain.dropped == count
    found = [record["n"] for record in whole_records(path)]
    assert found == list(range(count))


def test_a_receiver_that_hangs_delays_nobody(tmp_path: Path, receiver: RecordReceiver) -> None:
    """While it answers nothing, checks are answered and other sinks have all records."""
    go, asked = hang(receiver)
    sinks = (
        http(receiver, "hangs", queue=10, spool=spool(tmp_path / "spool")),
        http(receiver, "hangs-too", queue=10),
        {"path": str(tmp_path / "audit.jsonl")},
    )
    with World(tmp_path, LAB.with_(("audit",), {"sinks": sinks})) as world:
        token = world.token()
        assert reason_of(world.ask(token)) == "allow"
        asked.wait(PATIENCE_SECONDS)
        answers = [reason_of(world.ask(token)) for _ in range(300)]
        wait_until(lambda: len(whole_lines(world.audit_path)) == 301)
        assert not receiver.taken
        assert not go.is_set()
        assert status(world.audit, "hangs").dropped == 0
        assert status(world.audit, "hangs-too").dropped > 0
        receiver.decide = always(Reply())
        go.set()
        wait_until(lambda: not status(world.audit, "hangs").spooled_bytes)
        ids = [record["decision_id"] for record in whole_records(world.audit_path)]
        found = [json.loads(line)["decision_id"] for line in receiver.lines()]

    assert answers == ["allow"] * 300
    assert set(ids) == set(found)


def test_a_chain_through_a_spool(tmp_path: Path, receiver: RecordReceiver) -> None:
    """A chained log arrives with each leaf in its place, and checkpoints behind their leaves."""
    chain = {"key": str(key_in(tmp_path)), "name": "authz-1", "records": 100}
    sink = http(receiver, "siem", queue=20, spool=spool(tmp_path / "spool"))
    with running(sink, chain=chain) as log:
        append(log, [line(number) for number in range(300)])
        wait_until(lambda: len(receiver.lines()) > 300)
        receiver.stop()
        append(log, [line(number) for number in range(300, 900)])
        wait_until(lambda: status(log, "siem").spooled_bytes)
        receiver.start()
    found = [json.loads(each) for each in dict.fromkeys(receiver.lines())]
    leaves = [one["index"] for one in found if "index" in one]

    assert leaves == list(range(902))  # with opened and closed
    ends = [(one["size"], at) for at, one in enumerate(found) if one.get("audit") == "checkpoint"]
    assert ends[-1] == (902, len(found) - 1)
    assert all(found[at - 1]["index"] == size - 1 for size, at in ends)


def test_a_restart_while_it_is_away(tmp_path: Path, receiver: RecordReceiver) -> None:
    """What a log could not send before it was closed is sent by the next one, before its own."""
    sink = http(receiver, "siem", spool=spool(tmp_path / "spool"))
    receiver.stop()
    with running(sink) as log:
        append(log, numbered(0, 500))
        wait_until(lambda: status(log, "siem").is_failing)
    with running(sink) as log:
        append(log, numbered(500, 700))
    receiver.start()
    with running(sink) as log:
        append(log, numbered(700, 800))
        wait_until(lambda: len(numbers(receiver)) == 800)

    assert numbers(receiver) == list(range(800))


def test_a_close_while_it_hangs(tmp_path: Path, receiver: RecordReceiver) -> None:
    """A stop does not wait for a receiver: lines that it holds up are kept for the next start."""
    go, asked = hang(receiver)
    sink = http(receiver, "siem", spool=spool(tmp_path / "spool"))
    log = AuditLog(AuditSettings.model_validate({"sinks": (sink,)}))
    log.start()
    append(log, numbered(0, 1))
    asked.wait(PATIENCE_SECONDS)
    append(log, numbered(1, 100))
    log.close()
    held = sum(path.read_bytes().count(b'{"n":') for path in (tmp_path / "spool").rglob("*.spool"))
    receiver.decide = always(Reply())
    go.set()

    assert held == 100
    assert not log.status().queued


@pytest.mark.parametrize("has_spool", [False, True])
def test_nothing_is_promised_that_is_dropped(
    tmp_path: Path, receiver: RecordReceiver, *, has_spool: bool
) -> None:
    """With deny, allows are refused once no room is left; all that was taken arrives later."""
    kept = {"spool": spool(tmp_path / "spool", 1)} if has_spool else {}
    sink = http(receiver, "siem", queue=100, when_full="deny", **kept)
    receiver.stop()
    taken = 0
    with running(sink, queue=200) as log:
        while not log.refuses_allows:  # as a check does, which then records an allow
            taken += log.append(Line(LINE % taken))
            assert taken < 10_000
        assert status(log, "siem").dropped == 0
        assert (taken > 1500) is has_spool  # a MiB
        receiver.start()
        wait_until(lambda: len(numbers(receiver)) == taken)
        wait_until(lambda: not log.refuses_allows)

    assert numbers(receiver) == list(range(taken))


def test_allows_that_were_answered_arrive(receiver: RecordReceiver) -> None:
    """However often a receiver goes and comes under load, each allow that was answered arrives."""
    sink = http(receiver, "siem", queue=50, when_full="deny")
    stop, allowed = threading.Event(), set[int]()
    counter = itertools.count()

    def check() -> None:  # as a server does
        while not stop.is_set():
            number = next(counter)
            if not log.refuses_allows and log.append(Line(LINE % number)):
                allowed.add(number)
            else:
                log.append(Line(b'{"n":-1}\n'))
                stop.wait(0.0005)

    threads = [threading.Thread(target=check) for _ in range(4)]
    with running(sink, queue=100) as log:
        for thread in threads:
            thread.start()
        for _ in range(3):
            receiver.stop()
            wait_until(lambda: log.refuses_allows)
            wait_until(lambda: status(log, "siem").dropped)  # refusals, which are recorded too
            receiver.start()
            before = len(allowed)
            wait_until(lambda before=before: len(allowed) > before + 20)  # type: ignore[misc]
        stop.set()
        for thread in threads:
            thread.join()
        wait_until(lambda: not log.status().queued)

    assert allowed <= set(numbers(receiver))


def test_a_sink_that_drops_refuses(receiver: RecordReceiver) -> None:
    """After a loss nothing is taken until half of the queue is written; so long allows are refused.

    Else an allow would be answered whose record is then dropped.
    """
    place = SinkSettings.model_validate(http(receiver, "siem"))
    limits = WriterLimits(queue=10, beyond=5, must_record=True)
    writer = SinkWriter(place, sink_of("-"), limits)
    writer.put(Batch(tuple(numbered(0, 20))))
    assert writer.status().dropped == 5
    found = []
    while writer.queued:
        writer._backlog.take(1)
        writer._backlog.delivered(0)
        found.append((writer.queued, writer.refuses_allows))

    assert found == [(left, left > 5) for left in range(14, -1, -1)]


def test_bad_records_hold_up_no_others(tmp_path: Path, receiver: RecordReceiver) -> None:
    """A line that the receiver refuses is counted as rejected, and not as written."""
    receiver.decide = lambda batch: Reply(400 if '"n":7,' in batch.body.decode() else 200)
    with running(http(receiver, "siem", spool=spool(tmp_path / "spool"))) as log:
        append(log, numbered(0, 50))
        wait_until(lambda: len(numbers(receiver)) == 49)
        wait_until(lambda: not status(log, "siem").queued)
        found = status(log, "siem")

    assert (found.written, found.rejected, found.dropped) == (49, 1, 0)


def test_a_spool_in_use(tmp_path: Path, receiver: RecordReceiver) -> None:
    """Two servers can't share a spool: the second does not start, and says why."""
    sink = http(receiver, "siem", spool=spool(tmp_path / "spool"))
    with (
        running(sink),
        pytest.raises(Exception, match="another process uses the spool"),
        running(sink),
    ):
        pass


def test_a_server_that_is_killed_while_it_is_away(tmp_path: Path, receiver: RecordReceiver) -> None:
    """What a server had in its spool when it was killed is sent by the next one."""
    sink = http(receiver, "siem", spool=spool(tmp_path / "spool"), when_full="deny")
    sink["http"]["timeout"] = "10s"
    changes = LAB.with_(("audit",), {"sinks": (sink,)})
    jwks = JwksServer(issuer := Issuer(ISSUER, AUDIENCE))
    svid = Authority(tmp_path / "pki").issue(TRAVEL)
    bearer = f"Bearer {issuer.token(TRAVEL, scope=READ)}"
    message = check_request(svid, [("authorization", bearer)]).SerializeToString()
    receiver.stop()
    allowed = set()
    server = Server(tmp_path, "first", f"{jwks.url}/jwks", "0s", changes=changes)
    try:
        server.wait_ready()
        with grpc.insecure_channel(f"unix:{server.socket}") as channel:
            check = channel.unary_unary(CHECK, None, pb.CheckResponse.FromString)
            for _ in range(50):
                answer = check(message, timeout=PATIENCE_SECONDS)
                assert reason_of(answer) == "allow"
                allowed.add(str(answer.dynamic_metadata["decision_id"]))
        wait_until(lambda: server.metric('authz_audit_spool_bytes{sink="siem"}'))
        for name in ("siem", ""):
            waiting = f'authz_audit_queue_length{{sink="{name}"}}'
            wait_until(lambda waiting=waiting: not server.metric(waiting))  # type: ignore[misc]
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.stop()
        receiver.start()
        server = Server(tmp_path, "second", f"{jwks.url}/jwks", "0s", changes=changes)
        wait_until(lambda: len(set(receiver.lines())) == 50)
    finally:
        server.process.stop()
        jwks.close()

    assert {json.loads(line)["decision_id"] for line in receiver.lines()} == allowed


def test_what_a_hanging_receiver_loses_is_told(
    receiver: RecordReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop that does not wait for a receiver says how many records it has not taken."""
    answering = threading.Event()

    def late(_: Received) -> Reply:
        answering.wait(PATIENCE_SECONDS)
        return Reply()

    receiver.decide = late
    place = SinkSettings.model_validate(http(receiver, "siem"))
    writer = SinkWriter(place, network_sink_of(place), WriterLimits(queue=100))
    writer.start()
    writer.put(Batch(tuple(numbered(0, 70))))
    wait_until(lambda: bool(receiver.requests))
    writer.stop()
    writer.join(0.01)
    told = caplog.messages.copy()
    answering.set()
    writer.join(PATIENCE_SECONDS)

    assert told == ["70 audit records could not be written to siem"]
