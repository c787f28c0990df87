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


def test_endless_nesting() -> None:
    """A line that is nested too deep to be read is no record, in its beginning and in its end."""
    deep = b"[" * 100_000 + b"]" * 100_000
    line = audit_line(1).rstrip()[:-1]
    for bad in (
        line + b',"x":' + deep + b"}",
        line.replace(b',"time":', b',"x":' + deep + b',"time":'),
    ):
        assert isinstance(EntryReader().read(bad + b"\n"), str)
