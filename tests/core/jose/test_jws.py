"""Compact JWS: which texts are one, and what is shared between tokens."""

import json
from base64 import urlsafe_b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.base64url import base64url
from authz.core.delegation.machine_marks import has_client_grant, may_name_credentials
from authz.core.jose.jws import parse_compact
from authz.core.reason import Denied
from lab.issuer import b64

HEADER = b64(b'{"alg":"ES256","kid":"k","typ":"at+jwt"}')
PAYLOAD = b64(b"{}")


def is_canonical(text: str) -> bool:
    """Tell whether a text is the one base64url text of its bytes (RFC 4648 section 3.5)."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return False
    return base64url(data) == text


@given(st.text("AQEgwx09_-+/=. \n!\u00e9", max_size=9))
def test_one_text_for_each_signature(text: str) -> None:
    """A part is read exactly if it is the base64url text that its bytes have."""
    try:
        signature = parse_compact(f"{HEADER}.{PAYLOAD}.{text}", 8192).signature
    except Denied:
        assert not is_canonical(text)
    else:
        assert base64url(signature) == text


@pytest.mark.parametrize("begun", ["A", "AA"])
def test_last_characters(begun: str) -> None:
    """Of the characters that may end a part, those with spare bits are refused."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet:
        token = f"{HEADER}.{PAYLOAD}.{begun}{last}"
        if is_canonical(begun + last):
            assert parse_compact(token, 8192).signature == urlsafe_b64decode(
                begun + last + "=" * (-len(begun + last) % 4)
            )
        else:
            with pytest.raises(Denied):
                parse_compact(token, 8192)


def test_headers_are_shared_by_text() -> None:
    """Tokens with the same text of a header share it, however long others are; it shows nothing."""
    first, again = (parse_compact(f"{HEADER}.{b64(text)}.", 8192) for text in (b"{}", b'{"a":1}'))
    assert first.header is again.header
    assert "ES256" not in repr(first) + repr(first.header)
    longer = b64(json.dumps({"alg": "ES256", "x5c": ["x" * 2000]}).encode())
    assert parse_compact(f"{longer}.{PAYLOAD}.", 8192).header.algorithm == "ES256"


@given(
    st.lists(
        st.sampled_from(
            ["client_credentials", "CLIENT-Credentials", "urn:x:client credentials", "a", "\u0130"]
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_no_grant_is_overlooked(texts: list[str], is_escaped: bool) -> None:  # noqa: FBT001 - drawn
    """JSON that holds the client credentials grant is never said to hold none."""
    data = json.dumps({"x": texts}, ensure_ascii=is_escaped).encode()
    assert may_name_credentials(data) or not has_client_grant([texts])
    spelt = data.replace(b"c", b"\\u0063")
    assert may_name_credentials(spelt) or not has_client_grant([texts])
