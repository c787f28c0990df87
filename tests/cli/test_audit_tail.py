"""``authz audit tail``: the last records of any log, followed across whatever happens to files."""

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from authz.review.audit_files import AuditLogs, last_lines
from support.audit_lines import AGENT, audit_line, write_log
from support.verbs import run

SECONDS = 60.0
TAIL = [sys.executable, "-m", "authz", "audit", "tail"]


def ids(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the decision IDs of the records that were printed unchanged."""
    return [json.loads(line)["decision_id"] for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 30 records, d-0 to d-29, each third a refusal."""
    lines = [audit_line(at, reason="" if at % 3 else "policy_denied") for at in range(30)]
    return write_log(tmp_path / "audit.jsonl", lines)


def test_a_line_a_record(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records are aligned lines of time, answer, agent, principal, decision ID and operation."""
    assert run("audit", "tail", str(log), "-n", "2") == 0
    agent = AGENT.removeprefix("spiffe://")
    end = "GET mcp.corp.example/finance/balance"
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"2025-11-29 07:07:08.000  allow  {agent}  alice  d-28  {end}",
        f"2025-11-29 07:07:09.000  allow  {agent}  alice  d-29  {end}",
    ]
    assert told.err == ""

    assert run("audit", "tail", str(log), "-n", "3") == 0
    starts = {line.index(agent) for line in capsys.readouterr().out.splitlines()}
    assert len(starts) == 1


def test_the_default_is_ten(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without -n the last 10 are listed, and with --since all from then on."""
    run("audit", "tail", str(log), "--json")
    assert ids(capsys) == [f"d-{at}" for at in range(20, 30)]
    run("audit", "tail", str(log), "--json", "--since", "2025-11-29T07:06:45Z")
    assert ids(capsys) == [f"d-{at}" for at in range(5, 30)]
    run("audit", "tail", str(log), "--json", "--since", "2025-11-29T07:06:45Z", "-n", "1")
    assert ids(capsys) == ["d-29"]


def test_filters(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Different filters must all fit, and a filter given twice takes either text."""
    run("audit", "tail", str(log), "--json", "--decision", "deny", "-n", "2")
    assert ids(capsys) == ["d-24", "d-27"]
    flags = ("--agent", "nobody", "--agent", "*/travel", "--principal", "alice", "-n", "1")
    run("audit", "tail", str(log), "--json", *flags)
    assert ids(capsys) == ["d-29"]
    assert run("audit", "tail", str(log), *flags, "--principal", "bob", "--reason", "scope") == 1
    assert capsys.readouterr() == (
        "",
        "authz: no record fits; an agent is a SPIFFE ID: try --agent '*/nobody'\n",
    )


def test_mistaken_filters(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason that is not in the list is a usage error; a short agent or rule gets a hint."""
    for flags in (("--reason", "policy_deny"), ("--since", "1h", "--until", "2h")):
        with pytest.raises(SystemExit, match="2"):
            run("audit", "tail", str(log), *flags)
    assert "did you mean policy_denied?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("audit", "tail", str(log), "--since", "yesterday")
    assert "neither a time such as" in capsys.readouterr().err
    assert run("audit", "tail", str(log), "--agent", "travel", "--rule", "finance-read") == 1
    told = capsys.readouterr().err
    assert "try --agent '*/travel'" in told
    assert "try --rule 'finance-read/*'" in told


def test_unchanged(log: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """With --json a record is the bytes of the log."""
    run("audit", "tail", str(log), "--json", "-n", "30")
    assert capsysbinary.readouterr().out == log.read_bytes()


def test_hostile_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal obeys nothing that a record holds, in any form of output."""
    hostile = "\x1b[2J\u202e\x9b31m\u2028\r\n" + "x" * 5000
    line = audit_line(1, host=hostile, path=hostile, agent=hostile, principal=hostile)
    raw = line.replace(b"\\u009b", "\x9b".encode())
    log = write_log(tmp_path / "a", [raw])
    for flags in ((), ("--json",)):
        assert run("audit", "tail", str(log), *flags) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        assert not {"\x1b", "\x9b", "\u2028", "\r"} & set(out)
        assert len(out) < 30_000
    assert run("audit", "show", "d-1", str(log)) == 0
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_several_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The records of several logs, plain and packed, are in the order of their times."""
    new = write_log(tmp_path / "audit.jsonl", [audit_line(at) for at in (4, 6, 8)])
    old = tmp_path / "audit.jsonl.1.gz"
    old.write_bytes(gzip.compress(b"".join(audit_line(at) for at in (1, 2, 5))))
    for flags in (("-n", "5"), ("--since", "2025-11-29T07:06:42Z")):
        assert run("audit", "tail", str(new), str(old), "--json", *flags) == 0
        assert ids(capsys) == ["d-2", "d-4", "d-5", "d-6", "d-8"]


def test_standard_input(log: Path) -> None:
    """A lone - is standard input."""
    done = subprocess.run(
        [*TAIL, "-", "-n", "1"], input=log.read_bytes(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"d-29" in done.stdout


def test_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last records of a large plain log are read without what is before them."""
    log = tmp_path / "audit.jsonl"
    with log.open("wb") as file:
        file.write(audit_line(0))
        file.seek(1 << 34)  # a file with a hole: reading it would take a minute
        file.write(b"\n" + audit_line(1) + audit_line(2))
    monkeypatch.setattr(AuditLogs, "lines_of", None)
    assert run("audit", "tail", str(log), "-n", "2") == 0


def test_last_lines(tmp_path: Path) -> None:
    """Lines read from the end are those read from the beginning, however blocks fall."""
    lines = [b"%d" % at * (at % 50) for at in range(30_000)]
    path = tmp_path / "lines"
    path.write_bytes(b"\n\n".join(lines))
    with path.open("rb") as file:
        found = list(last_lines(file, path.stat().st_size))
    assert found == [line for line in lines[::-1] if line]


def test_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not an audit log is told; of a log without records, nothing fits."""
    other = tmp_path / "other"
    other.write_text("trust_domains: []\n")
    assert run("audit", "tail", str(other)) == 1
    assert "is not an audit log but a config" in capsys.readouterr().err
    opened = write_log(tmp_path / "opened", [b'{"audit":"opened","log":"a/0/b","index":0}\n'])
    assert run("audit", "tail", str(opened)) == 1
    assert capsys.readouterr().err == "authz: no record fits\n"
    assert run("audit", "tail", str(tmp_path / "absent")) == 1
    assert "absent can't be read: No such file" in capsys.readouterr().err


@contextmanager
def following(*arguments: object, stdin: int | IO[bytes] | None = None) -> Iterator[IO[bytes]]:
    """Follow logs; yields the output, and interrupts at the end, silently with status 130."""
    command = [*TAIL, *map(str, arguments), "--follow", "--json"]
    process = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
        assert (process.returncode, said) == (130, b"")
    finally:
        process.kill()
        process.wait()


def next_id(output: IO[bytes]) -> str:
    """Wait for a record, and return its decision ID."""
    return str(json.loads(output.readline())["decision_id"])


def test_follow(log: Path) -> None:
    """What is added is printed at once, across a cut line, a rotation and a truncation."""
    with following(log, "-n", "1") as output:
        assert next_id(output) == "d-29"
        with log.open("ab") as file:
            file.write(audit_line(30)[:100])
            file.flush()
            file.write(audit_line(30)[100:] + audit_line(31))
        assert [next_id(output), next_id(output)] == ["d-30", "d-31"]
        log.rename(log.with_suffix(".1"))
        with log.with_suffix(".1").open("ab") as file:
            file.write(audit_line(32))
        assert next_id(output) == "d-32"
        write_log(log, [audit_line(33), audit_line(34), audit_line(35)])
        assert [next_id(output) for _ in range(3)] == ["d-33", "d-34", "d-35"]
        write_log(log, [audit_line(36)])  # in place of what the file had
        assert next_id(output) == "d-36"


def test_follow_filters(log: Path) -> None:
    """Filters hold for what is added, too; --since lists what was there from then on."""
    since = "2025-11-29T07:07:04Z"
    with following(log, "--reason", "policy_*", "--since", since) as output:
        assert [next_id(output), next_id(output)] == ["d-24", "d-27"]
        with log.open("ab") as file:
            file.write(audit_line(30) + audit_line(31, reason="policy_denied"))
        assert next_id(output) == "d-31"


def test_follow_a_file_that_comes_later(tmp_path: Path) -> None:
    """A log that is not there yet is awaited, and that is said."""
    log = tmp_path / "audit.jsonl"
    command = [*TAIL, str(log), "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"audit.jsonl is not there: waiting" in process.stderr.readline()
        write_log(log, [audit_line(1)])
        assert next_id(process.stdout) == "d-1"
        process.kill()


def test_follow_a_pipe_to_its_end() -> None:
    """A pipe is followed until its writer ends, and then the verb ends, fine."""
    process = subprocess.Popen(
        [*TAIL, "-", "--follow", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(audit_line(1))
    assert next_id(process.stdout) == "d-1"
    process.stdin.write(b"{cut" + b"\n" + audit_line(2).rstrip())
    process.stdin.close()
    assert next_id(process.stdout) == "d-2"
    assert process.wait(SECONDS) == 0
    process.stdout.close()


def test_a_reader_that_leaves(log: Path) -> None:
    """If the reader of the output leaves, the verb ends silently, even if nothing is added."""
    command = [*TAIL, str(log), "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"d-20" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 1
