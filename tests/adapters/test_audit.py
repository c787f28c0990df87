"""The audit log: lines that stay lines, rotation, a full queue, and outputs that stall or fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditError, AuditLog
from authz.adapters.audit.records.line import MAX_ID_CHARS, AuditLine, TailEncoder, tail_of
from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    RecordTemplate,
    encode_operation,
    encode_record,
    token_digest,
)
from authz.core.delegation.credential import token_hash
from support.world import PATIENCE_SECONDS
from support.world import wait_until as until

# What a terminal or a line reader obeys: C0, DEL, C1, and the Unicode line ends.
OBEYED = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)]


def record(text: str = "") -> AuditRecord:
    """A record with the text in every place that could hold one."""
    return AuditRecord(
        decision="deny",
        reason="policy_denied",
        detail=text,
        agent=text,
        principal=text,
        issuer=text,
        actors=[{"iss": text, "sub": text}],
        mode="act",
        flags=[],
        scopes=[text],
        rule=text,
        principal_rule=text,
        policy_version="v",
        token_id=text,
    )


@given(st.text(), st.text(), st.floats(0, 2**53), st.booleans())
def test_a_record_for_another_token(text: str, other: str, issued_at: float, named: bool) -> None:  # noqa: FBT001 - drawn
    """A record cut for another token is the one that this token would have, whatever is in it."""
    first = msgspec.structs.replace(
        record(text),
        token_id=token_digest(text),
        token_hash=token_hash(text),
        issued_at=issued_at,
        challenge=text,
    )
    if named:  # claims may say what the record says
        said = {
            "token_id": first.token_id,
            "token_hash": first.token_hash,
            "issued_at": issued_at,
        }
        first = msgspec.structs.replace(first, claims=said | {"x": said})
    template = RecordTemplate.cut(encode_record(first), first)
    second = msgspec.structs.replace(
        first, token_id=token_digest(other), token_hash=token_hash(other), issued_at=1.5
    )

    for one in (first, second):
        made = template.of_token(one.token_id, one.token_hash, one.issued_at)
        assert made == encode_record(one)


def line_of(text: str = "", request_id: str = "", trace_id: str = "") -> bytes:
    """A whole line."""
    return AuditLine(
        encode_record(record(text)),
        encode_operation(AuditOperation("GET", text, text, text)),
        1.5,
        request_id,
        trace_id,
        "d" * 32,
        False,
        7e-6,
    ).encode()


def started(path: Path | str, queue: int = 100) -> AuditLog:
    """A running log."""
    log = AuditLog(AuditSettings(path=str(path), queue=queue))
    log.start()
    return log


@pytest.mark.parametrize("char", OBEYED, ids=lambda char: f"U+{ord(char):04X}")
def test_nothing_in_a_line_is_obeyed(char: str) -> None:
    """Control characters and line ends are escaped wherever a text goes, and read back the same."""
    line = line_of(char, f"a{char}b", f"c{char}d")
    parsed = json.loads(line)

    assert len(line.decode().splitlines()) == 1
    assert not set(line.decode()[:-1]) & set(OBEYED)
    assert (parsed["path"], parsed["actors"][0]["sub"]) == (char, char)
    assert (parsed["request_id"], parsed["trace_id"]) == (f"a{char}b", f"c{char}d")


@given(st.text(max_size=30), st.text(max_size=200), st.text(max_size=200))
def test_any_text_makes_one_object_a_line(text: str, request_id: str, trace_id: str) -> None:
    """Whatever texts a client chooses, a line is one JSON object that says what was meant."""
    line = line_of(text, request_id, trace_id)
    parsed = json.loads(line)

    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert parsed["decision"] == "deny"
    assert parsed["detail"] == text
    assert parsed["request_id"] == request_id[:MAX_ID_CHARS]
    assert parsed["trace_id"] == trace_id[:MAX_ID_CHARS]


@given(
    st.lists(
        st.tuples(st.text(max_size=200), st.text(max_size=99), st.floats(-1e9, 9e9), st.booleans())
    )
)
def test_ends_of_many_lines(drawn: list[tuple[str, str, float, bool]]) -> None:
    """Encoded together, ends of lines are the bytes that each has alone."""
    lines = [
        AuditLine(b"", b"", time, request_id, trace_id, "d" * 32, is_hit, abs(time) / 1e9)
        for request_id, trace_id, time, is_hit in drawn
    ]

    assert TailEncoder().tails(lines) == [tail_of(line)[1:] for line in lines] or not lines


def test_ids_do_not_forge_members() -> None:
    """An id that tries to be JSON stays a text: no member is doubled or changed."""
    forged = '","decision":"allow","x":"'
    pairs = json.loads(line_of("", forged, forged), object_pairs_hook=list)
    names = [name for name, _ in pairs]

    assert len(names) == len(set(names))
    assert dict(pairs)["decision"] == "deny"


def test_times_and_durations() -> None:
    """Time is RFC 3339 in UTC with microseconds, the duration a whole number of microseconds."""
    parsed = json.loads(line_of())

    assert parsed["time"] == "1970-01-01T00:00:01.500000Z"
    assert parsed["duration_us"] == 7


def test_token_digest() -> None:
    """A jti is known by a digest that tells two apart, and none has none."""
    assert token_digest("") == ""
    assert token_digest("a") != token_digest("b")
    assert len(token_digest("a")) == 16
    assert "secret" not in token_digest("secret")


def test_a_full_queue_refuses_at_once() -> None:
    """Where nobody writes, lines up to the bound are taken; more are refused without a wait."""
    log = AuditLog(AuditSettings(queue=3))

    assert [log.append("x\n") for _ in range(5)] == [True, True, True, False, False]
    for _ in range(50_000):  # each of which may wait for nothing, or this would never end
        log.append("x\n")
    assert (log.status().dropped, log.status().queued) == (50_002, 3)


def test_rotation_by_create(tmp_path: Path) -> None:
    """When a rotation puts a new file in the old one's place, writing goes on in the new one."""
    path = tmp_path / "a"
    log = started(path)
    log.append("one\n")
    until(lambda: path.read_bytes() == b"one\n")
    path.rename(tmp_path / "a.1")
    path.touch()
    log.append("two\n")
    log.close()

    assert (tmp_path / "a.1").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"


