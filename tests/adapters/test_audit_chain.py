"""The chained audit log: leaves, checkpoints, rotation, crashes, and losses that are told."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.chain.tree_log import Encoding, TreeLog
from authz.adapters.audit.log import AuditError, AuditLog
from authz.adapters.audit.records.line import AuditLine
from authz.core.tlog.merkle import CompactRange, leaf_hash
from authz.core.tlog.note import NoteSigner
from support.audit_chain import (
    NAME,
    Proven,
    key_in,
    key_pem,
    line,
    logging_to,
    settings_in,
    verifier,
)
from support.child import with_support
from support.world import PATIENCE_SECONDS, wait_until


def test_leaves_and_checkpoints(tmp_path: Path) -> None:
    """Each record is a leaf, and the last checkpoint covers all of them and the closing."""
    with logging_to(settings_in(tmp_path, {"records": 100})) as log:
        for number in range(1000):
            assert log.append(line(number))
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))
    (origin,) = proven.logs

    assert proven.kinds[0] == "opened"
    assert proven.kinds[-2:] == ["closed", "checkpoint"]
    assert proven.kinds.count("record") == 1000
    assert proven.kinds.count("checkpoint") >= 4
    assert proven.covered[origin] == 1002
    assert origin.startswith(f"{NAME}/0/")


def test_a_line_says_the_same_with_a_chain(tmp_path: Path) -> None:
    """A sealed line is the record's own line with two more members."""
    with logging_to(settings_in(tmp_path)) as log:
        log.append(line(7))
    sealed = json.loads((tmp_path / "audit.jsonl").read_bytes().splitlines()[1])

    assert {**json.loads(line(7).encode()), "log": sealed["log"], "index": 1} == sealed


@given(st.lists(st.integers(0, 70), max_size=8))
def test_the_tree_grows_by_batches(sizes: list[int]) -> None:
    """Whatever the batches, the tree is the one that grows leaf by leaf."""
    tree_log = TreeLog.__new__(TreeLog)
    tree_log._tree, tree_log._uncovered_since = CompactRange(), None
    expected = CompactRange()
    for size in sizes:
        leaves = [leaf_hash(b"%d" % (expected.end + number)) for number in range(size)]
        tree_log._grow(leaves)
        for leaf in leaves:
            expected.append(leaf)

        assert tree_log._tree == expected


@given(st.lists(st.tuples(st.text(max_size=9), st.floats(0, 4e9), st.text(max_size=9)), max_size=9))
def test_a_leaf_is_the_hash_of_its_line(drawn: list[tuple[str, float, str]]) -> None:
    """Whatever is in a line, its leaf is the hash of the bytes that are written."""
    tree_log = TreeLog(NoteSigner(NAME, key_pem()), 0, Encoding(), records=9, interval=9.0)
    lines = [
        AuditLine(b'{"decision":"deny"', b"", time, text, other, "d", False, 0.0)
        for text, time, other in drawn
    ]
    batch = tree_log.seal(lines)

    assert batch.first == 0
    assert batch.leaves == tuple(leaf_hash(one[:-1]) for one in batch.lines)
    assert [json.loads(one)["request_id"] for one in batch.lines] == [text for text, *_ in drawn]
    assert [json.loads(one)["index"] for one in batch.lines] == [*range(len(drawn))]


def test_dropped_ids_stay_empty(tmp_path: Path) -> None:
    """Ids that the config drops are empty in the line, with a chain and without."""
    decided = (b'{"decision":"deny"', b"", 1.5, "request", "trace", "d", False, 0.0)
    dropped = {"redact": {"drop": ("request_id", "trace_id")}}
    with logging_to(settings_in(tmp_path, **dropped)) as log:
        log.append(AuditLine(*decided))
    plain = AuditLog(AuditSettings.model_validate({"path": str(tmp_path / "plain"), **dropped}))
    plain.start()
    plain.append(AuditLine(*decided))
    plain.close()
    sealed = json.loads((tmp_path / "audit.jsonl").read_bytes().splitlines()[1])
    (unsealed,) = map(json.loads, (tmp_path / "plain").read_bytes().splitlines())

    for one in (sealed, unsealed):
        assert (one["request_id"], one["trace_id"], one["decision_id"]) == ("", "", "d")


