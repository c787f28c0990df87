"""Filters: patterns match whole texts, and no record that fits is passed over unread."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.review.audit_reading.entry import Entry, read_entry
from authz.review.audit_reading.filters import Filters, TextPattern
from authz.review.audit_reading.found import PassedOver, find_records
from support.audit_lines import AGENT, START, audit_line

LINE = audit_line(5, reason="policy_denied", rule="finance-read/0", tool="book", principal="bób")
TEXTS = st.text(alphabet="ab*", max_size=8)


@given(TEXTS, st.text(alphabet="ab", max_size=12))
def test_patterns(pattern: str, text: str) -> None:
    """A star is any text, and the rest stands for itself."""
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text)

    assert TextPattern(pattern).fits(text) == bool(expected)


def test_a_pattern_takes_linear_time() -> None:
    """A pattern that would make a regular expression search for years is quick."""
    assert not TextPattern("*a" * 200 + "*b").fits("a" * 20_000)


@pytest.mark.parametrize(
    ("name", "fitting", "other"),
    [
        ("agent", AGENT, "spiffe://corp.example/ns/agents/sa/trave"),
        ("agent", "*/travel", "*/travels"),
        ("principal", "b*b", "bob"),
        ("reason", "policy_*", "token_*"),
        ("rule", "finance-read/0", "finance-read"),
        ("tool", "book", "boo"),
        ("decision", "deny", "allow"),
        ("decision_id", "d-5", "d-50"),
        ("trace", "", "0af7"),
    ],
)
def test_each_filter(name: str, fitting: str, other: str) -> None:
    """Each filter compares its own member, whole."""
    entry = read_entry(LINE)
    assert isinstance(entry, Entry)
    for text, fits in ((fitting, True), (other, False)):
        filters = Filters({name: (TextPattern(text),)})
        assert filters.fits(entry) is fits
        assert filters.may_fit(LINE) or not fits
        either = Filters({name: (TextPattern("?"), TextPattern(text))})
        assert either.fits(entry) is fits


def test_a_period() -> None:
    """The period begins with its first moment, and ends before its last."""
    entry = read_entry(LINE)
    assert isinstance(entry, Entry)
    moment, second = datetime.fromtimestamp(START + 5, UTC), timedelta(seconds=1)

    assert Filters(since=moment, until=moment + second).fits(entry)
    assert not Filters(since=moment + second).fits(entry)
    assert not Filters(until=moment).fits(entry)


def test_escaped_texts_are_found() -> None:
    """A record is found by a text that another writer has escaped."""
    line = LINE.replace(b'"book"', b'"b\\u006fok"').replace("bób".encode(), b"b\\u00f3b")
    filters = Filters({"tool": (TextPattern("book"),), "principal": (TextPattern("bób"),)})

    assert [one.line for one in find_records([("a", 1, line)], filters, PassedOver())] == [line]


def test_what_is_passed_over_is_counted() -> None:
    """Invalid lines are counted with their places, and what the log says about itself is told."""
    lines = [b"x", b"y", b'{"audit":"dropped","count":7}', b'{"audit":"gap"}', LINE, b"z", b"0"]
    passed = PassedOver()
    found = list(
        find_records([("a", at, one) for at, one in enumerate(lines, 1)], Filters(), passed)
    )

    assert [one.line for one in found] == [LINE]
    told = "\n".join(passed.lines())
    assert "lines that are not audit records: 4, such as a:1: " in told
    assert "; a:2: " in told
    assert "a:7" not in told
    assert "as it tells: 7" in told
    assert "lists them): 1" in told


@given(st.text(max_size=6), st.booleans())
def test_no_fitting_line_is_passed_over(text: str, is_ascii: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """A line that has a text in any form of JSON may fit, alone and among others."""
    line = json.dumps({"agent": f"a{text}b"}, ensure_ascii=is_ascii).encode(
        "utf-8", "surrogatepass"
    )
    for line_of in (line, line.replace(b"/", b"\\/")):
        filters = Filters({"agent": (TextPattern(f"a{text}b"), TextPattern("?"))})
        assert filters.may_fit(line_of)
        assert filters.may_fit(b"{}\n" * 3 + line_of)
    assert not Filters({"agent": (TextPattern("xyz"),)}).may_fit(b'{"agent":"a\\"b"}')
