"""The canonical form of a request: one reading of method, host and path, or a refusal."""

import string
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.paths import MAX_PATH_BYTES, canonical_path
from authz.reason import Denied, Reason
from authz.request import (
    MAX_HOST_BYTES,
    Operation,
    Request,
    canonical_host,
)

PLAIN = string.ascii_letters + string.digits + "._~!$&'()*+,=:@-"  # RFC 3986 pchar without ';'
PUBLIC = "/public/"


def path_or_none(path: str) -> tuple[str, ...] | None:
    """The canonical path, None when it is refused as ambiguous."""
    try:
        return canonical_path(path)
    except Denied as denied:
        if denied.reason is not Reason.PATH_AMBIGUOUS:
            raise
        return None


def host_or_none(host: str) -> str | None:
    """The canonical host, None when it is refused as ambiguous."""
    try:
        return canonical_host(host)
    except Denied as denied:
        if denied.reason is not Reason.PATH_AMBIGUOUS:
            raise
        return None


@pytest.mark.parametrize("place", ["{}", "{}a", "a{}", "a{}a", "{}/a", "a/{}"])
def test_each_literal_character(place: str) -> None:
    """Of all characters, exactly RFC 3986's pchar without ';' and '%' may stand as they are."""
    chars = [chr(code) for code in range(0x180)] + list("\u2028\u2044\uff0f\uff0e\ud800")
    taken = {char for char in chars if path_or_none(f"/{place.format(char)}") is not None}
    dots = {"."} if place in {"{}", "{}/a", "a/{}"} else set()

    # A slash divides: good where it leaves no empty segment in the middle, good at the end.
    assert taken - {"/"} == set(PLAIN) - dots
    assert ("/" in taken) == (place in {"a{}", "a{}a"})


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_each_escaped_byte(case: Callable[[str], str]) -> None:
    """Escapes of printable ASCII are decoded, but not of what separates, escapes or is a dot."""
    taken = {}
    for code in range(256):
        segments = path_or_none(f"/a{case(f'%{code:02x}')}b")
        if segments is not None:
            taken[chr(code)] = segments

    assert set(taken) == {chr(code) for code in range(0x20, 0x7F)} - set("/\\%;?#.")
    assert all(segments == (f"a{char}b",) for char, segments in taken.items())


@pytest.mark.parametrize(
    "trick",
    [
        "..",
        ".",
        "../admin",
        "..%2fadmin",
        "..%2Fadmin",
        "%2e%2e",
        "%2E%2e/admin",
        ".%2e/admin",
        "%2e./admin",
        "..;/admin",
        "..;x=y/admin",
        "a;x=y",
        "/admin",
        "//admin",
        "./admin",
        "%2561dmin",
        "%252e%252e/admin",
        "%25%32%65",
        "%00",
        "a%00.png",
        "%zz",
        "%",
        "%a",
        "%u002e",
        "\\..\\admin",
        "..\\admin",
        "%5c..%5cadmin",
        "..%c0%af",
        "%c0%ae%c0%ae/admin",
        "%e0%80%ae",
        "%f0%80%80%ae",
        "%ed%a0%80",
        "%80",
        "%c3",
        "\uff0fadmin",
        "%ef%bc%8fadmin",
        "%ef%bc%8e%ef%bc%8e/admin",
        ".%ef%bc%8e/admin",
        "%e2%80%a5/admin",
        "%e2%80%a4",
        "%e2%80%a4%e2%80%a4",
        "%ef%bc%85",
        "%ef%bc%9b",
        "%e2%81%84/..",
        "\tadmin",
        "%09",
        "%0d%0a",
        "%1b",
        "%7f",
        "%c2%85",
        "%e2%80%a8",
        "%e2%80%ae",
        "%e2%80%8b",
        "%ef%bb%bf",
        "?/../admin",
        "#frag",
        "%23",
        "%3f",
        "a b",
        "caf\u00e9",
        "[x]",
        "{x}",
        "a|b",
        'a"b',
        "a^b",
        "a`b",
        "<a>",
    ],
)
def test_tricks(trick: str) -> None:
    """What one server could read as another path than we do is refused, wherever it stands."""
    for path in (PUBLIC + trick, f"{PUBLIC}{trick}/x", f"/x/y/{trick}"):
        assert path_or_none(path) is None, path


@pytest.mark.parametrize(
    "path", ["", "*", "a", "public", "http://h/admin", "https:/admin", "//", "\\admin", " /", "%2f"]
)
def test_paths_that_are_not_absolute(path: str) -> None:
    """Absolute-form, authority-form, '*' and the empty path of CONNECT have no canonical form."""
    assert path_or_none(path) is None


def test_path_length() -> None:
    """The bound is on the raw path, and both sides of it are what they say."""
    assert path_or_none("/" + "a" * (MAX_PATH_BYTES - 1)) is not None
    assert path_or_none("/" + "a" * MAX_PATH_BYTES) is None
    assert path_or_none("/" + "%61" * MAX_PATH_BYTES) is None


HOSTILE_TEXT = st.text(
    alphabet="/.%;\\?#aAbB02eEfFcC5 \t\n\u00e9\uff0f\uff0e\u2025\u2024", max_size=14
)
HOSTILE_BYTES = st.binary(max_size=8).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw))


@given(st.lists(HOSTILE_TEXT | HOSTILE_BYTES, max_size=4).map(lambda parts: "/" + "/".join(parts)))
def test_what_is_left_in_segments(path: str) -> None:
    """Whatever is accepted holds no separator, escape or dot segment, even after NFKC folding."""
    segments = path_or_none(path)
    if segments is None:
        return
    assert "" not in segments[:-1]
    for segment in segments:
        for form in (segment, unicodedata.normalize("NFKC", segment), unquote(segment)):
            assert form not in {".", ".."}
            assert not set(form) & set("/\\%;?#\n\t")


@given(st.text(max_size=12).map("/".__add__) | HOSTILE_BYTES.map("/".__add__))
def test_a_canonical_path_has_one_meaning(path: str) -> None:
    """Encoding what was read and reading that gives the same; so does plain percent-decoding."""
    segments = path_or_none(path)
    if segments is None:
        return
    again = "/" + "/".join(quote(segment, safe=PLAIN) for segment in segments)

    assert canonical_path(again) == segments
    assert "/" + "/".join(segments) == unquote(path, errors="strict")


@given(
    st.lists(st.text(PLAIN, min_size=1, max_size=8), min_size=1, max_size=5).filter(
        lambda parts: not {".", ".."} & set(parts)
    )
)
def test_literal_paths_stay(parts: list[str]) -> None:
    """A path of plain characters is its own canonical form."""
    assert canonical_path("/" + "/".join(parts)) == tuple(parts)


@pytest.mark.parametrize("path", ["/%E2%80%A6", "/a%E2%80%A4b", "/%C2%BD", "/%EF%BD%81", "/..."])
def test_odd_letters_that_mean_nothing(path: str) -> None:
    """Characters that fold to others are accepted where no reading makes a separator or dots."""
    assert path_or_none(path) is not None


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
