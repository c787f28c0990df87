"""An attacker who holds the files changes, cuts, moves, splices or hides: the line is told."""

import gzip
import json
import random
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.tlog.merkle import leaf_hash
from authz.core.tlog.note import NoteSigner, NoteVerifier
from authz.review.audit_chain.verify import verify_logs
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

OTHER = NoteSigner("authz-1", private_pem())
Lines = list[bytes]


def errors(folder: Path, *files: bytes | Lines, **expected: Any) -> list[tuple[str, int]]:
    """Return file and line of each error."""
    report = verified(folder, *files, **expected)
    assert report.is_proven == (not report.findings.errors)
    return [(file, line) for file, line, severity in told(report) if severity == "error"]


def doubled(lines: Lines, at: int) -> Lines:
    """Double a line."""
    return [*lines[: at + 1], *lines[at:]]


def removed(lines: Lines, at: int) -> Lines:
    """Remove a line."""
    return [*lines[:at], *lines[at + 1 :]]


def swapped(lines: Lines, at: int) -> Lines:
    """Swap a line with the next."""
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def moved(lines: Lines, at: int) -> Lines:
    """Move a line to the end."""
    return [*removed(lines, at), lines[at]]


def joined(lines: Lines, at: int) -> Lines:
    """Join a line with the next."""
    return [*lines[:at], lines[at][:-1] + lines[at + 1], *lines[at + 2 :]]


def split(lines: Lines, at: int) -> Lines:
    """Split a line."""
    return [*lines[:at], lines[at][:40] + b"\n", lines[at][40:], *lines[at + 1 :]]


def blank(lines: Lines, at: int) -> Lines:
    """Put in an empty line."""
    return [*lines[:at], b"\n", *lines[at:]]


def with_return(lines: Lines, at: int) -> Lines:
    """End a line as Windows does."""
    return [*lines[:at], lines[at][:-1] + b"\r\n", *lines[at + 1 :]]


def plain_record(lines: Lines, at: int) -> Lines:
    """Put in a record that no chain has."""
    return [*lines[:at], b'{"decision":"allow","agent":"spiffe://evil.example/a"}\n', *lines[at:]]


@pytest.mark.parametrize(
    "attack",
    [doubled, removed, swapped, moved, joined, split, blank, with_return, plain_record],
)
def test_lines(tmp_path: Path, attack: Callable[[Lines, int], Lines]) -> None:
    """A line of any kind that was doubled, removed, moved or put in is found at or behind it."""
    lines = full_log(25).lines
    for at in range(len(lines) - 1):
        found = errors(tmp_path, attack(lines, at))
        assert found, (attack, at)
        assert all(line <= len(lines) + 1 for _, line in found)


def test_the_end_of_a_file(tmp_path: Path) -> None:
    """A log that was cut anywhere is found to lack its end, also at a checkpoint."""
    data = b"".join(full_log(15).lines)
    for at in {*range(0, len(data), 37), *(i + 1 for i, one in enumerate(data) if one == 10)}:
        if at < len(data):
            report = verified(tmp_path, data[:at])
            assert not report.is_proven, at


def test_a_file_is_missing(tmp_path: Path) -> None:
    """Without any one of the files of a rotated log, it is not proven."""
    log = ChainedLog(SIGNER)
    files = []
    for number in range(60):
        log.record(number)
        if number % 20 == 13:
            files.append(log.rotate())
    log.close()
    files.append(log.lines)
    assert not errors(tmp_path, *files)
    for at in range(len(files)):
        assert errors(tmp_path, *removed_file(files, at)), at
    assert not errors(tmp_path, *files[1:], is_partial=True)
    assert errors(tmp_path, files[0], *files[2:], is_partial=True)


def removed_file(files: list[Lines], at: int) -> list[Lines]:
    """Return the other files."""
    return [*files[:at], *files[at + 1 :]]