def test_a_checkpoint_comes_by_itself(tmp_path: Path) -> None:
    """Without further records, the last one is covered within the interval; then nothing comes."""
    path = tmp_path / "audit.jsonl"
    with logging_to(settings_in(tmp_path)) as log:
        log.append(line(1))
        wait_until(lambda: path.read_bytes().count(b'"audit":"checkpoint"') >= 1)
        wait_until(lambda: log.status().checkpoint_at is not None)
        assert log._chain is not None
        wait_until(lambda: log._chain.log.uncovered == 0)  # type: ignore[union-attr]


def test_rotation(tmp_path: Path) -> None:
    """A file that was moved away ends with a checkpoint, and the new one begins with the same."""
    path = tmp_path / "audit.jsonl"
    with logging_to(settings_in(tmp_path, {"interval": "60s"})) as log:
        for number in range(30):
            log.append(line(number))
        wait_until(lambda: not log.status().queued)
        path.rename(tmp_path / "audit.jsonl.1")
        for number in range(30):
            log.append(line(number))
        wait_until(path.exists)
        log.append(line(99))
    old, new = (tmp_path / "audit.jsonl.1").read_bytes(), path.read_bytes()

    assert old.splitlines()[-1] == new.splitlines()[0]
    assert b'"audit":"checkpoint"' in old.splitlines()[-1]
    whole = tmp_path / "whole"
    whole.write_bytes(old + b"".join(new.splitlines(keepends=True)[1:]))
    proven = Proven(whole, key=verifier(tmp_path))
    assert proven.kinds.count("record") == 61


def test_reopening_the_same_file(tmp_path: Path) -> None:
    """SIGHUP without a rotation repeats nothing."""
    with logging_to(settings_in(tmp_path)) as log:
        for number in range(20):
            log.append(line(number))
            log.reopen()
            wait_until(lambda: not log.status().queued)
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))

    assert proven.kinds.count("record") == 20


def test_losses_are_told_in_bounds(tmp_path: Path) -> None:
    """While nothing can be written, what is said of losses does not pile up."""
    settings = settings_in(tmp_path, queue=2).model_copy(update={"path": "/dev/full"})
    log = AuditLog(settings)
    log.start()
    for number in range(200):
        log.append(line(number))
        log._want_checkpoint()  # the clerk looks now
        wait_until(lambda: not log._wake.is_set())
    queued = log.status().queued
    log.close()

    assert log.status().dropped > 100
    assert queued < 10


def test_the_next_log_names_the_one_before(tmp_path: Path) -> None:
    """A log that was closed is named by the next one, with its size and root."""
    for _ in range(3):
        with logging_to(settings_in(tmp_path)) as log:
            log.append(line(1))
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))
    opened = [record for record in proven.records if record.get("audit") == "opened"]

    assert [len(one["previous"]) for one in opened] == [0, 1, 1]
    for before, after in pairwise(opened):
        tree = proven.tree(before["log"])
        expected = {"log": before["log"], "size": 3, "root": b64encode(tree.root()).decode()}
        assert after["previous"] == [expected]


def crashed(folder: Path, cut: int, *, records: int = 20) -> bytes:
    """A file of a process that ended without closing, in mid-line; return the cut line's rest."""
    path = folder / "audit.jsonl"
    log = AuditLog(settings_in(folder, {"interval": "60s", "records": 7}))
    log.start()
    for number in range(records):
        log.append(line(number))
    wait_until(lambda: not log.status().queued)
    data = path.read_bytes()
    log.close()
    whole = data[: data.rindex(b'{"decision"')]
    last = data[len(whole) :].splitlines(keepends=True)[0]
    path.write_bytes(whole + last[:cut])
    return last


@pytest.mark.parametrize("cut", [0, 1, 100, -2, -1, 10_000])
def test_a_crash_in_mid_line(tmp_path: Path, cut: int) -> None:
    """A log that a crash cut off anywhere is closed at the next start, and the loss is said."""
    last = crashed(tmp_path, cut)
    with logging_to(settings_in(tmp_path)) as log:
        log.append(line(5))
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))
    first, second = proven.logs
    (closed,) = [one for one in proven.records if one.get("reason") == "crashed"]
    is_whole = cut in {-1, 10_000}

    assert closed["log"] == first
    assert closed["recovered_by"] == second
    assert closed["after"] == closed["index"] == (21 if is_whole else 20)
    assert proven.covered[first] == len(proven.logs[first])
    torn = [] if is_whole or not cut else [b64encode(leaf_hash(last[:cut])).decode()]
    assert closed["torn"] == torn
    (opened,) = [one for one in proven.records if one.get("audit") == "opened" and one["previous"]]
    assert opened["previous"][0]["size"] == len(proven.logs[first])