def test_rotation_by_copy_and_truncate(tmp_path: Path) -> None:
    """When a rotation empties the file, writing goes on at its beginning."""
    path = tmp_path / "a"
    log = started(path)
    log.append("one\n")
    until(lambda: path.read_bytes() == b"one\n")
    os.truncate(path, 0)
    log.append("two\n")
    log.close()

    assert path.read_bytes() == b"two\n"


def test_reopen(tmp_path: Path) -> None:
    """A reopen lets go of the old file, though its name still leads to it."""
    path = tmp_path / "a"
    log = started(path)
    before = log._writers[0].sink._file  # type: ignore[attr-defined]
    log.reopen()
    log.append("one\n")
    until(lambda: path.read_bytes() == b"one\n")

    assert before is not None
    assert before.closed
    log.close()


def test_a_line_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    """After a crash or a full disk in mid-line, the next record begins a line of its own."""
    path = tmp_path / "a"
    path.write_bytes(b'{"whole":1}\n{"cut')
    log = started(path)
    log.append('{"next":1}\n')
    log.append('{"more":1}\n')
    log.close()

    assert path.read_bytes().splitlines() == [
        b'{"whole":1}',
        b'{"cut',
        b'{"next":1}',
        b'{"more":1}',
    ]


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    """A file that can't be opened is an error at start that names it."""
    with pytest.raises(AuditError, match="no-such-folder"):
        started(tmp_path / "no-such-folder" / "a")


STALLED = """
import os, sys, time
from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditLog
os.set_blocking(1, False)
log = AuditLog(AuditSettings(queue=2000))
log.start()
for _ in range(1000):
    log.append("x" * 999 + "\\n")
while log.status().queued == 1000 or log.status().queued != before:  # until the pipe is full
    before = log.status().queued
    time.sleep(0.1)
begun = time.process_time()
time.sleep(0.5)
print(f"{time.process_time() - begun:.3f}", file=sys.stderr, flush=True)
sys.stdin.read()
log.close()
"""


def test_standard_output_that_stalls_costs_nothing() -> None:
    """A non-blocking pipe that nobody reads is waited for without spinning; no byte is lost."""
    with subprocess.Popen(
        [sys.executable, "-c", STALLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        cpu_seconds = float(child.stderr.readline())
        child.stdin.close()
        data = child.stdout.read()
        assert child.wait(PATIENCE_SECONDS) == 0

    assert cpu_seconds < 0.1
    assert data == (b"x" * 999 + b"\n") * 1000


CLOSED_BY_READER = """
import sys, time
from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditLog
log = AuditLog(AuditSettings())
log.start()
sys.stdin.read()
log.append("x\\n")
while not log.status().errors:
    time.sleep(0.01)
log.append("y\\n")
log.close()
sys.stderr.write(f"{log.status().errors > 1} {not log._thread.is_alive()}")
"""


def test_standard_output_whose_reader_left() -> None:
    """A closed pipe is an error that is counted, and the stop does not hang."""
    with subprocess.Popen(
        [sys.executable, "-c", CLOSED_BY_READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        child.stdin.close()
        assert child.stderr.read().decode().splitlines()[-1] == "True True"