def test_a_worker_is_missing(tmp_path: Path) -> None:
    """A worker's log that was taken out of the file as a whole is missed."""
    logs = [full_log(20, worker=number, workers=3) for number in range(3)]
    for at in range(3):
        kept = [log for log in logs if log is not logs[at]]
        report = verified(tmp_path, interleaved(*kept))
        assert f"has 3 workers: no log of {at}" in "".join(report.lines())


def test_a_run_is_missing(tmp_path: Path) -> None:
    """An earlier run that was taken out as a whole is missed by the next, and so is its end."""
    first = full_log(20)
    second = full_log(20, run="b", start=60, previous=(first,))
    third = full_log(20, run="c", start=120, previous=(second,))

    assert not errors(tmp_path, first.lines + second.lines + third.lines)
    assert errors(tmp_path, second.lines + third.lines) == [("1.jsonl", 1)]
    assert errors(tmp_path, first.lines + third.lines)
    at = next(i for i, line in enumerate(first.lines) if b'"checkpoint"' in line) + 1
    cut = first.lines[:at]
    report = verified(tmp_path, cut + second.lines + third.lines, is_running=True)
    assert f"records 10 to {first.tree.end - 1}" in "".join(report.lines())


def test_the_log_behind_a_crash_is_missing(tmp_path: Path) -> None:
    """A log that was closed after a crash says which log closed it, and that must be here."""
    crashed = full_log(20, close=False)
    second = full_log(20, start=60)
    crashed.close("crashed", recovered_by=second.origin, after=21)
    second = full_log(20, start=60, previous=(crashed,))

    assert not errors(tmp_path, crashed.lines + second.lines)
    assert errors(tmp_path, crashed.lines) == [("1.jsonl", len(crashed.lines) - 1)]
    third = full_log(20, start=90, previous=(crashed,))  # the second crashed before its first line
    assert not errors(tmp_path, crashed.lines + third.lines)


def test_a_run_that_names_none_before(tmp_path: Path) -> None:
    """A run that names no earlier one is told: one between them could be missing."""
    logs = full_log(20).lines + full_log(20, run="c", start=120).lines
    report = verified(tmp_path, logs)

    assert [each[2] for each in told(report)] == ["note"]
    assert errors(tmp_path, logs, is_strict=True)


def test_a_server_is_missing(tmp_path: Path) -> None:
    """A replica whose files are all missing is told, if its name was given."""
    lines = full_log(20).lines

    assert not errors(tmp_path, lines, servers=["authz-1"])
    assert errors(tmp_path, lines, servers=["authz-1", "authz-2"]) == [("the files", 0)]


def test_records_of_another_replica(tmp_path: Path) -> None:
    """Records of a replica, which are signed too, do not stand in for those of another."""
    key = private_pem()
    one, two = (full_log(25, signer=NoteSigner(name, key)) for name in ("a", "b"))
    verifier = NoteVerifier(one.signer.public_pem.encode())
    renamed = [line.replace(b"b/0/", b"a/0/") for line in two.lines]
    for lines in (
        one.lines[:5] + two.lines[5:6] + one.lines[6:],
        one.lines[:5] + renamed[5:6] + one.lines[6:],
        renamed,
        one.lines[:11] + renamed[11:],
    ):
        assert errors(tmp_path, lines, verifier=verifier)


def test_another_run_of_the_same_server(tmp_path: Path) -> None:
    """Records of an older run, from an old copy, do not stand in for those of a newer one."""
    first, second = full_log(25), full_log(25, start=60, run="b")
    old, new = first.origin.encode(), second.origin.encode()
    for at in range(1, 25):
        forged = first.lines[at].replace(old, new)
        if b'"checkpoint"' not in forged:
            assert errors(tmp_path, [*second.lines[:at], forged, *second.lines[at + 1 :]])


