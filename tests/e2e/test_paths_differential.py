"""Paths, byte by byte: what Envoy, agent-authz, a Python and a Go upstream each make of them.

The property that all is for: what is allowed is read by the upstream as the segments that were
decided on. Real servers say what they read; nothing here knows how they do it.
"""

from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.paths import Form, read_path
from lab.mesh import Mesh
from support.path_lines import Line, Lines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]  # a cold Go compiler takes a minute
# Of the forms that a route may accept, the ones that an upstream's router reads as we do.
READS_AS_WE_DO: dict[str, frozenset[Form]] = {
    "python": frozenset(get_args(Form)) - {"empty_segments", "escaped_slash"},
    "go": frozenset(get_args(Form)) - {"empty_segments"},
}


@pytest.fixture(scope="module")
def lines(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lines]:
    """Everything that reads a path."""
    with Lines(mesh, tmp_path_factory.mktemp("paths")) as running:
        yield running


def held(lines: dict[str, Line], target: bytes) -> dict[str, bool]:
    """Hold the property for one target; for each upstream, whether it was reached."""
    reached = {}
    for name, line in lines.items():
        answer = line.ask(target)
        reached[name] = answer.is_from_upstream
        if not answer.is_from_upstream:
            assert answer.status in {400, 403}, (target, answer)
        elif answer.segments is None:  # found nothing there: only ever for an accepted //
            assert b"/open" in target, (target, answer)
            assert answer.status in {307, 404}, (target, answer)
        else:
            segments, forms = read_path(answer.raw.partition("?")[0])
            assert not forms or segments[0] == "open", (target, answer)
            assert not forms <= READS_AS_WE_DO[name] or answer.segments == segments, target
    return reached


PLAIN = [
    "a",
    "a/b",
    "a/",
    "caf%C3%A9/x",
    "%61dmin",
    "a%20b",
    "a.b",
    "...",
    "a:b@c,d=e",
    "~a",
    "a%22",
]
REFUSED = [
    *(b"a%2Fb", b"..%2fopen", b"a%5cb", b"a%5C..%5Cb", b"a;v=1", b"a%3Bv", b"a;/b"),
    *(b"a%00", b"a%00.png", b"a%0d%0aX:y", b"a%7f", b"a%c2%85", b"%252e%252e/open", b"a%252Fb"),
    *(b"100%25", b"%c0%af", b"%c0%ae%c0%ae/open", b"%e0%80%af", b"%ff", b"%ed%a0%80", b"%ef%bc%8f"),
    *(b"a%zz", b"a%", b"%u002e", b"a%3fb", b"a%23b", b"a#b", b"\xff", b"caf\xc3\xa9", b"%e2%80%a5"),
]
REFUSED_UNTOUCHED = [
    *(
        b"/strict/../open/x",
        b"/strict/..;/open/x",
        b"/strict/./a",
        b"/strict/%2e%2e/open/x",
        b"/strict/.%2E/open/x",
    ),
    *(b"/strict/a//b", b"//strict/a", b"/strict//", b"/strict/a\\b", b"/strict/..\\open"),
    *(b"\\strict\\a", b"/open/../strict/a%2Fb", b"//open/x", b"/open/..%2fx", b"/open/a%2F..%2Fb"),
    *(b"/open/%2e%2E", b"/open/a/%2E%2e/strict", b"/open/a%2F%2e%2E%2Fb", b"/open/%252E%2E"),
    *(b"/open/..%23", b"/open/a/..%3Fb", b"/open/%2E%2e%3Bx", b"/open/..%2523", b"/open/a%23.."),
    *(b"/open/a%252F..", b"/open/a%00", b"/open/%c0%af", b"/open/..;x", b"*", b"/"),
]


@pytest.mark.parametrize("path", PLAIN)
def test_plain_paths_pass(lines: Lines, path: str) -> None:
    """What everybody reads one way reaches the upstreams, which read it as we do."""
    for through in (lines.shipped, lines.untouched):
        assert held(through, f"/strict/{path}".encode()) == {"python": True, "go": True}


@pytest.mark.parametrize("path", REFUSED)
def test_ambiguous_paths_do_not_pass(lines: Lines, path: bytes) -> None:
    """What anybody could read otherwise reaches no upstream, whatever Envoy does with paths."""
    for through in (lines.shipped, lines.untouched):
        assert held(through, b"/strict/" + path) == {"python": False, "go": False}


@pytest.mark.parametrize("target", REFUSED_UNTOUCHED)
def test_what_envoy_does_not_normalise(lines: Lines, target: bytes) -> None:
    """What the shipped Envoy brings into one form is refused by us where it comes as it was."""
    held(lines.shipped, target)
    assert held(lines.untouched, target) == {"python": False, "go": False}


@pytest.mark.parametrize(
    "target", [b"http://mcp.corp.example/strict/a", b"https://mcp.corp.example/strict/a?b=c"]
)
def test_absolute_form(lines: Lines, target: bytes) -> None:
    """Envoy makes the absolute form an ordinary one first: check and upstreams see the same."""
    for through in (lines.shipped, lines.untouched):
        assert held(through, target) == {"python": True, "go": True}
    evil = target.replace(b"corp", b"evil").replace(b"strict", b"strict/..")
    assert held(lines.untouched, evil) == {"python": False, "go": False}