def test_a_crash_after_a_rotation(tmp_path: Path) -> None:
    """A log that crashed before it began a new file is closed in the old one."""
    crashed(tmp_path, 30)
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl-20261129")
    with logging_to(settings_in(tmp_path)) as log:
        log.append(line(5))
    old = Proven(tmp_path / "audit.jsonl-20261129", key=verifier(tmp_path))

    assert old.kinds[-2:] == ["closed", "checkpoint"]


def test_a_crash_at_once(tmp_path: Path) -> None:
    """A log without any checkpoint is closed by its leaves from the first on."""
    crashed(tmp_path, 5, records=3)
    with logging_to(settings_in(tmp_path)):
        pass
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))

    assert proven.kinds.count("closed") == 2


def test_a_changed_end_is_not_signed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An end whose checkpoint does not count is left as it is: nobody's change is signed."""
    crashed(tmp_path, 0)
    path = tmp_path / "audit.jsonl"
    data = path.read_bytes()
    at = data.rindex(b'"size":') + len(b'"size":')
    path.write_bytes(data[:at] + b"9" + data[at + 1 :])
    with logging_to(settings_in(tmp_path)):
        pass

    assert b'"reason":"crashed"' not in path.read_bytes()
    assert "can't be closed" in caplog.text


def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """Two processes of one name and number can't write to one file: the second does not start."""
    with logging_to(settings_in(tmp_path)):
        second = AuditLog(settings_in(tmp_path))
        with pytest.raises(AuditError, match=f"another process named {NAME} writes to"):
            second.start()
        second.close()
        with logging_to(settings_in(tmp_path), worker=1, workers=2) as log:
            log.append(line(1))
    with logging_to(settings_in(tmp_path)):
        pass

    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))
    assert all(proven.covered[log] == len(leaves) for log, leaves in proven.logs.items())


def test_a_queue_that_was_full_is_told(tmp_path: Path) -> None:
    """Records that found no room have no index; a line of the log says how many there were."""
    with logging_to(settings_in(tmp_path, queue=5)) as log:
        taken = sum(log.append(line(number)) for number in range(1000))
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))
    lost = sum(one["count"] for one in proven.records if one.get("audit") == "dropped")

    assert (taken, lost) == (proven.kinds.count("record"), 1000 - taken)
    assert lost


def test_a_sink_that_misses_records_says_so(tmp_path: Path) -> None:
    """A file that could not be written misses leaves: a signed line has their hashes."""
    away = tmp_path / "away"
    away.mkdir()
    sinks = (
        {"name": "all", "path": str(tmp_path / "audit.jsonl")},
        {"name": "some", "path": str(away / "audit.jsonl"), "queue": 20},
    )
    with logging_to(settings_in(tmp_path, sinks=sinks)) as log:
        log.append(line(0))
        wait_until(lambda: not log.status().queued)
        away.rename(tmp_path / "gone")
        wait_until(lambda: log.status().is_failing)
        for number in range(200):
            log.append(line(number))
        wait_until(lambda: not log.status().sinks[0].queued and not log.status().waiting)
        (tmp_path / "gone").rename(away)
        wait_until(lambda: not log.status().is_failing)
        for number in range(10):
            log.append(line(number))
    key = verifier(tmp_path)
    complete, partial = (
        Proven(tmp_path / "audit.jsonl", key=key),
        Proven(away / "audit.jsonl", key=key),
    )

    assert complete.kinds.count("record") == 211
    assert partial.kinds.count("gap") == 1
    assert partial.covered == complete.covered
    assert log.status().sinks[1].dropped == 211 - partial.kinds.count("record")