def test_an_old_copy(tmp_path: Path) -> None:
    """An older copy of the file is found to lack its end; a witness finds it in a running log."""
    log = full_log(50, close=False)
    log.checkpoint()
    old, note = list(log.lines[:23]), log.lines[-1]
    witness = written(tmp_path, {"witness": note})

    assert errors(tmp_path, old)
    assert errors(tmp_path, old, is_running=True, witnesses=witness)
    assert not errors(tmp_path, log.lines, is_running=True, witnesses=witness)


def test_a_forged_copy(tmp_path: Path) -> None:
    """A second copy whose last records were forged, before any checkpoint, proves nothing."""
    log = full_log(15)
    lines = log.lines
    for end in range(13, len(lines)):
        forged = [*lines[:12], *(line.replace(b"allow", b"denyy") for line in lines[12:end])]
        assert errors(tmp_path, lines, forged)
        assert errors(tmp_path, lines, forged, is_running=True)
        assert errors(tmp_path, forged, lines)


def test_a_checkpoint_between_files(tmp_path: Path) -> None:
    """A checkpoint that was taken out between two files is missed, but not one in a gap."""
    log = full_log(40)
    at = next(i for i, line in enumerate(log.lines) if b'"checkpoint"' in line)
    assert errors(tmp_path, log.lines[:at], log.lines[at + 1 :]) == [("2.jsonl", 11)]
    log.miss(8, 13)
    gap = next(i for i, line in enumerate(log.lines) if b'"gap"' in line)
    for cut in range(gap - 1, gap + 4):
        assert not errors(tmp_path, log.lines[:cut], log.lines[cut:])


def test_another_key(tmp_path: Path) -> None:
    """A log, a checkpoint or a gap that another key signed does not count."""
    log, forged = full_log(25), full_log(25, signer=OTHER)
    assert errors(tmp_path, forged.lines)
    at = next(i for i, line in enumerate(log.lines) if b'"checkpoint"' in line)
    assert errors(tmp_path, [*log.lines[:at], forged.lines[at], *log.lines[at + 1 :]])
    forged.leaves, forged.tree = log.leaves, log.tree
    forged.miss(3, 6)
    gap = next(line for line in forged.lines if b'"gap"' in line)
    assert errors(tmp_path, [*log.lines[:3], gap, *log.lines[6:]])


def test_an_old_key(tmp_path: Path) -> None:
    """A leaked old key forges no log of a newer one, and none that a later run names."""
    first = full_log(20, signer=OTHER)
    second = full_log(20, run="b", start=60, previous=(first,))
    both = NoteVerifier(SIGNER.public_pem.encode(), OTHER.public_pem.encode())
    assert not errors(tmp_path, first.lines + second.lines, verifier=both)

    forged = full_log(20, signer=OTHER, close=False)
    forged.leaf('{"audit":"closed","reason":"stopped","time":"forged"}')
    forged.checkpoint()
    report = verified(tmp_path, forged.lines + second.lines, verifier=both)
    assert "its root is another" in "".join(report.lines())


def test_a_gap_of_another_log(tmp_path: Path) -> None:
    """A gap that was signed for another log or other records excuses nothing."""
    log, other = full_log(40), full_log(40, start=60, run="b")
    other.miss(3, 6)
    gap = next(line for line in other.lines if b'"gap"' in line)
    assert errors(tmp_path, [*log.lines[:3], gap, *log.lines[6:]])
    named = gap.replace(other.origin.encode(), log.origin.encode())
    assert errors(tmp_path, [*log.lines[:3], named, *log.lines[6:]])


def test_a_gap_of_another_sink(tmp_path: Path) -> None:
    """A gap that was signed for another sink's copy is told with the sink, and found by name."""
    log = full_log(40)
    whole = list(log.lines)
    log.miss(3, 6)
    gap = next(line for line in log.lines if b'"gap"' in line)
    hidden = [*whole[:3], gap, *whole[6:]]

    assert "the sink siem misses records 3 to 5" in "".join(verified(tmp_path, hidden).lines())
    assert errors(tmp_path, hidden, sink="file") == [("1.jsonl", 4)]


