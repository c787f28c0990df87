"""``authz audit verify`` proves what servers write, and tells what they had to leave out."""

import gzip
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from authz.core.tlog.merkle import leaf_hash
from authz.core.tlog.note import NoteSigner, NoteVerifier
from authz.review.audit_chain.clerk_lines import (
    ClerkLineError,
    kind_of,
    read_closed,
    read_dropped,
    read_opened,
)
from authz.review.audit_chain.findings import Place
from authz.review.audit_chain.verify import Expected, verify_logs
from support.chain_files import (
    SIGNER,
    VERIFIER,
    full_log,
    interleaved,
    told,
    verified,
    written,
)
from support.chained_log import ChainedLog, private_pem


def test_a_whole_log(tmp_path: Path) -> None:
    """A log that was opened and closed is proven, and nothing is told of it."""
    report = verified(tmp_path, full_log(25).lines)

    assert report.is_proven
    assert not told(report)
    assert (report.records, report.checkpoints) == (27, 3)
    assert list(report.lines())[-1].startswith("proven: ")
    assert report.members()["logs"][0]["proven"] == 27


def test_a_key_on_p256(tmp_path: Path) -> None:
    """A log that an ECDSA key signed is proven with it, and a change is found."""
    log = full_log(25, signer=NoteSigner("authz-1", private_pem("p256")))
    verifier = NoteVerifier(log.signer.verifier_key.encode())

    assert verified(tmp_path, log.lines, verifier=verifier).is_proven
    log.lines[3] = log.lines[3].replace(b"agent/", b"agenT/")
    assert not verified(tmp_path, log.lines, verifier=verifier).is_proven


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_rotated_files(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Files that were rotated prove a log together, in any order, packed or not."""
    log = ChainedLog(SIGNER)
    files = []
    for number in range(45):
        log.record(number)
        if number in {17, 33}:
            files.append(log.rotate())
    log.close()
    files.append(log.lines)
    names = ("audit.jsonl.2.gz", "audit.jsonl.1", "audit.jsonl")
    paths = written(tmp_path, dict(zip(names, files, strict=True)))

    assert verify_logs([paths[at] for at in order], VERIFIER).is_proven


def test_a_file_that_was_cut_into_pieces(tmp_path: Path) -> None:
    """Pieces of a file that were cut anywhere, even in mid-checkpoint, prove the log together."""
    lines = full_log(40).lines
    for at in range(1, len(lines)):
        assert verified(tmp_path, lines[:at], lines[at:]).is_proven, at
    assert verified(tmp_path, *([line] for line in lines)).is_proven


def test_workers_in_one_file(tmp_path: Path) -> None:
    """The logs of several workers, whose lines stand between each other's, are proven."""
    logs = [full_log(30, worker=number, workers=3) for number in range(3)]
    report = verified(tmp_path, interleaved(*logs))

    assert report.is_proven
    assert len(report.logs) == 3


def test_runs_name_the_runs_before(tmp_path: Path) -> None:
    """A run that names the logs of the run before is proven together with these."""
    first = full_log(15)
    second = full_log(15, run="b", start=60, previous=(first,))

    assert verified(tmp_path, first.lines + second.lines).is_proven
    assert not told(verified(tmp_path, first.lines, second.lines))


def test_a_crash_is_told(tmp_path: Path) -> None:
    """A log that a later run closed after a crash is proven, and the crash is a note."""
    crashed = full_log(15, close=False)
    crashed.close("crashed", recovered_by="authz-1/0/20261129T164600Z-0000003c", after=16)
    second = full_log(5, run="b", start=60, previous=(crashed,))
    report = verified(tmp_path, crashed.lines + second.lines)

    assert report.is_proven
    assert told(report) == [("1.jsonl", len(crashed.lines) - 1, "note")]
    message = next(iter(report.findings)).message
    assert "from index 16 on may be lost; records 10 to 15 were signed only by" in message
    assert not verified(tmp_path, crashed.lines + second.lines, is_strict=True).is_proven


@pytest.mark.parametrize(
    ("before", "behind"), [("\N{BYTE ORDER MARK}", ""), ("Nov 29 host authz: ", ""), ("", "\r")]
)
def test_lines_that_a_collector_wrapped(tmp_path: Path, before: str, behind: str) -> None:
    """What stands around each line is told once, and not as changes of the log."""
    lines = [before.encode() + line[:-1] + behind.encode() + b"\n" for line in full_log(3).lines]
    report = verified(tmp_path, [line for line in lines if b'"checkpoint"' not in line])

    assert not report.is_proven
    (finding,) = report.findings
    assert "take off what a collector added" in finding.message


@pytest.mark.parametrize("lost", [0, 4])
def test_two_files_of_a_crash(tmp_path: Path, lost: int) -> None:
    """Each file of a crashed log is closed as far as it went; the next log names one end."""
    one, other = (full_log(count, close=False) for count in (19, 19 - lost))
    one.close("crashed", recovered_by="x", after=20)
    other.close("crashed", recovered_by="y", after=20 - lost)
    for previous in (one, other):
        second = full_log(5, run="b", start=60, previous=(previous,))
        for files in ((one.lines, other.lines), (other.lines, one.lines)):
            report = verified(tmp_path, *files, second.lines)
            assert report.is_proven
            assert not verified(tmp_path, *files, second.lines, is_strict=True).is_proven


def test_half_a_line_of_a_crash(tmp_path: Path) -> None:
    """Half a line that a crash left is a note if the record that closed the log has its hash."""
    half = b'{"decision":"allow","agent":"spiffe://corp.ex'
    for torn in (b64encode(leaf_hash(half)).decode(), [b64encode(leaf_hash(half)).decode()]):
        log = full_log(12, close=False)
        log.lines.append(half + b"\n")
        log.close("crashed", torn=torn)
        assert [each[2] for each in told(verified(tmp_path, log.lines))] == ["note", "note"]

        log.lines[-3] = log.lines[-3].replace(b"allow", b"allov")
        assert not verified(tmp_path, log.lines).is_proven


def test_a_crash_while_others_write_on(tmp_path: Path) -> None:
    """Half a line is explained however many lines of others follow before the log is closed."""
    half = b'{"decision":"allow","agent":"spiffe://gone.ex'
    crashed = full_log(12, workers=2, close=False)
    other = full_log(11_000, workers=2, worker=1, records=1000)
    lines = [*crashed.lines, half + b"\n", *other.lines]
    crashed.lines.clear()
    crashed.close("crashed", torn=[b64encode(leaf_hash(half)).decode()])
    assert verified(tmp_path, lines + crashed.lines).is_proven
    assert not verified(tmp_path, lines, is_running=True).is_proven


def test_half_a_line_of_a_full_disk(tmp_path: Path) -> None:
    """Half a line is a note if the whole line follows, and an error if it doesn't."""
    lines = full_log(25).lines
    for at in (5, lines.index(next(line for line in lines if b"checkpoint" in line))):
        half = [*lines[:at], lines[at][:80] + b"\n", *lines[at:]]
        report = verified(tmp_path, half)
        assert told(report) == [("1.jsonl", at + 1, "note")]
        half[at] = half[at].replace(b":", b";", 1)
        assert told(verified(tmp_path, half)) == [("1.jsonl", at + 1, "error")]


def test_gaps_and_losses_are_told(tmp_path: Path) -> None:
    """A signed gap of a sink, and a record of lost records, are notes; with strict, errors."""
    log = ChainedLog(SIGNER)
    for number in range(12):
        log.record(number)
    log.leaf('{"audit":"dropped","count":17,"since":"a","until":"b"}')
    for number in range(30):
        log.record(number)
    log.close()
    log.miss(17, 29)
    report = verified(tmp_path, log.lines)

    assert report.is_proven
    assert [each.message for each in report.findings] == [
        "17 records were lost from a to b",
        f"the sink siem misses records 17 to 28 of {log.origin}",
    ]
    assert verified(tmp_path, log.lines, sink="siem").is_proven
    assert not verified(tmp_path, log.lines, sink="file").is_proven
    assert not verified(tmp_path, log.lines, is_strict=True).is_proven


@pytest.mark.parametrize("begin", range(1, 33, 3))
@pytest.mark.parametrize("count", [1, 2, 9, 16])
def test_gaps_anywhere(tmp_path: Path, begin: int, count: int) -> None:
    """A gap of any length, anywhere, leaves the rest of the log proven."""
    log = full_log(50)
    log.miss(begin, begin + count)

    assert verified(tmp_path, log.lines).is_proven


def test_copies_of_two_sinks(tmp_path: Path) -> None:
    """The same log from two sinks is proven, one of which may have a gap; that they are is told."""
    log, copy = full_log(40), full_log(40)
    copy.lines = list(log.lines)
    copy.leaves, copy.tree = log.leaves, log.tree
    copy.miss(9, 23)
    report = verified(tmp_path, log.lines, copy.lines)

    assert report.is_proven
    assert any("are here twice" in each.message for each in report.findings)


def test_a_running_server(tmp_path: Path) -> None:
    """The newest log of a running server may be open, and end in mid-line; else it is cut."""
    first = full_log(15)
    second = full_log(17, run="b", start=60, previous=(first,), close=False)
    lines = [*first.lines, *second.lines, b'{"decision":"al']

    report = verified(tmp_path, lines, is_running=True)
    assert report.is_proven
    assert [each[2] for each in told(report)] == ["note"] * 3
    report = verified(tmp_path, lines)
    assert [each[2] for each in told(report)] == ["error"] * 3


def test_a_log_that_ended_is_not_running(tmp_path: Path) -> None:
    """With running, an older log must be closed all the same: a later one says that it ended."""
    for about in ({"run": "b"}, {"run": "b", "worker": 1, "workers": 2}, {}):
        first = full_log(15, close=False)
        second = full_log(15, start=60, close=False, **about)
        report = verified(tmp_path, first.lines + second.lines, is_running=True, is_partial=True)
        closing = [each for each in report.findings if "is not closed" in each.message]
        assert (len(closing) == 1) == (about.get("run") == "b" or not about), about


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """Which log is the newest is known by the names of those before, and not by times."""
    first = full_log(5, start=9000, workers=2)
    other = full_log(5, start=9000, worker=1, workers=2)
    second = full_log(5, start=4000, run="b", workers=2, previous=[first], close=False)
    beside = full_log(5, start=4000, run="b", worker=1, workers=2, previous=[other], close=False)
    third = full_log(5, start=0, run="c", previous=[second], close=False)

    for logs, is_running in (
        ((first, second, other, beside), True),
        ((first, other, third), False),
        ((first, second, third), False),
    ):
        lines = [line for log in logs for line in log.lines]
        report = verified(tmp_path, lines, is_running=True, is_partial=True, is_strict=True)
        assert report.is_proven is is_running


@pytest.mark.parametrize("at", [3, -1, 10])
def test_a_line_that_a_full_disk_divided(tmp_path: Path, at: int) -> None:
    """Half of a line at a file's end is explained by the next file, which begins with all of it."""
    lines = full_log(20).lines
    before, behind = lines[:at], lines[at:]

    for end in (b"", b"\n"):  # another worker may have ended it
        report = verified(tmp_path, [*before, behind[0][:40] + end], behind)
        assert report.is_proven
        assert [severity for _, _, severity in told(report)] == ["note"]
    assert not verified(tmp_path, [*before, behind[0][:39] + b"X"], behind).is_proven


def test_a_crash_at_the_start(tmp_path: Path) -> None:
    """A worker may have no log of a run that crashed; but one that a later log names is missed."""
    crash: dict[str, Any] = {"reason": "crashed", "after": 6, "recovered_by": "authz-1/0/x"}
    first = full_log(5, workers=2, close=False)
    first.close(**crash)
    gone = full_log(5, worker=1, workers=2, close=False)
    gone.close(**crash)
    rest: dict[str, Any] = {"run": "b", "start": 60, "workers": 2}
    second, third = full_log(5, previous=[first], **rest), full_log(5, worker=1, **rest)
    named = full_log(5, worker=1, previous=[gone], **rest)
    stopped = full_log(5, workers=2)
    after = full_log(5, previous=[stopped], **rest)

    assert verified(tmp_path, first.lines + second.lines + third.lines).is_proven
    assert not verified(tmp_path, first.lines + second.lines + named.lines).is_proven
    assert not verified(tmp_path, stopped.lines + after.lines + third.lines).is_proven


def test_partial(tmp_path: Path) -> None:
    """With partial, a later file alone is proven from its first checkpoint on."""
    log = ChainedLog(SIGNER)
    for number in range(23):
        log.record(number)
    log.rotate()
    log.record(24)
    log.close()

    assert verified(tmp_path, log.lines, is_partial=True).is_proven
    assert told(verified(tmp_path, log.lines)) == [("1.jsonl", 1, "error")]
    report = verified(tmp_path, log.lines[1:], is_partial=True)
    assert not report.is_proven
    assert "nothing proves them" in next(iter(report.findings)).message


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log on a pipe is read once, packed or not."""
    data = b"".join(full_log(25).lines)
    for content in (data, gzip.compress(data)):
        read, write = os.pipe()
        os.write(write, content)
        os.close(write)
        monkeypatch.setattr("authz.review.audit_chain.files.STDIN_FD", read)
        assert verify_logs([Path("-")], VERIFIER, Expected()).is_proven
        os.close(read)
    assert tmp_path.exists()


def test_progress_is_told(tmp_path: Path) -> None:
    """A long file's progress is told while it is read."""
    paths = written(tmp_path, {"a": full_log(9000, records=1000).lines})
    shares: list[float] = []
    verify_logs(paths, VERIFIER, news=lambda _, share: shares.append(share))

    assert shares == sorted(shares)
    assert all(0 < share <= 1 for share in shares)


@pytest.mark.parametrize("kind", ["opened", "closed", "dropped", "checkpoint", "gap", ""])
def test_a_line_of_endless_nesting(kind: str) -> None:
    """A line of the log's own that is nested too deep to be read has a fault, as others have."""
    line = b'{"audit":"%b","x":' % kind.encode() + b"[" * 100_000 + b"]" * 100_000 + b"}"
    place = Place("audit.jsonl", 1)
    reads = (
        kind_of,
        read_dropped,
        lambda it: read_opened(it, place),
        lambda it: read_closed(it, place),
    )
    for read in reads:
        with pytest.raises(ClerkLineError):
            read(line)