def test_the_upstreams_do_disagree(lines: Lines) -> None:
    """Asked without a proxy, the two read these differently: that is why they are refused."""
    for target in (b"/strict/a%2Fb", b"/strict/..%2Fopen", b"/strict/../open", b"/strict/a%zz"):
        python, go = (line.ask(target) for line in lines.direct.values())
        assert python.segments != go.segments, target


def test_dots_reach_routers(lines: Lines) -> None:
    """Neither router minds escaped dots, a NUL or overlong text: nobody behind us would."""
    for path in (b"%2e%2e/open", b"a%00", b"%c0%af"):
        for line in lines.direct.values():
            assert line.ask(b"/strict/" + path).segments is not None, path


# (target, our reading, what Starlette reads, what Go reads; a status where it finds nothing)
Read = tuple[str, ...] | int
ACCEPTED: list[tuple[str, tuple[str, ...], Read, Read]] = [
    ("100%25", ("100%",), ("100%",), ("100%",)),
    ("a%252Fb", ("a%2Fb",), ("a%2Fb",), ("a%2Fb",)),
    ("a//b", ("a", "", "b"), 404, 307),
    ("a%5Cb", ("a\\b",), ("a\\b",), ("a\\b",)),
    ("a%2Fb", ("a/b",), ("a", "b"), ("a/b",)),
    ("a%2F", ("a/",), ("a", ""), ("a/",)),
    ("a;v=1", ("a;v=1",), ("a;v=1",), ("a;v=1",)),
    ("a%3Bv", ("a;v",), ("a;v",), ("a;v",)),
    ("a%2Eb", ("a.b",), ("a.b",), ("a.b",)),
    ("%2Eenv", (".env",), (".env",), (".env",)),
    ("%23a", ("#a",), ("#a",), ("#a",)),
    ("a%3Fb=c", ("a?b=c",), ("a?b=c",), ("a?b=c",)),
    ("lib%2Fclass%2Erb", ("lib/class.rb",), ("lib", "class.rb"), ("lib/class.rb",)),
]


@pytest.mark.parametrize(("path", "ours", "python", "go"), ACCEPTED)
def test_what_upstreams_make_of_accepted_forms(
    lines: Lines, path: str, ours: tuple[str, ...], python: Read, go: Read
) -> None:
    """What docs/howto/routes.md tells operators of each form is what the servers do."""
    assert read_path(f"/open/{path}")[0] == ("open", *ours)
    for name, expected in (("python", python), ("go", go)):
        answer = lines.untouched[name].ask(f"/open/{path}".encode())
        assert answer.is_from_upstream
        read = answer.status if answer.segments is None else answer.segments[1:]
        assert read == expected, name


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("100%25", ("100%",)),
        ("a//b", ("a", "b")),
        ("a%5Cb", 400),
        ("a%2Fb", 400),
        ("a;v=1", ("a;v=1",)),
        ("a%3Bv", ("a;v",)),
        ("a%2Eb", ("a.b",)),
        ("%23a", ("#a",)),
        ("a%3Fb=c", ("a?b=c",)),
    ],
)
def test_accepted_forms_through_the_shipped_envoy(lines: Lines, path: str, ours: Read) -> None:
    """The Envoy that we ship merges // and refuses escaped slashes before any route is asked."""
    for line in lines.shipped.values():
        answer = line.ask(f"/open/{path}".encode())
        assert (answer.status if answer.segments is None else answer.segments[1:]) == ours


PIECES = [
    *(b"/", b"//", b"a", b"B7", b"open", b"strict", b".", b"..", b"%2e", b"%2F", b"%2f", b"%5c"),
    *(b"\\", b";", b";v=1", b"%3B", b"%25", b"%252f", b"%252e", b"%00", b"%0a", b"%7f", b"%20"),
    *(b"%41", b"%C3%A9", b"%c3", b"%c0%af", b"%c0%ae", b"%ff", b"%ef%bc%8f", b"%e2%80%a5", b"%zz"),
    *(b"%", b"?", b"%3f", b"#", b"%23", b"~", b"@", b":", b"+", b"&", b"|", b'"', b"\xff", b"\t"),
]
STARTS = [b"/strict/", b"/open/", b"/", b"//", b"http://mcp.corp.example/strict/"]
TARGETS = st.tuples(
    st.sampled_from(STARTS), st.lists(st.sampled_from(PIECES) | st.binary(max_size=1), max_size=8)
).map(lambda parts: parts[0] + b"".join(parts[1]))


def test_whatever_is_allowed_is_read_the_same(lines: Lines) -> None:
    """Of any bytes: what passes is read by both upstreams as the segments that were decided on."""
    reached: list[bytes] = []

    @settings(
        max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(TARGETS.filter(lambda target: not set(target) & set(b"\r\n \0")))
    def ask(target: bytes) -> None:
        ways = (lines.shipped, lines.untouched)
        reached.extend(target for through in ways if any(held(through, target).values()))

    ask()
    assert len(reached) > 50