def test_behind_the_end(tmp_path: Path) -> None:
    """A record behind the last one of its log is found, in the same file or the next."""
    log = full_log(20)
    log.record(99)
    more = log.lines[-1:]
    assert errors(tmp_path, log.lines)
    assert errors(tmp_path, log.lines[:-1], more)


def test_a_second_opening(tmp_path: Path) -> None:
    """A log opens with its first record, and with no other."""
    log = full_log(5, close=False)
    log.leaf('{"audit":"opened","time":"t","worker":0,"workers":1,"run":"x"}')
    log.close()
    assert errors(tmp_path, log.lines) == [("1.jsonl", 7)]


@pytest.mark.parametrize("about", [{"worker": 3, "workers": 2}, {"worker": -1}, {"workers": 0}])
def test_a_worker_that_cannot_be(tmp_path: Path, about: dict[str, Any]) -> None:
    """A worker whose number is beyond the run's is told."""
    assert errors(tmp_path, full_log(5, **about).lines)


def test_two_logs_of_one_name(tmp_path: Path) -> None:
    """Two signed logs of one name contradict each other: one is a forgery by a key's holder."""
    one, two = full_log(20), full_log(20, run="b")
    assert errors(tmp_path, one.lines, two.lines)


def test_witnesses(tmp_path: Path) -> None:
    """A witness's checkpoint must be of a log that is here, as long, and with the same root."""
    log, other = full_log(50), full_log(30, run="b")
    notes = [line for line in log.lines if b'"checkpoint"' in line]
    as_text = b"".join(note_of(line) for line in notes)
    for content in (b"".join(notes), as_text, as_text + b"\n\n", b"\n".join(map(note_of, notes))):
        witness = written(tmp_path, {"witness": content})
        report = verified(tmp_path, log.lines, witnesses=witness)
        assert report.is_proven
        assert report.witnessed == len(notes)
    for content in (
        b"".join(line for line in other.lines if b'"checkpoint"' in line),
        note_of(full_log(5, start=60).lines[-1]),
        note_of(full_log(60).lines[-1]),
        as_text.replace(b"\n10\n", b"\n11\n"),
        b"",
        b"\xff\x00",
        b'{"checkpoint":1}\n',
        b"x\n" * 1000,
    ):
        witness = written(tmp_path, {"witness": content})
        assert errors(tmp_path, log.lines, witnesses=witness), content
    assert errors(tmp_path, log.lines, witnesses=[tmp_path / "none"])


def note_of(line: bytes) -> bytes:
    """Return the note of a checkpoint's line."""
    return str(json.loads(line)["checkpoint"]).encode()


def test_files_of_another_kind(tmp_path: Path) -> None:
    """Files that are no audit log, cut, packed badly, absent or a folder are told, each one."""
    whole = b"".join(full_log(300).lines)
    packed = gzip.compress(whole)
    paths = written(
        tmp_path,
        {
            "empty": b"",
            "binary": bytes(range(256)) * 300,
            "long": b"x" * (3 << 20),
            "cut.packed": packed[:-50],
            "bad.packed": packed[:200] + b"\0" * 50 + packed[250:],
            "garbage.packed": packed + b"garbage",
            "words": b"trust_domains: [a]\n" * 5000,
        },
    )
    for path in (*paths, tmp_path, tmp_path / "none"):
        report = verify_logs([path], VERIFIER)
        assert not report.is_proven, path
        assert list(report.lines())[-1].startswith("NOT proven")


def test_a_whole_log_of_plain_records(tmp_path: Path) -> None:
    """Records that a server without a chain wrote are not proven, and told in one finding."""
    report = verified(tmp_path, b'{"decision":"allow"}\n' * 50)
    assert not report.is_proven
    assert len(list(report.findings)) == 1


