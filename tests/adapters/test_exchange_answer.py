"""The reader of token endpoints' answers: any bytes are read strictly, or refused in words."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.exchange.answer import (
    AnswerError,
    RefusedError,
    read_answer,
    read_refusal,
)
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import DocumentResponse
from authz.core.delegation import ExchangeSettings
from support.exchange_issuer import TYPE

SETTINGS = ExchangeSettings.model_validate(
    {"url": "https://as.example/t", "client_id": "a", "client_secret_file": "/s"}
)
GOOD: dict[str, Any] = {
    "access_token": "token",
    "issued_token_type": f"{TYPE}access_token",
    "token_type": "bearer",
    "expires_in": 60,
    "scope": "a b",
}
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
NAMES = st.sampled_from([*GOOD, "error", "refresh_token"])


def test_a_good_answer() -> None:
    """What it says is read; a type may be in any case (RFC 6749 section 5.1)."""
    read = read_answer(json.dumps(GOOD).encode(), SETTINGS)
    assert (read.token, read.seconds, read.scopes) == ("token", 60.0, frozenset("ab"))
    assert "token" not in repr(read).replace("TokenAnswer", "")
    assert "token" not in repr(DocumentResponse(json.dumps(GOOD).encode(), {}))


@given(st.binary(max_size=300) | st.dictionaries(NAMES, VALUES).map(json.dumps).map(str.encode))
def test_any_bytes(body: bytes) -> None:
    """An answer is read or refused; an error of the issuer is one of two, without its text."""
    with suppress(AnswerError):
        read_answer(body, SETTINGS)
    told = read_refusal(400, body)
    assert isinstance(told, RefusedError | FetchError)
    assert str(told).isprintable()


@given(NAMES, VALUES)
def test_one_odd_member(name: str, value: Any) -> None:
    """A token that is read has the characters of a header, and a bounded life and scopes."""
    body = json.dumps({**GOOD, name: value}).encode()
    try:
        read = read_answer(body, SETTINGS)
    except AnswerError:
        return
    assert read.token.isascii()
    assert read.token.isprintable()
    assert " " not in read.token
    assert read.seconds is None or read.seconds <= 2**31
    assert read.scopes is None or all(scope and " " not in scope for scope in read.scopes)
