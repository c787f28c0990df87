"""How paths and hosts that were written as other products write them are shown as ours."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.hosts import host_pattern
from authz.core.pattern_hints import bare_host, glob_of, is_regex, rooted
from authz.core.patterns import path_pattern
from authz.core.spiffe import SpiffePattern, trust_domain_text


@pytest.mark.parametrize(
    ("regex", "glob"),
    [
        ("^/api/.*$", "/api/**"),
        ("/api/.+", "/api/**"),
        ("/api/[0-9]+", "/api/*"),
        (r"/api/\d+/items", "/api/*/items"),
        ("/api/[^/]+/items", "/api/*/items"),
        ("/api/(?P<id>[a-z]+)", "/api/*"),
        ("/api/(a|b)", "/api/*"),
        ("/api/{id:[0-9]{2}}/x", "/api/{id}/x"),
        (r"^/v1/a\.json$", "/v1/a.json"),
        ("/a/x.*/b", "/a/*/b"),
        ("^.*$", "/**"),
        ("^/$", "/"),
    ],
)
def test_a_glob_of_a_regular_expression(regex: str, glob: str) -> None:
    """The glob is about the same paths, and can be written."""
    assert is_regex(regex)
    assert glob_of(regex) == glob
    path_pattern(glob)


@pytest.mark.parametrize(
    "path", ["/orders/**", "/orders/{id}", "/a/$metadata", "/Orders(1)", "/a.b", "/a+b", "/*"]
)
def test_no_regular_expression(path: str) -> None:
    """What paths have is not taken for a regular expression."""
    assert not is_regex(path)
    path_pattern(path)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://a.example", "a.example"),
        ("http://u:p@a.example:80/b?c#d", "a.example"),
        ("a.example/b", "a.example"),
        ("A.example.", "a.example"),
        ("https://*.a.example/", "*.a.example"),
        ("::1", "[::1]"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_the_host_in_a_text(text: str, host: str) -> None:
    """The host alone, as it would be written."""
    assert bare_host(text) == host


@given(st.text(max_size=60))
@example("[::ffff:10.0.0.1]")
@example("//[")
def test_whatever_is_written(text: str) -> None:
    """Any text is taken, or refused by a ValueError, and never by another error."""
    for parse in (host_pattern, path_pattern, SpiffePattern.parse, trust_domain_text):
        with suppress(ValueError):
            parse(text)
    assert rooted(text).startswith("/")
