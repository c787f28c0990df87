"""Patterns of rules: segment by segment, never by prefix of text, one meaning each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from authz.core.paths import canonical_path
from authz.core.patterns import MethodText, SegmentPattern, path_pattern
from authz.core.spiffe import SpiffeId, SpiffePattern

SEGMENT = st.sampled_from(["a", "b", "ab", "a.b", "...", "agent-1", "agent-10", ""])
FIXED = st.sampled_from(["a", "b", "ab", "agent-1", "*"])


def fits(pattern: list[str], segments: list[str]) -> bool:
    """What patterns mean, said once more, recursively."""
    if not pattern:
        return not segments
    if pattern == ["**"]:
        return True
    if not segments:
        return False
    head = segments[0] != "" if pattern[0] == "*" else pattern[0] == segments[0]
    return head and fits(pattern[1:], segments[1:])


@given(
    st.lists(FIXED, min_size=1, max_size=4),
    st.booleans(),
    st.lists(SEGMENT, min_size=1, max_size=5),
)
def test_matching(fixed: list[str], is_open: bool, segments: list[str]) -> None:  # noqa: FBT001 - drawn
    """A path pattern fits exactly the paths that its definition says, however they are made."""
    texts = [*fixed, "**"] if is_open else fixed
    pattern = path_pattern("/" + "/".join(texts))

    assert pattern.matches(tuple(segments)) == fits(texts, segments)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("/", ["/"], ["/a", "/a/"]),
        ("/a", ["/a", "/%61"], ["/", "/a/", "/ab", "/a/b", "/A"]),
        ("/a/", ["/a/"], ["/a", "/a/b"]),
        ("/a/*", ["/a/b", "/a/..."], ["/a", "/a/", "/a/b/", "/a/b/c"]),
        ("/a/{id}", ["/a/b"], ["/a/", "/a/b/c"]),
        ("/a/{id}/c", ["/a/b/c"], ["/a//c".replace("//", "/"), "/a/b/d", "/a/b/c/d"]),
        ("/a/**", ["/a", "/a/", "/a/b", "/a/b/c/"], ["/", "/ab", "/b/a"]),
        ("/**", ["/", "/a", "/a/b/"], []),
        ("/*/**", ["/a", "/a/b", "/a/"], ["/"]),
        ("/caf%C3%A9", ["/caf%c3%a9"], ["/cafe"]),
        ("/agent-1", ["/agent-1"], ["/agent-10", "/agent-", "/agent-1/x"]),
    ],
)
def test_paths(pattern: str, good: list[str], bad: list[str]) -> None:
    """A pattern fits whole segments of the canonical path."""
    compiled = path_pattern(pattern)

    assert [path for path in good if not compiled.matches(canonical_path(path))] == []
    assert [path for path in bad if compiled.matches(canonical_path(path))] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "*",
        "**",
        "//",
        "/a//b",
        "/a*",
        "/*a",
        "/a/***",
        "/a/**b",
        "/**/",
        "/**/a",
        "/a/**/b/**",
        "/.",
        "/a/../b",
        "/a/%2e",
        "/a%2Fb",
        "/a;b",
        "/a?b",
        "/a#b",
        "/a b",
        "/a\\b",
        "/caf\u00e9",
        "/{}",
        "/{1a}",
        "/{a-b}",
        "/{a}b",
        "/a{b}",
        "/{a",
        "/{a\n}",
        "/{\u00e9}",
        "http://h/a",
    ],
)
def test_path_patterns_refused(text: str) -> None:
    """A pattern that no path could fit, or that reads two ways, is an error when it is loaded."""
    with pytest.raises(ValueError, match=r"."):
        path_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("spiffe://td/a", ["td/a"], ["td/a/b", "td/ab", "td.x/a", "x.td/a", "td/A"]),
        ("spiffe://td/*", ["td/a", "td/..."], ["td/a/b", "te/a"]),
        ("spiffe://td/**", ["td/a", "td/a/b"], ["td2/a"]),
        ("spiffe://td/a/**", ["td/a", "td/a/b/c"], ["td/ab", "td/b/a"]),
        (
            "spiffe://td/ns/*/sa/x",
            ["td/ns/n/sa/x"],
            ["td/ns/sa/x", "td/ns/n/m/sa/x", "td/ns/n/sa/xy"],
        ),
    ],
)
def test_spiffe_ids(pattern: str, good: list[str], bad: list[str]) -> None:
    """A pattern of IDs stays in its one trust domain and fits whole segments."""
    compiled = SpiffePattern.parse(pattern)

    assert all(compiled.matches(SpiffeId.parse(f"spiffe://{text}")) for text in good)
    assert not any(compiled.matches(SpiffeId.parse(f"spiffe://{text}")) for text in bad)
    assert compiled.is_exact == ("*" not in pattern)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "**",
        "td/*",
        "spiffe://*",
        "spiffe://**",
        "spiffe://*/a",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td*",
        "spiffe://t*d/a",
        "spiffe://TD/*",
        "spiffe:///*",
        "SPIFFE://td/*",
        "https://td/*",
        "spiffe://td/a*",
        "spiffe://td/*/",
        "spiffe://td//*",
        "spiffe://td/**/a",
        "spiffe://td/../*",
        "spiffe://td/%61/*",
        "spiffe://td/a/b\n/*",
        "spiffe://td/{id}",
        "spiffe://td/{id}/*",
    ],
)
def test_spiffe_patterns_refused(text: str) -> None:
    """No pattern spans trust domains, cuts segments or has a text that no ID could hold."""
    with pytest.raises(ValueError, match=r"."):
        SpiffePattern.parse(text)


def test_an_exact_id_matches_itself_only() -> None:
    """Without a star a pattern is the ID, and another ID that begins like it is another."""
    ids = [SpiffeId.parse(f"spiffe://td/{path}") for path in ("a", "a/b", "ab", "a.b", "b")]
    for one in ids:
        pattern = SpiffePattern.parse(one.text)
        assert [other for other in ids if pattern.matches(other)] == [one]


def test_the_zero_pattern_fits_nothing() -> None:
    """A pattern of no segments, which nothing parses to, fits no path that a request can have."""
    nothing = SegmentPattern((), rest=False)

    assert not nothing.matches(("",))
    assert not nothing.matches(("a",))


@pytest.mark.parametrize(
    "method", ["*", "GET", "PURGE", "QUERY", "PROPPATCH", "REPORT", "M-SEARCH"]
)
def test_methods_that_are_some(method: str) -> None:
    """Whatever is no slip of a method of every day is taken: servers have others."""
    assert TypeAdapter(MethodText).validate_python(method) == method


def test_a_colon_that_is_meant() -> None:
    """A segment that begins with a colon can be named, with an escape."""
    assert path_pattern("/a/%3Ab").matches(canonical_path("/a/:b"))
