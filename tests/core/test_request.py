"""A request in canonical form: one reading of method and host, or a refusal; and its lookups."""

import string
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.paths import canonical_path
from authz.core.reason import Denied, Reason
from authz.core.request import (
    MAX_HOST_BYTES,
    Operation,
    Request,
    canonical_host,
    credentials_elsewhere,
)


def host_or_none(host: str) -> str | None:
    """The canonical host, None when it is refused as ambiguous."""
    try:
        return canonical_host(host)
    except Denied as denied:
        if denied.reason is not Reason.PATH_AMBIGUOUS:
            raise
        return None


def test_each_character_of_hosts() -> None:
    """Inside a host only ASCII letters, digits, '-', '_' and '.' stand, and they are lowered."""
    chars = [chr(code) for code in range(0x180)] + list("\u212a\u3002\uff0e\u0430\u2024\ud800")
    taken = {char: host for char in chars if (host := host_or_none(f"a{char}b")) is not None}

    assert set(taken) == set(string.ascii_letters + string.digits + "-_.")
    assert all(host == f"a{char.lower()}b" for char, host in taken.items())


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("A.Example", "a.example"),
        ("a.example:443", "a.example"),
        ("a.example:", None),
        ("a.example:80:80", None),
        ("a.example:-1", None),
        ("a.example:\u0661", None),
        ("a.example:123456", None),
        ("a.example.", None),
        (".a.example", None),
        ("a..example", None),
        ("-a.example", None),
        ("a.example-", None),
        ("user@a.example", None),
        ("user:pass@a.example", None),
        ("a.example,evil.example", None),
        ("a.example, evil.example", None),
        ("a.example evil.example", None),
        ("a.example/", None),
        ("a.example\\", None),
        ("a.example?x", None),
        ("a.example#x", None),
        ("a.example%2e", None),
        ("a.example\n", None),
        ("a.example\x00", None),
        ("http://a.example", None),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:8443", "[2001:db8::1]"),
        ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"),
        ("::1", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[fe80::1%25eth0]", None),
        ("[fe80::1%eth0]", None),
        ("[]", None),
        ("*", None),
        ("", None),
    ],
)
def test_hosts(host: str, canonical: str | None) -> None:
    """A host is one plain name or address with at most a port, or it is refused."""
    assert host_or_none(host) == canonical


def test_host_length() -> None:
    """The bound on hosts is what it says."""
    assert host_or_none("a" * MAX_HOST_BYTES) is not None
    assert host_or_none("a" * (MAX_HOST_BYTES + 1)) is None


@given(st.text(alphabet="aA.-_:[]01,@ %\n\u212a", max_size=12))
def test_canonical_hosts_stay(host: str) -> None:
    """A canonical host is its own canonical form, and never longer than what was sent."""
    canonical = host_or_none(host)
    if canonical is not None:
        assert canonical_host(canonical) == canonical
        assert host.lower().startswith(canonical)


@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT", "TRACE", "M-SEARCH", "A" * 32])
def test_methods(method: str) -> None:
    """A method is taken as it is: whether it is allowed is the rules' business."""
    assert Operation.of(Request(method, "h", "/a")) == Operation(method, "h", ("a",))


@pytest.mark.parametrize(
    "method",
    ["", "get", "Get", "GET ", " GET", "GET\n", "GET\x00", "G\u0415T", "GET,POST", "-", "A" * 33],
)
def test_methods_refused(method: str) -> None:
    """A method in lower case, doubled, padded or too long is refused: rules compare exactly."""
    with pytest.raises(Denied) as caught:
        Operation.of(Request(method, "h", "/a"))

    assert caught.value.reason is Reason.PATH_AMBIGUOUS


def test_details_do_not_repeat_the_input() -> None:
    """A refusal's detail holds nothing of the request, whose path can hold a secret."""
    for request in (
        Request("needle", "h", "/"),
        Request("GET", "needle!", "/"),
        Request("GET", "h", "/needle%zz"),
        Request("GET", "h", "/needle%ff"),
        Request("GET", "h", "/needle/.."),
    ):
        with pytest.raises(Denied) as caught:
            Operation.of(request)
        assert "needle" not in caught.value.detail
    for path in ("/needle;needle", "/needle%2f"):
        with pytest.raises(Denied) as caught:
            canonical_path(path)
        assert "needle" not in caught.value.detail


def test_lookups_in_a_request() -> None:
    """A header is found by its exact lower-case name; None is not sent, "" is sent empty."""
    request = Request(
        "GET", "h", "/", headers=(("a", "1"), ("b", "")), context=(("p", "x"), ("q", ""))
    )

    assert [request.header(name) for name in ("a", "b", "c", "A")] == ["1", "", None, None]
    assert [request.context_value(name) for name in ("p", "q", "r")] == ["x", "", ""]


QUERIES = st.lists(
    st.sampled_from(
        [
            *("&", ";", "=", "access_token", "%61ccess_token", "acces%73_toke%6e", "%5F", "%5f"),
            *("access", "token", "x", "%", "%26", "acce%7373_token", "\u017f", "\u212a", "%C5%BF"),
            *("to%6Ben", "%6b", "access_", "%2561", "access_to", "en", "?", "access%255Ftoken"),
            *("&access_token=", "\n"),
        ]
    ),
    max_size=7,
).map("".join)
COOKIES = st.lists(
    st.sampled_from(
        [
            *(",", ";", "=", " ", "\t", "\n", "\x85", "\u2003", "\0", "x", "AUTH", "orization"),
            *("authorization", "Authorization", "author\u0130zation", "author\u0131zation"),
            ";authorization=",
        ]
    ),
    max_size=7,
).map("".join)


@given(QUERIES, COOKIES)
def test_credentials_elsewhere(query: str, cookie: str) -> None:
    """A pair of that name is found in any spelling, and nothing else: as read one by one."""
    names = [pair.partition("=")[0] for pair in query.split("&")]
    in_query = "access_token" in map(unquote, names)
    crumbs = [pair.partition("=")[0] for pair in cookie.replace(",", ";").split(";")]
    in_cookie = "authorization" in [name.strip().lower() for name in crumbs]

    expected = [*(["query"] if in_query else []), *(["cookie"] if in_cookie else [])]
    assert list(credentials_elsewhere(query, cookie)) == expected


def test_every_spelling_of_the_name() -> None:
    """Each character of access_token may be escaped, in either case of the hex digits."""
    name = "access_token"
    for at, char in enumerate(name):
        for escape in {f"%{ord(char):02x}", f"%{ord(char):02X}"}:
            spelled = name[:at] + escape + name[at + 1 :]
            for query in (spelled, f"a=1&{spelled}=x", f"&&{spelled}&"):
                assert credentials_elsewhere(query, "") == ("query",)
            assert credentials_elsewhere(f"a{spelled}=1&{spelled}s=1&x={spelled}", "") == ()
