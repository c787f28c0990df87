"""Strict JSON: what every reader reads alike is read as the standard library reads it."""

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from authz.core.strict_json import (
    MAX_DEPTH,
    MAX_NUMBER_CHARS,
    MAX_ODD_VALUES,
    StrictJsonError,
    loads,
)

# The places of a document where a value can stand.
PLACES = ["{}", "[{}]", "[0,{}]", '{"x":{}}', '{"x":[{}]}', '{"x":{"y":[[],{}]}}']


def is_refused(text: str | bytes) -> bool:
    """Whether the document is refused, by our own error."""
    try:
        loads(text.encode() if isinstance(text, str) else text)
    except StrictJsonError:
        return True
    return False


def at(place: str, value: str) -> str:
    """The document with the value in its place."""
    head, _, tail = place.rpartition("{}")
    return head + value + tail


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "value",
    [
        '{"a":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a":1,"b":2,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"":1,"":2}',
        '{"a":{"a":1,"a":2}}',
        '{"a" :1,"a":2}',
        '{"a":":","a":1}',
        '{"a":1,"a":":"}',
        '{"a":{"b":1},"a":1}',
        '{"a":[{"b":1,"b":":"}],":":1}',
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1" * (MAX_NUMBER_CHARS + 1),
        "-" + "1" * MAX_NUMBER_CHARS,
        "0." + "1" * MAX_NUMBER_CHARS,
        "1" * 100_000,
        '"\\ud800"',
        '"\\udc00"',
        '"a\\uD83Db"',
        '"\\udc00\\ud800"',
        '"\\\\\\ud800"',
        '{"\\ud800":1}',
        '{"x":"\\udfff"}',
        '"\\u00"',
        '"\\x41"',
        '"\n"',
        '"\x00"',
        '"\x1f"',
        "01",
        "+1",
        ".5",
        "1.",
        "0x1",
        "1_0",
        "\u0661",
        "True",
        "nul",
        "'a'",
        "{a:1}",
        "[1,]",
        '{"a":1,}',
        "//x\n1",
        "1 2",
    ],
)
def test_refused_at_every_level(place: str, value: str) -> None:
    """Doubled members, numbers that are none, half characters and loose syntax are refused."""
    assert is_refused(at(place, value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"\\\\ud800"', "\\ud800"),
        ('"\\u0000"', "\x00"),
        ('{"a":1,"A":2}', {"a": 1, "A": 2}),
        ('[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        ('{"a":{"a":1}}', {"a": {"a": 1}}),
        ('{"\\u00e9":1,"e\\u0301":2}', {"\u00e9": 1, "e\u0301": 2}),
        (" \t\r\n[ ]\n", []),
        ("1e-999", 0.0),
        ("-0", 0),
        (str(2**64), 2**64),
        ("9" * MAX_NUMBER_CHARS, int("9" * MAX_NUMBER_CHARS)),
        ("true", True),
        ("null", None),
    ],
)
def test_accepted(text: str, value: object) -> None:
    """What is unusual but means one thing is read."""
    assert loads(text.encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"\x00{\x00}",
        b"{\x00}\x00",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\xc3"',
        b'"\xe9"',
    ],
)
def test_only_utf8(data: bytes) -> None:
    """No bytes, a byte order mark, another encoding and what is not UTF-8 are refused."""
    assert is_refused(data)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth(opening: str, closing: str) -> None:
    """The bound on depth is what it says, and far beyond it nothing breaks."""
    for levels in (1, MAX_DEPTH):
        assert not is_refused(opening * levels + "1" + closing * levels)
    for levels in (MAX_DEPTH + 1, 1000, 100_000):
        assert is_refused(opening * levels + "1" + closing * levels)
        assert is_refused(opening * levels)


