"""The grammar of syslog messages (RFC 5424 section 6), held to a reader of its own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.audit.sinks.syslog_message import (
    MAX_SEQUENCE_ID,
    Originator,
    escape,
    next_sequence_id,
)

# RFC 5424 section 6 and RFC 6587 section 3.4.1, as a regular expression over bytes.
_PRINTABLE = rb"[!-~]"
_PARAM = rb'[!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*"'
_ELEMENT = rb"\[[!#-<>-\\^-~]{1,32}(?: " + _PARAM + rb")*\]"
_STAMP = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z"
_MESSAGE = re.compile(
    rb"<(?P<pri>0|[1-9][0-9]{0,2})>1 (?P<time>-|"
    + _STAMP
    + rb") (?P<host>"
    + _PRINTABLE
    + rb"{1,255}) "
    rb"(?P<app>" + _PRINTABLE + rb"{1,48}) (?P<proc>" + _PRINTABLE + rb"{1,128}) "
    rb"(?P<id>" + _PRINTABLE + rb"{1,32}) (?P<data>(?:" + _ELEMENT + rb")+) (?P<msg>.*)",
    re.DOTALL,
)
_FRAME = re.compile(rb"([1-9][0-9]*) (.*)", re.DOTALL)


def read(frame: bytes) -> dict[str, bytes]:
    """Return the fields of a framed message."""
    counted = _FRAME.fullmatch(frame)
    assert counted
    assert int(counted[1]) == len(counted[2])
    fields = _MESSAGE.fullmatch(counted[2])
    assert fields, counted[2]
    return fields.groupdict()


@given(st.binary().filter(lambda line: b"\n" not in line), st.text(max_size=300))
def test_any_line(line: bytes, hostname: str) -> None:
    """Whatever line and host's name are, the message is well-formed and ends in the line."""
    fields = read(Originator(13, hostname, 7).frame(line, 1))

    assert fields["msg"].endswith(line)
    assert fields["msg"] == (line if line.isascii() else b"\xef\xbb\xbf" + line)


@pytest.mark.parametrize(
    ("written", "stamp"),
    [
        ("2026-11-29T16:45:00.123456Z", "2026-11-29T16:45:00.123456Z"),
        ("2026-11-29T16:45:00Z", "2026-11-29T16:45:00Z"),
        ("2026-11-29T16:45:00.1234567Z", "-"),
        ("2026-11-29t16:45:00z", "-"),
        ("2026-11-29 16:45:00Z", "-"),
        ("٢026-11-29T16:45:00Z", "-"),
        ("", "-"),
    ],
)
def test_timestamp(written: str, stamp: str) -> None:
    """The record's time is the timestamp, if it has the form that RFC 5424 section 6.2.3 allows."""
    line = f'{{"decision":"allow","time":"{written}"}}'.encode()

    assert read(Originator(13, "h", 7).frame(line, 1))["time"] == stamp.encode()


@pytest.mark.parametrize(
    ("line", "message_id"),
    [
        (b'{"decision":"allow"}', b"decision"),
        (b'{"audit":"checkpoint","log":"a"}', b"audit.checkpoint"),
        (
            b'{"audit":"a b\\u00e9 and much more than there is room for"}',
            b"audit.a?b??and?much?more?than?th",
        ),
        (b"{}", b"-"),
        (b'{"audit":7}', b"-"),
        (b"", b"-"),
    ],
)
def test_message_id(line: bytes, message_id: bytes) -> None:
    """MSGID says what the line is about."""
    assert read(Originator(13, "h", 7).frame(line, 1))["id"] == message_id


def test_hostname_that_is_missing() -> None:
    """A machine without a name sends the nil value."""
    assert read(Originator(13, "", 7).frame(b"{}", 1))["host"] == b"-"


def test_sequence_id_begins_again() -> None:
    """The number after the largest is 1 (RFC 5424 section 7.3.1)."""
    assert next_sequence_id(0) == 1
    assert next_sequence_id(MAX_SEQUENCE_ID - 1) == MAX_SEQUENCE_ID
    assert next_sequence_id(MAX_SEQUENCE_ID) == 1


@given(st.text())
def test_escape(value: str) -> None:
    r"""Every ``"``, ``\`` and ``]`` of a value has a backslash before it, and nothing else has."""
    escaped = escape(value)

    assert re.fullmatch(r'(?:[^"\\\]]|\\["\\\]])*', escaped)
    assert re.sub(r'\\(["\\\]])', r"\1", escaped) == value
