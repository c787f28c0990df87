"""Starts after crashes, stops and rotations: what lies in the log's folder never misleads one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.chain import recovery, tail
from authz.adapters.audit.chain.tail import TailReader, lines_backwards
from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.log import AuditLog
from authz.review.audit_chain.verify import verify_logs
from support.audit_chain import NAME, line, settings_in, verifier
from support.world import wait_until


@contextmanager
def logging_to(settings: AuditSettings, **identity: Any) -> Iterator[AuditLog]:
    """A running log."""
    log = AuditLog(settings, identity=WorkerIdentity(**identity))
    log.start()
    try:
        yield log
    finally:
        log.close()


def run(settings: AuditSettings) -> None:
    """Start, record a decision, stop."""
    with logging_to(settings) as log:
        log.append(line(1))


def killed(folder: Path) -> bytes:
    """The bytes of a log whose process ended at once, just behind a checkpoint."""
    path = folder / "audit.jsonl"
    log = AuditLog(settings_in(folder, {"records": 5, "interval": "60s"}))
    log.start()
    for number in range(4):
        log.append(line(number))
    wait_until(lambda: path.read_bytes().count(b"\n") == 6)
    data = path.read_bytes()
    log.close()
    path.write_bytes(data)
    return data


def errors(folder: Path, *paths: Path) -> list[str]:
    """What verification finds wrong."""
    report = verify_logs(paths or (folder / "audit.jsonl",), verifier(folder))
    found = [text for text in report.lines() if ": error: " in text]
    assert report.is_proven is not bool(found)
    return found


def test_a_closed_log_is_not_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much others write behind a log that was closed, the next start leaves it so."""
    monkeypatch.setattr(recovery, "ORPHAN_BYTES", 1000)
    run(settings_in(tmp_path))
    run(settings_in(tmp_path, {"name": "another"}))
    run(settings_in(tmp_path))

    assert errors(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 2, 300])
def test_a_crash_in_a_checkpoint(tmp_path: Path, cut: int) -> None:
    """A checkpoint that lacks its end is half a line; one that lacks its line feed counts."""
    (tmp_path / "audit.jsonl").write_bytes(killed(tmp_path)[:-cut])
    run(settings_in(tmp_path))

    assert errors(tmp_path) == []


def test_a_crash_when_a_file_is_begun(tmp_path: Path) -> None:
    """Half of the checkpoint that begins a file is named by the log in the file before."""
    data, path, moved = killed(tmp_path), tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    path.rename(moved)
    path.write_bytes(data.splitlines()[-1][:100])
    run(settings_in(tmp_path))

    assert errors(tmp_path, moved, path) == []
    path.write_bytes(b'{"another\n' + path.read_bytes())
    assert len(errors(tmp_path, moved, path)) == 1


def test_a_witness_is_no_rotated_file(tmp_path: Path) -> None:
    """A start after a rotation closes nothing in the file of a witness, whatever its name."""
    path, moved, witness = (tmp_path / f"audit.jsonl{end}" for end in ("", ".1", ".witness"))
    settings = settings_in(tmp_path, {"witnesses": ({"file": str(witness)},)})
    run(settings)
    path.rename(moved)
    os.utime(moved, (1e9, 1e9))
    run(settings)

    assert errors(tmp_path, moved, path) == []
    assert b'"audit":"closed"' not in witness.read_bytes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_rotated_file_of_another_user(tmp_path: Path) -> None:
    """A file beside the log that the server may not change does not prevent a start."""
    copy = tmp_path / "audit.jsonl.old"
    run(settings_in(tmp_path))
    shutil.copy(tmp_path / "audit.jsonl", copy)
    (tmp_path / "audit.jsonl").unlink()
    copy.chmod(0o400)
    run(settings_in(tmp_path))

    assert errors(tmp_path) == []


def test_what_a_loss_of_power_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros at the end of a file are read once, and are no line."""
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"one\n" + bytes(5000) + b"\ntwo\n\nthr")
    monkeypatch.setattr(tail, "BLOCK_BYTES", 7)
    monkeypatch.setattr(tail, "MAX_LINE_BYTES", 20)
    with path.open("rb") as file:
        lines = [text for text, _ in lines_backwards(file.fileno()) if text]

    assert lines == [b"thr", b"two", b"one"]


def test_old_lines_take_no_memory(tmp_path: Path) -> None:
    """Of lines from before the chain was on, a start keeps few hashes."""
    reader = TailReader(NAME, 0, 1, verifier(tmp_path))
    for number in range(1000):
        reader.feed(b'{"decision":"allow","number":%d}' % number)

    assert len(reader.torn) == tail.MAX_TORN
