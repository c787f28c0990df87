"""Answers of a store's scripts: whatever they hold, only an expected one is an answer."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.store.answers import (
    checked_answer,
    parse_changes,
    parse_listing,
    parse_number,
    parse_version,
)
from authz.adapters.store.store import AlreadyUsedError, ExhaustedError, StoreError

TAG = b"7"
STATUSES = (b"OK", b"USED", b"FORGOT", b"FULL", b"REPLICA", b"OTHER", b"ALONE", b"EXHAUSTED")
LEAVES = (
    st.none()
    | st.integers()
    | st.binary(max_size=8)
    | st.sampled_from((TAG, *STATUSES, b"1", b"1.5", b"1-0", b"number", b"id", b"entry", b"by"))
)
ANSWERS = st.recursive(LEAVES, lambda part: st.lists(part, max_size=7), max_leaves=20)


@given(ANSWERS)
def test_an_answer_is_that_of_a_script_or_a_fault(answer: object) -> None:
    """Nothing but our exceptions escapes, and an OK has the tag of its question."""
    try:
        checked_answer(answer, TAG)
    except (StoreError, AlreadyUsedError, ExhaustedError):
        return
    assert isinstance(answer, list)
    assert answer[:2] == [TAG, b"OK"]


@given(st.lists(ANSWERS, max_size=4))
def test_what_comes_after_an_ok_is_read_or_a_fault(rest: list[object]) -> None:
    """Nothing but our exceptions escapes, and what is read has its types."""
    with suppress(StoreError):
        assert parse_version(rest).number >= 0
    with suppress(StoreError):
        listing = parse_listing(rest)
        assert all(isinstance(line, bytes) for line in listing.entries.values())
    with suppress(StoreError):
        assert all(change.number >= 0 for change in parse_changes(rest))


@pytest.mark.parametrize("value", [-2, b"-1", b"", b"1.0", b"\xd9\xa1", b"1" * 19, None, "text"])
def test_what_is_no_number(value: object) -> None:
    """Only digits of ASCII, and not many."""
    with pytest.raises(StoreError):
        parse_number(value)


@pytest.mark.parametrize("value", [b"nan", b"inf", b"-1", b"1e300", b"x", None, 1])
def test_what_is_no_wait(value: object) -> None:
    """A budget has room again after some seconds, which clients are told."""
    with pytest.raises(StoreError):
        checked_answer([TAG, b"EXHAUSTED", 0, value], TAG)


def test_another_questions_answer_is_none() -> None:
    """An OK with another tag is no answer."""
    with pytest.raises(StoreError):
        checked_answer([b"8", b"OK"], TAG)
    assert checked_answer([TAG, b"OK", 1], TAG) == [1]
