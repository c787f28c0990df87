"""Records for people have one reading, whether their beginning was read before or not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.review.audit_reading.entry import Entry, read_entry
from authz.review.audit_reading.entry_reader import EntryReader
from support.audit_lines import audit_line

LINES = [audit_line(1), audit_line(2, reason="policy_denied", tool="book"), audit_line(3, host="é")]
OWN = b'{"audit":"dropped","count":17,"since":"x","log":"a/0/b","index":9}\n'
PIECES = [
    *(b'{"decision":"allow"', b'"agent":"a"', b'"agent":"b"', b'"\\u0061gent":"c"', b'"time":7'),
    *(b'"time":"2025-11-29T07:06:41Z"', b'"time":"2025-11-29T07:06:41"', b'"cache":"hit"'),
    *(b'"claims":{"x":1', b'"time":"y"}', b"}", b"}\n", b" ", b'"decision":"deny"', b'"audit":"x"'),
]


def test_what_servers_write() -> None:
    """The members of a record are read, and a line of the log about itself is told from it."""
    entry = read_entry(LINES[1])

    assert isinstance(entry, Entry)
    assert (entry.reason, entry.tools, entry.decision_id) == ("policy_denied", ["book"], "d-2")
    assert entry.operation == "GET mcp.corp.example/finance/balance tools/call book"
    own = read_entry(OWN)
    assert isinstance(own, Entry)
    assert (own.audit, own.count) == ("dropped", 17)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"decision":"allow","agent":"a","agent":"b","time":"2025-11-29T07:06:41Z"}', "twice"),
        (b'{"decision":"allow","agent":"a","time":"2025-11-29T07:06:41Z","agent":"b"}', "twice"),
        (b'{"decision":"allow","time":"2025-11-29T07:06:41Z","\\u0074ime":""}', "twice"),
        (b'{"decision":"allow","time":"2025-11-29T07:06:41Z","more":{"a":1,"a":2}}', "twice"),
        (b'{"decision":"perhaps","time":"2025-11-29T07:06:41Z"}', "decision is invalid"),
        (b'{"decision":"allow","time":"2025-11-29T07:06:41"}', "its time"),
        (b'{"decision":"allow"}', "its time"),
        (b'{"audit":"opened","decision":"allow"}', "its time"),
        (b'{"audit":1}', "audit"),
        (b"[]", "not an audit record"),
        (b"nonsense", "not an audit record"),
        (b'{"a":' * 100_000, "not an audit record"),
        (b'{"decision":"allow","x":' + b"9" * 500_000 + b"}", "number is too long"),
    ],
)
def test_what_is_no_record(line: bytes, why: str) -> None:
    """A line with two readings, or of another kind, is invalid, however it is read."""
    reader = EntryReader()
    for told in (read_entry(line), reader.read(line), reader.read(line)):
        assert isinstance(told, str)
        assert why in told


@given(st.lists(st.sampled_from([*PIECES, *LINES]), max_size=7), st.booleans())
def test_known_beginnings_change_nothing(pieces: list[bytes], is_joined: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """A line is read alike when its beginning was read before, whatever the line is."""
    line = (b"," if is_joined else b"").join(pieces)
    reader = EntryReader()
    outcomes: list[Any] = [read_entry(line), reader.read(line), reader.read(line)]

    assert [isinstance(one, str) for one in outcomes] in ([True] * 3, [False] * 3)
    if not isinstance(outcomes[0], str):
        assert outcomes[0] == outcomes[1] == outcomes[2]


@given(st.data())
def test_mutants(data: st.DataObject) -> None:
    """A record with some bytes changed is read alike by both."""
    line = bytearray(data.draw(st.sampled_from(LINES)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(line) - 1))
        line[at : at + 1] = data.draw(st.sampled_from([b"", b'"', b",", b"}", b"\\", b"x", b" "]))
    reader = EntryReader()
    for original in LINES:
        reader.read(original)
    plain, known = read_entry(bytes(line)), reader.read(bytes(line))

    assert isinstance(plain, str) == isinstance(known, str)
    assert isinstance(plain, str) or plain == known


def test_endless_nesting() -> None:
    """A line that is nested too deep to be read is no record, in its beginning and in its end."""
    deep = b"[" * 100_000 + b"]" * 100_000
    line = audit_line(1).rstrip()[:-1]
    for bad in (
        line + b',"x":' + deep + b"}",
        line.replace(b',"time":', b',"x":' + deep + b',"time":'),
    ):
        assert isinstance(EntryReader().read(bad + b"\n"), str)