@pytest.mark.parametrize("depth", [1, 2, 32])
def test_depth_of_the_caller(depth: int) -> None:
    """A caller may set the bound; it counts what is nested, not brackets beside or in texts."""
    wide = "[" * (depth - 1) + "[" + ",".join(['"[[{{"'] * 40) + "]" + "]" * (depth - 1)
    deeper = "[" + ",".join(["1"] * 40 + ["[" * depth + "]" * depth]) + "]"
    mixed = '[{"x":' * depth + "1" + "}]" * depth

    assert loads(wide.encode(), depth) == json.loads(wide)
    assert loads(mixed.encode(), 2 * depth) == json.loads(mixed)
    for text, bound in ((deeper, depth), (mixed, 2 * depth - 1)):
        with pytest.raises(StrictJsonError, match=f"deeper than {bound} levels"):
            loads(text.encode(), bound)


@pytest.mark.parametrize("text", ['{"needle":1,"needle":2}', '"needle', '["needle",NaN]', "needle"])
def test_errors_do_not_repeat_the_document(text: str) -> None:
    """A document can be a token's: its words are in no error, nor in the error's cause."""
    with pytest.raises(StrictJsonError) as caught:
        loads(text.encode())

    assert "needle" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


def depth(value: object) -> int:
    """How deep a value is nested."""
    if isinstance(value, dict):
        return 1 + max((depth(one) for one in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth(one) for one in value), default=0)
    return 0


@given(VALUES, st.booleans())
def test_reads_what_is_written(value: Any, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    """What the standard library writes, escaped or not, is read as it was."""
    assume(depth(value) <= MAX_DEPTH)

    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


FRAGMENTS = st.lists(
    st.sampled_from(
        [*'{}[],:"1-. ', '"a"', '"\\ud800"', "\\u", "e9", "e999", "9" * 40, "NaN", "true", "\ufeff"]
    ),
    max_size=9,
).map("".join)


@given(FRAGMENTS.map(str.encode) | st.binary(max_size=40))
def test_agrees_with_the_standard_library(data: bytes) -> None:
    """Any bytes are read or refused, and what is read is exactly what json.loads reads."""
    try:
        value = loads(data)
    except StrictJsonError:
        return
    other = json.loads(data)

    assert value == other
    assert json.dumps(value) == json.dumps(other)
    assert all(math.isfinite(number) for number in numbers(value))


def numbers(value: object) -> list[float]:
    """Every number in a value."""
    if isinstance(value, dict):
        return [number for one in value.values() for number in numbers(one)]
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [value] if isinstance(value, int | float) else []


MANY = ",".join(["1"] * MAX_ODD_VALUES)


@pytest.mark.parametrize(
    "text",
    [
        *("\\n", "\\u00e9", "\\ud83d\\ude00", "\\\\", ": ,", '\\"1,2', "http://a/b?c=d:e"),
        *("-" * 40, " -" + "-" * 40, "9" * 40, "| " + "-" * 40, "1" * 31 + ",2"),
    ],
)
def test_plain_however_long(text: str) -> None:
    """What people and programs write is read in any number: escapes, lines of dashes, long ids."""
    assert loads(f'[{{"{text}":"{text}"}},{MANY}]'.encode())[-1] == 1


@pytest.mark.parametrize(
    "odd",
    [
        *('"\\u003a"', '{"\\u003A":1}', '", ' + "1" * 40 + '"', '{"a":1,"a":2}'),
        *('{"a":1,"\\u0061":2}', '{"a":1,"a\\u003ab":1,"a":2}'),
        *("1" * 33, "-" + "1" * 32, "1." + "1" * 31, "1e" + "1" * 31),
    ],
)
def test_odd_only_so_long(odd: str) -> None:
    """What has to be looked at value by value is read as ever, but not in thousands of values."""
    is_good = '"' in odd and "2}" not in odd

    assert is_refused(f"[{odd},{MANY}]")
    assert is_refused(odd) is not is_good
    assert not is_good or loads(odd.encode()) == json.loads(odd)
