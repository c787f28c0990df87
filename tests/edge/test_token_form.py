"""The form of a token request is read strictly, whatever a client sends."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.request import MAX_PARAMETERS
from authz.edge.token_form import read_form

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=MAX_PARAMETERS))
def test_what_was_meant_is_read(pairs: list[tuple[str, str]]) -> None:
    """Every form that a standard encoder makes is read back, in its order."""
    assert read_form(urlencode(pairs).encode()) == pairs


@given(st.binary(max_size=200))
def test_anything_else_is_refused_in_our_words(form: bytes) -> None:
    """Bytes of any kind are read, or refused as invalid_request; nothing else is raised."""
    try:
        pairs = read_form(form)
    except TokenRequestDenied as denied:
        error: OAuthError | None = denied.error
    else:
        error = None
    if error is not None:
        assert error is OAuthError.INVALID_REQUEST
        return
    assert len(pairs) == (form.count(b"&") + 1 if form else 0)
    assert urlencode(pairs).count("=") == len(pairs)


@pytest.mark.parametrize("form", [b"a", b"a&b=1", b"a=1&", b"&a=1", b"a=%ff", b"a=\xff"])
def test_half_a_parameter_is_refused(form: bytes) -> None:
    """A part without a "=", an empty part, and bytes that are no text."""
    with pytest.raises(TokenRequestDenied):
        read_form(form)


def test_a_semicolon_parts_nothing() -> None:
    """Only "&" stands between parameters."""
    assert read_form(b"a=1;b") == [("a", "1;b")]
