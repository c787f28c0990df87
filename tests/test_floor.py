"""The lowest floors: SPIFFE IDs, strict JSON, paths, hosts, patterns."""

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import strictjson
from authz.paths import canonical_path
from authz.patterns import SpiffePattern, host_pattern, path_pattern
from authz.reason import Denied, Reason
from authz.request import Operation, Request, canonical_host
from authz.spiffe import SpiffeId, SpiffeIdError, TrustDomain

EVERY_CHAR = [chr(code) for code in range(256)] + ["\u0430", "\uff0f", "\u2028", "\U0001f600"]


def test_spiffe_trust_domain_characters() -> None:
    """A trust domain takes exactly the characters of SPIFFE-ID section 2.1, anywhere."""
    good = set(string.ascii_lowercase + string.digits + ".-_")
    for char in EVERY_CHAR:
        for text in (char, f"a{char}", f"{char}a", f"a{char}a"):
            if char in good:
                assert TrustDomain.parse(text).name == text
            else:
                with pytest.raises(SpiffeIdError):
                    TrustDomain.parse(text)


def test_spiffe_path_characters() -> None:
    """A path segment takes exactly the characters of SPIFFE-ID section 2.2, anywhere."""
    good = set(string.ascii_letters + string.digits + ".-_/")
    for char in EVERY_CHAR:
        text = f"spiffe://td/a{char}a"
        if char in good:
            assert SpiffeId.parse(text).text == text
        else:
            with pytest.raises(SpiffeIdError):
                SpiffeId.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe://",
        "spiffe:///a",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/a/",
        "spiffe://td//a",
        "spiffe://td/./a",
        "spiffe://td/../a",
        "spiffe://td/a/..",
        "spiffe:/td/a",
        "SPIFFE://td/a",
        "Spiffe://td/a",
        "spiffe://TD/a",
        "spiffe://td:80/a",
        "spiffe://u@td/a",
        "spiffe://td/a?x",
        "spiffe://td/a#x",
        "spiffe://td/%61",
        "spiffe://td/a\n",
        " spiffe://td/a",
        "spiffe://td/a,spiffe://td/b",
        "https://td/a",
        "CN=travel",
        f"spiffe://{'t' * 256}/a",
        "spiffe://td/" + "a" * 2048,
    ],
)
def test_spiffe_refused(text: str) -> None:
    """What is no workload's ID by SPIFFE-ID section 2 is refused."""
    with pytest.raises(SpiffeIdError):
        SpiffeId.parse(text)


@pytest.mark.parametrize("text", ["spiffe://td/...", "spiffe://1.2.3.4/a", "spiffe://td/a/B-_.9"])
def test_spiffe_accepted(text: str) -> None:
    """Odd but legal IDs are accepted as they are."""
    parsed = SpiffeId.parse(text)

    assert str(parsed) == text
    assert f"spiffe://{parsed.trust_domain}/{'/'.join(parsed.segments)}" == text


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"x":{"a":1,"a":2}}',
        '[{"a":1,"a":1}]',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "-1e999",
        "9" * 40,
        "[" * 17 + "]" * 17,
        "[" * 100_000,
        "\ufeff{}",
        "",
        "{",
        "{} {}",
        "'a'",
    ],
)
def test_strict_json_refuses(text: str) -> None:
    """Doubled members, depth, and numbers that are none are refused."""
    with pytest.raises(strictjson.StrictJsonError):
        strictjson.loads(text.encode())


def test_strict_json_refuses_other_encodings() -> None:
    """Only UTF-8 is JSON between systems (RFC 8259 section 8.1)."""
    for data in (b"\xff\xfe{\x00}\x00", b'"\xff"', b'"\xed\xa0\x80"'):
        with pytest.raises(strictjson.StrictJsonError):
            strictjson.loads(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_strict_json_reads_what_json_writes(value: Any) -> None:
    """What the standard library writes is read as it was."""
    try:
        data = json.dumps(value).encode()
    except UnicodeEncodeError:
        return
    try:
        assert strictjson.loads(data) == value
    except strictjson.StrictJsonError:
        assert data.count(b"[") + data.count(b"{") > strictjson.MAX_DEPTH


@given(st.binary(max_size=60))
def test_strict_json_any_bytes(data: bytes) -> None:
    """Any bytes are read or refused, and what is read is what the standard library reads."""
    try:
        value = strictjson.loads(data)
    except strictjson.StrictJsonError:
        return
    assert value == json.loads(data)


AMBIGUOUS = [
    "",
    "*",
    "a",
    "http://h/admin",
    "//admin",
    "/a//b",
    "/./a",
    "/a/..",
    "/../a",
    "/a/%2e%2e/b",
    "/a/%2E/b",
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a\\b",
    "/a;b",
    "/a%3bb",
    "/..;/a",
    "/%2561",
    "/%",
    "/%4",
    "/%zz",
    "/%00",
    "/%0a",
    "/%7f",
    "/a b",
    "/a\tb",
    "/a\n",
    "/\u00e9",
    "/%c0%ae",
    "/%ff",
    "/%e2%80%a8",
    "/%ef%bc%8f",
    "/a#b",
    "/a?b",
    "/%23",
    "/%3f",
    '/"',
    "/<a>",
    "/" + "a" * 9000,
]


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_ambiguous_path(path: str) -> None:
    """A path that two servers could read as two is refused."""
    with pytest.raises(Denied) as caught:
        canonical_path(path)

    assert caught.value.reason is Reason.PATH_AMBIGUOUS


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ("",)),
        ("/a", ("a",)),
        ("/a/", ("a", "")),
        ("/a/b.c", ("a", "b.c")),
        ("/%61dmin", ("admin",)),
        ("/caf%C3%A9", ("caf\u00e9",)),
        ("/a%20b", ("a b",)),
        ("/...", ("...",)),
        ("/a:b@c,d=e", ("a:b@c,d=e",)),
        ("/tasks/7:cancel", ("tasks", "7:cancel")),
    ],
)
def test_canonical_path(path: str, segments: tuple[str, ...]) -> None:
    """A plain path is decoded segment by segment."""
    assert canonical_path(path) == segments