def test_hostile_texts_are_shown_harmlessly(tmp_path: Path) -> None:
    """What a line holds reaches a terminal without control characters."""
    log = full_log(5)
    lines = [
        *log.lines[:-1],
        log.lines[-1].replace(b'"size"', b'"\x1b[31m\\u001b"'),
        *log.lines[-1:],
    ]
    lines.append(b'{"audit":"checkpoint","\\u001b[31m":1}\n')
    assert "\x1b" not in "".join(verified(tmp_path, lines).lines())


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_traceback_whatever_the_bytes(tmp_path: Path, data: st.DataObject) -> None:
    """Lines cut, glued and changed at random are told, and nothing is raised."""
    lines = data.draw(
        st.lists(
            st.one_of(
                st.sampled_from(MANY),
                st.builds(lambda line, at: line[:at], st.sampled_from(MANY), st.integers(0, 900)),
                st.builds(lambda line, at: line[at:], st.sampled_from(MANY), st.integers(0, 900)),
                st.binary(max_size=60),
                st.sampled_from(CRAFTED),
            ),
            max_size=14,
        )
    )
    verified(
        tmp_path,
        lines,
        is_running=data.draw(st.booleans()),
        is_partial=data.draw(st.booleans()),
    )


def many_lines() -> Lines:
    """Return lines of every kind."""
    first = full_log(12)
    second = full_log(25, run="b", start=60, previous=(first,), workers=2)
    second.miss(4, 9)
    return first.lines + second.lines


MANY = many_lines()
END = b',"log":"authz-1/0/x","index":%d}\n'
CRAFTED = [
    b'{"audit":"opened"' + END % 0,
    b'{"audit":"opened","time":1' + END % 0,
    b'{"audit":"opened","time":"","worker":0,"workers":99999999999999999999,"run":""' + END % 0,
    b'{"audit":"closed"' + END % 1,
    b'{"audit":"closed","reason":"crashed","torn":[1]' + END % 1,
    b'{"audit":"dropped","count":"x"' + END % 1,
    b'{"audit":"dropped\xff"' + END % 2,
    b'{"audit":"\\ud800"' + END % 2,
    b'{"audit":7' + END % 3,
    b"x" + END % (1 << 62),
    b"x" + END % (10**18 - 1),
    b"x" + END % (10**18),
    b"x" + END % (10**19 - 1),
    b"x" + END % (10**40),
    b'{"audit":"checkpoint"}\n',
    b'{"audit":"checkpoint","time":"","log":"a","size":99,"tree":["\\ud800"],"checkpoint":"\\ud800"}\n',
    b'{"audit":"gap","log":"","from":9,"to":3,"hashes":[],"sink":"","gap":""}\n',
    b"\n",
    b"\r\n",
    b"\xff\xfe\n",
    b'{"audit":"' + b"[" * 5000 + b"\n",
]


def test_random_damage(tmp_path: Path) -> None:
    """Random damage of random lines of many logs is always found."""
    chance = random.Random(7)
    logs = [full_log(20, worker=number, workers=2) for number in range(2)]
    data = b"".join(interleaved(*logs))
    for _ in range(150):
        begin = chance.randrange(len(data))
        end = min(len(data), begin + chance.choice((0, 1, 2, 200, 2000)))
        put = chance.choice((b"", b"\0", b"\n", data[begin : begin + 300], chance.randbytes(9)))
        damaged = data[:begin] + put + data[end:]
        if damaged != data:
            assert errors(tmp_path, damaged), (begin, end, put)


def test_half_a_line_that_nothing_proves(tmp_path: Path) -> None:
    """The hash of half a line counts only in a record that is proven itself."""
    log = full_log(12)
    half = b'{"decision":"allow"'
    closed = log.lines[-2].replace(
        b'"stopped"', b'"stopped","torn":"%s"' % b64encode(leaf_hash(half))
    )
    assert errors(tmp_path, [*log.lines[:-2], half + b"\n", closed, log.lines[-1]])
