"""Audit logs as files of lines: whatever way they come, all that read them see the same."""

import gzip
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz import cli
from authz.review.audit_files import LINES_BETWEEN_NEWS, AuditLogs, LogError
from support.world import World


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log of a service that allowed one request, and its config beside it."""
    with World(tmp_path) as world:
        world.ask(world.token())
        assert len(world.audit_records()) == 1
        (tmp_path / "c.yaml").write_text(world.config_text)
        yield world.audit_path


def authz(log: Path, *arguments: str) -> int:
    """Run a verb with the config."""
    verb, *more = arguments
    return cli.main([verb, str(log.with_name("c.yaml")), *more])


def test_packed(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that was rotated and packed reads as the plain one, by every verb, beside others."""
    packed = log.with_name("old.gz")
    packed.write_bytes(gzip.compress(log.read_bytes()) + gzip.compress(log.read_bytes()))
    both = ["--audit", str(packed), "--audit", str(log)]
    assert authz(log, "replay", *both) == 0
    assert "unchanged: 3" in capsys.readouterr().out
    assert authz(log, "suggest", *both) == 0
    assert "From 3 records" in capsys.readouterr().out
    decision_id = log.read_text().split('"decision_id":"')[1][:32]
    assert authz(log, "explain", "--audit", str(packed), "--decision-id", decision_id) == 0


def test_packed_and_cut(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A packed log that breaks off is told: what is missing could be what would be allowed."""
    packed = log.with_name("cut.gz")
    packed.write_bytes(gzip.compress(log.read_bytes())[:-9])
    for verb in ("replay", "suggest"):
        assert authz(log, verb, "--audit", str(packed)) == 1
        assert "ended before the end" in capsys.readouterr().err


def test_pipes(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe is read twice where that is needed: a second reading of nothing would pass all."""
    pipe = log.with_name("pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(log.read_bytes()))
    writer.start()
    assert authz(log, "replay", "--audit", str(pipe)) == 0
    writer.join()
    assert "unchanged: 1" in capsys.readouterr().out


def test_standard_input(log: Path) -> None:
    """A lone - is standard input."""
    command = [sys.executable, "-m", "authz", "replay", str(log.with_name("c.yaml")), "--audit"]
    done = subprocess.run(
        [*command, "-"], input=log.read_text(), text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unchanged: 1" in done.stdout


def test_no_record_proves_nothing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no record was read, nothing is unchanged and nothing unused: it is told, and 1."""
    empty = log.with_name("empty")
    empty.write_text("\n")
    for verb in ("replay", "suggest"):
        assert authz(log, verb, "--audit", str(empty)) == 1
        told = capsys.readouterr()
        assert "no record was read" in told.err
        assert "never used" not in told.out


def test_a_folder() -> None:
    """A folder in place of a file is told as such."""
    with pytest.raises(LogError, match="Is a directory"):
        list(AuditLogs([Path("/")]).lines())


def test_how_far(tmp_path: Path) -> None:
    """A long reading tells how far it is."""
    path = tmp_path / "long"
    path.write_text('{"decision":"x"}\n' * (3 * LINES_BETWEEN_NEWS))
    told: list[tuple[Path, float]] = []
    for _ in AuditLogs([path], lambda *news: told.append(news)).lines():
        pass
    assert [one for one, _ in told] == [path] * 3
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0.0 < shares[0] < shares[-1] <= 1.0


def test_interrupted(log: Path) -> None:
    """Ctrl-C ends a reading at once, with its own status and without a trace."""
    pipe = log.with_name("pipe")
    os.mkfifo(pipe)
    # A shell has its background jobs ignore Ctrl-C, and their children with them.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "authz", "suggest"]
    with subprocess.Popen(
        [*command, str(log.with_name("c.yaml")), "--audit", str(pipe)],
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        with pipe.open("w"):  # opens once the child has
            child.send_signal(signal.SIGINT)
            assert child.communicate()[1] == ""
        assert child.returncode == 130


def test_lines_of_the_log_about_itself(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checkpoints and the like are no invalid lines, and what they tell to be missing is told."""
    own = (
        b'{"audit":"opened","log":"a/0/b","index":0}\n',
        b'{"audit":"dropped","count":17,"log":"a/0/b","index":1}\n',
        b'{"audit":"gap","from":3,"to":5}\n',
        b'{"audit":"checkpoint","size":2}\n',
    )
    records, log = log.read_bytes(), log.with_name("own.jsonl")
    log.write_bytes(b"".join(own) + records)
    assert authz(log, "replay", "--audit", str(log)) == 0
    told = capsys.readouterr().out
    assert "bad lines" not in told
    assert "warning: records that the server dropped, as it tells: 17\n" in told
    assert "warning: gaps that the server tells of" in told
    assert authz(log, "suggest", "--audit", str(log)) == 0
    told = capsys.readouterr().out
    assert "# From 1 records; 0 invalid lines" in told
    assert "# records that the server dropped, as it tells: 17\n" in told
    log.write_bytes(b'{"audit":"opened","decision":"allow"}\n{"audit":["opened"]}\n' + own[0])
    assert authz(log, "replay", "--audit", str(log)) == 1
    assert "bad lines: 2" in capsys.readouterr().out