@given(st.text(alphabet="/.%;\\a2eEfF5cC0?#\u00e9\uff0f", max_size=12).map("/".__add__))
def test_canonical_path_property(path: str) -> None:
    """What is accepted has no separator, escape or dot segment left in any segment."""
    try:
        segments = canonical_path(path)
    except Denied:
        return
    assert "" not in segments[:-1]
    for segment in segments:
        assert segment not in {".", ".."}
        assert not set(segment) & set("/\\%;?#\uff0f")


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("mcp.corp.example", "mcp.corp.example"),
        ("MCP.Corp.Example:8443", "mcp.corp.example"),
        ("[::1]:80", "[::1]"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_canonical_host(host: str, canonical: str) -> None:
    """A host is compared in lower case and without its port."""
    assert canonical_host(host) == canonical


@pytest.mark.parametrize(
    "host",
    ["", "a,b", "u@h", "h:", "h:x", "h.", "a..b", "h/", "h h", "\u0430.example", "a" * 300, "-h-"],
)
def test_ambiguous_host(host: str) -> None:
    """A host that is not one plain name is refused."""
    with pytest.raises(Denied):
        canonical_host(host)


@pytest.mark.parametrize("method", ["", "get", "GET ", "G\n", "X" * 40, "A1"])
def test_ambiguous_method(method: str) -> None:
    """A method is upper-case letters, compared as they are."""
    with pytest.raises(Denied):
        Operation.of(Request(method, "h", "/"))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c"], ["/", "/ab", "/b/a"]),
        ("/a/*", ["/a/b"], ["/a", "/a/", "/a/b/c"]),
        ("/orders/{id}", ["/orders/7"], ["/orders/", "/orders/7/x", "/orders"]),
        ("/orders/{id}/items", ["/orders/7/items"], ["/orders//items", "/orders/7"]),
        ("/", ["/"], ["/a"]),
        ("/**", ["/", "/a", "/a/b"], []),
        ("/caf%C3%A9", ["/caf%c3%a9"], ["/cafe"]),
    ],
)
def test_path_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    """Patterns match segment by segment, never by a prefix of the text."""
    compiled = path_pattern(pattern)
    for path in yes:
        try:
            assert compiled.matches(canonical_path(path)), path
        except Denied:
            pytest.fail(path)
    for path in no:
        try:
            assert not compiled.matches(canonical_path(path)), path
        except Denied:
            continue


@pytest.mark.parametrize("pattern", ["", "a", "/a*", "/**/a", "/a/***", "/a/..", "/a//b", "/a%2fb"])
def test_path_patterns_refused(pattern: str) -> None:
    """A pattern that no canonical path could match, or that is unclear, is an error at load."""
    with pytest.raises(ValueError, match=r"."):
        path_pattern(pattern)


def test_spiffe_patterns() -> None:
    """SPIFFE patterns match within one trust domain, segment by segment."""
    pattern = SpiffePattern.parse("spiffe://td/ns/*/sa/agent-1")
    exact = SpiffePattern.parse("spiffe://td/a")

    assert pattern.matches(SpiffeId.parse("spiffe://td/ns/x/sa/agent-1"))
    assert not pattern.matches(SpiffeId.parse("spiffe://td/ns/x/sa/agent-10"))
    assert not pattern.matches(SpiffeId.parse("spiffe://td.evil/ns/x/sa/agent-1"))
    assert (pattern.is_exact, exact.is_exact) == (False, True)
    assert exact.matches(SpiffeId.parse("spiffe://td/a"))
    for text in ("td/*", "spiffe://td/a*", "spiffe://*/a", "spiffe://td/**/a", "spiffe://td/%/*"):
        with pytest.raises(ValueError, match=r"."):
            SpiffePattern.parse(text)


def test_host_patterns() -> None:
    """Hosts in rules are written as they are compared."""
    assert host_pattern("*") == "*"
    assert host_pattern("a.example") == "a.example"
    for text in ("A.example", "a.example:80", "*.example", "a b"):
        with pytest.raises(ValueError, match=r"."):
            host_pattern(text)