def test_witnesses_in_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A witness has every checkpoint of the log, and nothing else."""
    witnesses = ({"file": str(tmp_path / "witness")}, {"stdout": True})
    with logging_to(settings_in(tmp_path, {"records": 10, "witnesses": witnesses})) as log:
        for number in range(100):
            log.append(line(number))
        wait_until(lambda: log.status().is_witness_failing is False)
    data = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    signed = [one for one in data if one.startswith(b'{"audit":"checkpoint"')]

    assert len(signed) > 10
    assert (tmp_path / "witness").read_bytes().splitlines() == signed
    assert capfd.readouterr().out.encode().splitlines() == signed


def test_a_witness_that_is_away(tmp_path: Path) -> None:
    """It delays nothing, the status says so, and it has all checkpoints once it is back."""
    away = tmp_path / "away"
    away.mkdir()
    witnesses = ({"file": str(away / "witness")},)
    with logging_to(settings_in(tmp_path, {"records": 10, "witnesses": witnesses})) as log:
        away.rename(tmp_path / "gone")
        wait_until(lambda: log.status().is_witness_failing is True)
        for number in range(100):
            log.append(line(number))
        wait_until(lambda: not log.status().queued)
        assert not log.status().is_failing
        (tmp_path / "gone").rename(away)
        wait_until(lambda: log.status().is_witness_failing is False)
    data = (tmp_path / "audit.jsonl").read_bytes().splitlines()
    signed = [one for one in data if one.startswith(b'{"audit":"checkpoint"')]

    assert (away / "witness").read_bytes().splitlines() == signed


FULL = """
import resource, sys, time
from pathlib import Path
from authz.adapters.audit.log import AuditLog
from support.audit_chain import line, settings_in


def wait_until(condition):  # support.world would load all of the server
    while not condition():
        time.sleep(0.005)


folder = Path(sys.argv[1])
sinks = ({"path": str(folder / "audit.jsonl"), "queue": 500},)
more = {"path": {"queue": 500}, "sinks": {"sinks": sinks}}[sys.argv[2]]
log = AuditLog(settings_in(folder, {"records": 50}, **more))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_001, resource.RLIM_INFINITY))
log.start()
count = taken = 0
while not log.status().is_failing:
    taken += log.append(line(count))
    count += 1
    if not count % 100:  # else a busy machine fills the log's queue before the disk is full
        wait_until(lambda: log.status().is_failing or not log.status().waiting)
for _ in range(2000):
    taken += log.append(line(count))
    count += 1
wait_until(lambda: not log.status().waiting)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
wait_until(lambda: not log.status().is_failing)
for _ in range(10):
    taken += log.append(line(count))
    count += 1
log.close()
print(count, taken, log.status().dropped, log.status().sinks[0].dropped)
"""


@pytest.mark.parametrize("form", ["path", "sinks"])
def test_a_disk_that_was_full(tmp_path: Path, form: str) -> None:
    """A disk that was full, in mid-line, leaves a whole chain, which tells each record it lacks."""
    key_in(tmp_path)
    command = [sys.executable, "-c", FULL, str(tmp_path), form]
    done = subprocess.run(
        command, env=with_support(), capture_output=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 0, done.stderr.decode()
    count, taken, dropped, missing = map(int, done.stdout.split())
    proven = Proven(tmp_path / "audit.jsonl", key=verifier(tmp_path))
    (origin,) = proven.logs
    told = sum(one["count"] for one in proven.records if one["audit"] == "dropped")
    gaps = [one["to"] - one["from"] for one in proven.records if one["audit"] == "gap"]

    assert proven.covered[origin] == len(proven.logs[origin])
    assert told == dropped == count - taken
    assert sum(gaps) == missing
    assert (dropped > 0, missing > 0) == ((True, False) if form == "path" else (False, True))
    # A line of a loss may itself be in a gap.
    assert 0 <= proven.decisions[origin] - (taken - missing) <= len(gaps)


def test_a_chain_through_a_pipe(tmp_path: Path) -> None:
    """A named pipe needs no lock and has no end to look into; its reader gets every line."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sinks = ({"path": str(path)},)
    with logging_to(settings_in(tmp_path, sinks=sinks)) as log:
        log.append(line(1))
    lines = os.read(reader, 1 << 16).splitlines()
    os.close(reader)
    kinds = [json.loads(one).get("audit", "record") for one in lines]

    assert [kind for kind in kinds if kind != "checkpoint"] == ["opened", "record", "closed"]
    assert kinds[-1] == "checkpoint"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["chain.pem", "pipe"]
