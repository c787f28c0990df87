"""Which requests are malformed (RFC 9113 8.1.1, 8.2, 8.3)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.transports.http2 import Field
from authz.transports.http2.faults import MalformedError
from authz.transports.http2.messages import check_trailers, content_length

PSEUDO: list[Field] = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":path", b"/check"),
    (b":authority", b"authz:443"),
]


def changed(**values: bytes | None) -> tuple[Field, ...]:
    """Return the pseudo-header fields with some changed, or left out."""
    named = {f":{name}".encode(): value for name, value in values.items()}
    fields = [(name, named.get(name, value)) for name, value in PSEUDO]
    return tuple((name, value) for name, value in fields if value is not None)


def is_malformed(*fields: Field) -> bool:
    """Check a header section."""
    try:
        content_length(fields)
    except MalformedError:
        return True
    return False


@pytest.mark.parametrize(
    "fields",
    [
        changed(method=None),
        changed(method=b""),
        changed(scheme=None),
        changed(scheme=b""),
        changed(path=None),
        changed(path=b""),
        changed(path=b"check"),
        changed(path=b"*"),
        changed(path=b"/a\nb"),
        changed(path=b"/a\0"),
        changed(path=b"/a "),
        changed(authority=b"user@authz"),
        changed(method=b"CONNECT"),
        changed(method=b"CONNECT", scheme=None),
        changed(method=b"CONNECT", scheme=None, path=None, authority=None),
        (*PSEUDO, PSEUDO[0]),
        (*PSEUDO, (b":status", b"200")),
        (*PSEUDO, (b":protocol", b"websocket")),
        (*PSEUDO[:3], (b"te", b"trailers"), PSEUDO[3]),
    ],
)
def test_malformed_pseudo_header_fields(fields: tuple[Field, ...]) -> None:
    """A request without its pseudo-header fields, once each and before others, is malformed."""
    assert is_malformed(*fields)


@pytest.mark.parametrize(
    "fields",
    [
        changed(),
        changed(authority=None),
        changed(path=b"*", method=b"OPTIONS"),
        changed(scheme=b"urn", path=b"anything"),
        changed(method=b"CONNECT", scheme=None, path=None),
        tuple(reversed(PSEUDO)),
    ],
)
def test_well_formed_pseudo_header_fields(fields: tuple[Field, ...]) -> None:
    """The nearest requests that are not malformed pass."""
    assert not is_malformed(*fields)


@pytest.mark.parametrize(
    "field",
    [
        (b"", b"x"),
        (b"X-Upper", b"x"),
        (b"x y", b"x"),
        (b"x\ny", b"x"),
        (b"x:y", b"x"),
        (b"x\x7f", b"x"),
        (b"x\xc3\xa4", b"x"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x", b" a"),
        (b"x", b"a\t"),
        (b"x", b" "),
        (b"connection", b"close"),
        (b"proxy-connection", b"close"),
        (b"keep-alive", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
    ],
)
def test_malformed_fields(field: Field) -> None:
    """A field that no section may have makes header and trailer sections malformed."""
    assert is_malformed(*PSEUDO, field)
    assert is_malformed(*PSEUDO, (b"a", b"b"), field, (b"c", b""))
    with pytest.raises(MalformedError):
        check_trailers((field,))


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b""),
        (b"x", b"a b\tc"),
        (b"x", b"\x01\xff\x7f"),
        (b"x!#$%&'*+-.^_`|~9", b"x"),
        (b"te", b"trailers"),
        (b"te", b"Trailers"),
        (b"host", b"AUTHZ:443"),
        (b"cookie", b"a=b"),
    ],
)
def test_well_formed_fields(field: Field) -> None:
    """Fields at the edge of what is allowed pass."""
    assert not is_malformed(*PSEUDO, field)
    assert not is_malformed(*PSEUDO, field, (b"a", b"b"))
    check_trailers((field,))


def test_pseudo_header_fields_in_trailers() -> None:
    """A trailer section has no pseudo-header fields; an empty one is none."""
    with pytest.raises(MalformedError):
        check_trailers(((b":path", b"/"),))
    check_trailers(())


def test_hosts() -> None:
    """A Host that differs from :authority makes a request malformed; one alone does not."""
    assert is_malformed(*PSEUDO, (b"host", b"other"))
    assert is_malformed(*PSEUDO, (b"host", b"authz:443"), (b"host", b"other"))
    assert not is_malformed(*changed(authority=None), (b"host", b"other"))


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1,1", b"1x", b"9" * 19, "\u0661".encode()])
def test_bad_lengths(value: bytes) -> None:
    """A content-length that is no number makes a request malformed."""
    assert is_malformed(*PSEUDO, (b"content-length", value))


def test_lengths() -> None:
    """The content-length is read, and may stand there once."""
    assert content_length(tuple(PSEUDO)) is None
    assert content_length((*PSEUDO, (b"content-length", b"0012"))) == 12
    assert is_malformed(*PSEUDO, *[(b"content-length", b"1")] * 2)


@given(st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=4))
def test_fields_checked_at_once_are_as_fields_checked_one_by_one(fields: list[Field]) -> None:
    """The check of joined fields is the check of each, by the words of the RFC."""

    def is_bad(name: bytes, value: bytes) -> bool:
        is_name = re.fullmatch(rb"[\x21-\x39\x3b-\x40\x5b-\x7e]+", name)
        return not is_name or value.strip(b" \t") != value or bool(set(value) & {0, 10, 13})

    expected = any(is_bad(name, value) for name, value in fields)
    section = [(b"x" + name if name == b"te" else name, value) for name, value in fields]
    assert is_malformed(*PSEUDO, *section) == expected
