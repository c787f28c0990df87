"""The mutator: any change of any byte of an audit log is found, in a log of 10,000 records too.

A mutant of a long log is verified from the checkpoint before the change to the one behind it, which
takes a hundredth of the time. More is allowed there than in the whole log: it may be open at its
end, and earlier files may be missing. AUTHZ_MUTANTS is the number of mutants of the long log, 200
if it is not set. If it is set, all changes of each byte of the small log are made, for minutes.
"""

import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from authz.review.audit_chain.verify import Expected, verify_logs
from support.chain_files import SIGNER, VERIFIER, full_log, interleaved, verified
from support.chained_log import ChainedLog

MUTANTS = int(os.environ.get("AUTHZ_MUTANTS", "200"))
ALL = "AUTHZ_MUTANTS" in os.environ
STEP = 1 if ALL else 7  # every so many bytes of the small log: some in each member of each line
RECORDS = 10_000
pytestmark = pytest.mark.timeout(7200 if ALL else 240)
Lines = list[bytes]


def changes_of_a_byte(data: bytes, at: int) -> Iterator[bytes]:
    """Yield the data with one byte in other states, gone, doubled, or behind another."""
    before, one, behind = data[:at], data[at], data[at + 1 :]
    for changed in {one ^ 1, one ^ 0x20, one ^ 0x80, 0, 10, 34, 48} - {one}:
        yield before + bytes((changed,)) + behind
    yield before + behind
    yield before + bytes((one, one)) + behind
    yield before + b"\n" + data[at:]


@cache
def small_log() -> bytes:
    """Return a whole log of two workers, with records of all kinds."""
    logs = [ChainedLog(SIGNER, worker=number, workers=2, records=2, run="r") for number in range(2)]
    logs[0].record(1)
    logs[0].leaf('{"audit":"dropped","count":1,"since":"a","until":"b"}')
    logs[0].record(2)
    logs[0].miss(2, 3)
    for log in logs:
        log.close()
    return b"".join(interleaved(*logs))


def test_each_byte_of_a_small_log(tmp_path: Path) -> None:
    """Each change of each byte of a small, whole log is found, in lines of every kind.

    Without AUTHZ_MUTANTS, one change of each seventh byte.
    """
    data, path = small_log(), tmp_path / "log"
    path.write_bytes(data)
    assert verify_logs([path], VERIFIER).is_proven
    chance = random.Random(3)
    for at in range(0, len(data), STEP):
        mutants = list(changes_of_a_byte(data, at))
        for mutant in mutants if ALL else chance.sample(mutants, 1):
            path.write_bytes(mutant)
            assert not verify_logs([path], VERIFIER).is_proven, (at, mutant[at - 40 : at + 40])


@cache
def long_log() -> Lines:
    """Return the lines of a log of 10,000 records, with a checkpoint for each 50."""
    return full_log(RECORDS, records=50).lines


@cache
def checkpoints() -> list[int]:
    """Return the lines of the long log that are checkpoints."""
    return [at for at, line in enumerate(long_log()) if b'"audit":"checkpoint"' in line]


def window(at: int) -> tuple[int, int]:
    """Return the lines from the checkpoint before a line, or the first line, to the one behind."""
    begin = max((each for each in checkpoints() if each < at), default=0)
    return begin, min(each for each in checkpoints() if each >= at) + 1


def is_found(path: Path, lines: Lines) -> bool:
    """Whether lines of a log are not proven, though the log may begin and end elsewhere."""
    path.write_bytes(b"".join(lines))
    expected = Expected(is_running=True, is_partial=True)
    return not verify_logs([path], VERIFIER, expected).is_proven


def test_the_parts_of_a_long_log_are_proven(tmp_path: Path) -> None:
    """The whole log is proven, and so is each part between two checkpoints."""
    assert verified(tmp_path, long_log()).is_proven
    for at in range(0, len(long_log()), 997):
        begin, end = window(at)
        assert not is_found(tmp_path / "log", long_log()[begin:end])


def test_bytes_of_a_long_log(tmp_path: Path) -> None:
    """A change of any byte of a log of 10,000 records is found: random bytes, random changes."""
    chance = random.Random(19)
    for _ in range(MUTANTS):
        at = chance.randrange(len(long_log()))
        begin, end = window(at)
        line = long_log()[at]
        mutants = list(changes_of_a_byte(line, chance.randrange(len(line))))
        mutant = chance.choice(mutants)
        lines = [*long_log()[begin:at], mutant, *long_log()[at + 1 : end]]
        assert is_found(tmp_path / "log", lines), (at, mutant)


def mutated(lines: Lines, chance: random.Random) -> Lines:
    """Return lines that were cut out, moved, swapped, doubled or joined."""
    one, other = sorted(chance.sample(range(len(lines)), 2))
    return chance.choice(
        (
            lambda: [*lines[:one], *lines[other:]],
            lambda: [*lines[:one], *lines[one + 1 : other + 1], lines[one], *lines[other + 1 :]],
            lambda: [
                *lines[:one],
                lines[other],
                *lines[one + 1 : other],
                lines[one],
                *lines[other + 1 :],
            ],
            lambda: [*lines[: one + 1], lines[one], *lines[one + 1 :]],
            lambda: [*lines[:other], lines[one], *lines[other:]],
            lambda: [*lines[:one], lines[one].rstrip(b"\n") + lines[one + 1], *lines[one + 2 :]],
        )
    )()


def test_lines_of_a_long_log(tmp_path: Path) -> None:
    """Lines of the long log that were cut out, moved, swapped, doubled or joined are found."""
    chance = random.Random(23)
    for _ in range(MUTANTS):
        begin, end = window(chance.randrange(len(long_log())))
        lines = long_log()[begin:end]
        mutant = mutated(lines, chance)
        if not is_end_cut(lines, mutant):
            assert is_found(tmp_path / "log", mutant)


def is_end_cut(lines: Lines, mutant: Lines) -> bool:
    """Whether only the beginning or the end is gone, which a part of a log may lack."""
    return lines[: len(mutant)] == mutant or lines[len(lines) - len(mutant) :] == mutant


def test_a_long_log_as_a_whole(tmp_path: Path) -> None:
    """In the whole log, changed, cut and moved lines are found too, with the place of the first."""
    chance, lines = random.Random(29), long_log()
    for _ in range(MUTANTS // 200):
        at = chance.randrange(len(lines) - 2)
        for mutant in (
            [*lines[:at], next(changes_of_a_byte(lines[at], 30)), *lines[at + 1 :]],
            [*lines[:at], *lines[at + 1 :]],
            [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
            lines[: at + 1],
        ):
            report = verified(tmp_path, mutant)
            assert not report.is_proven
            begin, end = window(at)
            first = min(each.place.line for each in report.findings)
            assert begin < first <= end + 1
