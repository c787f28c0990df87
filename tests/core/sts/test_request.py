"""The parser of token requests: any form is a request or an OAuth error, and nothing else."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.request import (
    GRANT_TYPE,
    MAX_DETAILS,
    MAX_DETAILS_BYTES,
    MAX_PARAMETERS,
    MAX_SCOPE_CHARS,
    MAX_SCOPES,
    MAX_TARGET_CHARS,
    MAX_TARGETS,
    MAX_TOKEN_CHARS,
    TokenRequest,
    TokenType,
    read_request,
)

GOOD = {
    "grant_type": GRANT_TYPE,
    "subject_token": "a.b.c",
    "subject_token_type": TokenType.ACCESS_TOKEN.value,
}
NAMES = (
    *("grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type"),
    *("audience", "resource", "scope", "requested_token_type", "authorization_details", "x", ""),
)
TYPES = [kind.value for kind in TokenType]
VALUES = (
    *(GRANT_TYPE, "a.b.c", "", " ", "a b", "a  b", "https://a.example", "https://a.example#x"),
    *(
        "\x00",
        "\ud800",
        "\u2028",
        "é",
        "[]",
        "[{}]",
        '[{"type": "t"}]',
        '[{"type": 1}]',
        "{",
        "null",
    ),
    *("[" * 2000, '[{"type": "t", "type": "u"}]', "urn:ietf:params:oauth:token-type:saml2"),
)
_pairs = st.tuples(
    st.sampled_from(NAMES) | st.text(max_size=4),
    st.sampled_from([*VALUES, *TYPES]) | st.text(max_size=8),
)


@given(st.lists(_pairs, max_size=12), st.booleans())
@settings(max_examples=300, deadline=None)
@example([("grant_type", GRANT_TYPE)] * 2, False)
def test_any_form(pairs: list[tuple[str, str]], is_good: bool) -> None:  # noqa: FBT001 - drawn
    """A form is read whole or refused, and what was read holds only what was sent, once."""
    form = [*GOOD.items(), *pairs] if is_good else pairs
    request = _read(form)
    if isinstance(request, TokenRequestDenied):
        assert not any(value in request.detail for _, value in form if len(value) > 12)
        return
    given_once = [name for name, _ in form if name not in {"audience", "resource"}]
    assert len(set(given_once)) == len(given_once)
    assert (request.subject_token, request.subject_type.value) == (
        dict(form)["subject_token"],
        dict(form)["subject_token_type"],
    )
    sent = {value for name, value in form if name in {"audience", "resource"} and value}
    assert set(request.targets) == sent
    assert "a.b.c" not in repr(request)


def _read(form: list[tuple[str, str]]) -> TokenRequest | TokenRequestDenied:
    """Read a form, or return its refusal: any other exception is a fault."""
    try:
        return read_request(form)
    except TokenRequestDenied as denied:
        return denied


def read(**changes: str) -> TokenRequest:
    """Read the good form with changes."""
    return read_request([*(GOOD | changes).items()])


def test_all_parameters() -> None:
    """Each stands where it belongs."""
    request = read_request(
        [
            *GOOD.items(),
            ("audience", "orders"),
            ("resource", "https://orders.example/"),
            ("audience", "orders"),
            ("scope", "a b"),
            ("requested_token_type", TokenType.JWT.value),
            ("actor_token", "d.e.f"),
            ("actor_token_type", TokenType.JWT.value),
            ("authorization_details", '[{"type": "t", "n": 1}]'),
        ],
        "proof",
    )
    assert request == TokenRequest(
        "a.b.c",
        TokenType.ACCESS_TOKEN,
        ("orders", "https://orders.example/"),
        frozenset({"a", "b"}),
        TokenType.JWT,
        "d.e.f",
        ({"type": "t", "n": 1},),
        "proof",
    )
    assert read().scopes is None


TOO_MUCH: dict[str, tuple[dict[str, str], dict[str, str], OAuthError]] = {
    "token": (
        {"subject_token": "a" * MAX_TOKEN_CHARS},
        {"subject_token": "a" * (MAX_TOKEN_CHARS + 1)},
        OAuthError.INVALID_REQUEST,
    ),
    "scopes": (
        {"scope": " ".join(f"s{n}" for n in range(MAX_SCOPES))},
        {"scope": " ".join(f"s{n}" for n in range(MAX_SCOPES + 1))},
        OAuthError.INVALID_SCOPE,
    ),
    "scope": (
        {"scope": "a" * MAX_SCOPE_CHARS},
        {"scope": "a" * (MAX_SCOPE_CHARS + 1)},
        OAuthError.INVALID_SCOPE,
    ),
    "target": (
        {"audience": "a" * MAX_TARGET_CHARS},
        {"audience": "a" * (MAX_TARGET_CHARS + 1)},
        OAuthError.INVALID_TARGET,
    ),
    "details": (
        {"authorization_details": '[{"type": "t"}]'},
        {"authorization_details": '[{"type": "' + "t" * MAX_DETAILS_BYTES + '"}]'},
        OAuthError.INVALID_DETAILS,
    ),
    "elements": (
        {"authorization_details": "[" + ",".join(['{"type": "t"}'] * MAX_DETAILS) + "]"},
        {"authorization_details": "[" + ",".join(['{"type": "t"}'] * (MAX_DETAILS + 1)) + "]"},
        OAuthError.INVALID_DETAILS,
    ),
}


@pytest.mark.parametrize("limit", TOO_MUCH)
def test_limits(limit: str) -> None:
    """The most that is read, and a little more, which is refused."""
    most, more, error = TOO_MUCH[limit]
    read(**most)
    with pytest.raises(TokenRequestDenied) as refused:
        read(**more)
    assert refused.value.error is error


def test_limits_of_numbers() -> None:
    """Neither parameters nor targets without end."""
    unknown = [(f"p{n}", "v") for n in range(MAX_PARAMETERS - len(GOOD))]
    read_request([*GOOD.items(), *unknown])
    targets = [("audience", f"t{n}") for n in range(MAX_TARGETS)]
    read_request([*GOOD.items(), *targets])
    for form in ([*unknown, ("q", "v")], [*targets, ("resource", "https://a.example")]):
        with pytest.raises(TokenRequestDenied):
            read_request([*GOOD.items(), *form])


@pytest.mark.parametrize(
    "details",
    ["{}", "[]", "[1]", "[{}]", '[{"type": ""}]', '[{"type": 1}]', '[{"type": "t", "type": "u"}]'],
)
def test_details_are_typed_objects(details: Any) -> None:
    """RFC 9396 section 2: a list of objects, each with a type, and every member once."""
    with pytest.raises(TokenRequestDenied) as refused:
        read(authorization_details=details)
    assert refused.value.error is OAuthError.INVALID_DETAILS
