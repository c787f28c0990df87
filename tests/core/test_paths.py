"""Paths: one reading, the forms in it that some servers read otherwise, and who accepts them."""

import re
import string
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import get_args
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config import ConfigError, load_text
from authz.core.paths import (
    MAX_PATH_BYTES,
    Form,
    Segments,
    canonical_path,
    read_path,
    unescaped,
    written_path,
)
from authz.core.reason import Denied, Reason
from lab.config_builder import AT_PUBLIC_RULE, LAB
from support.world import World, reason_of

FORMS: frozenset[Form] = frozenset(get_args(Form))
PLAIN = string.ascii_letters + string.digits + "._~!$&'()*+,=:@-"  # RFC 3986 pchar without ';'


def read_or_none(path: str) -> tuple[Segments, frozenset[Form]] | None:
    """The reading, None when there is no sane one."""
    try:
        return read_path(path)
    except Denied as denied:
        if denied.reason is not Reason.PATH_AMBIGUOUS:
            raise
        return None


def plain_or_none(path: str) -> Segments | None:
    """The strict reading, None when it is refused."""
    try:
        return canonical_path(path)
    except Denied as denied:
        if denied.reason is not Reason.PATH_AMBIGUOUS:
            raise
        return None


READINGS: list[tuple[str, Segments, set[Form]]] = [
    ("/a%2Fb", ("a/b",), {"escaped_slash"}),
    ("/a%2fb/c", ("a/b", "c"), {"escaped_slash"}),
    ("/a%5Cb", ("a\\b",), {"escaped_backslash"}),
    ("/a;v=1", ("a;v=1",), {"parameters"}),
    ("/a;v=1/b;w/", ("a;v=1", "b;w", ""), {"parameters"}),
    ("/a%3Bv", ("a;v",), {"escaped_semicolon"}),
    ("/a;b%3bv", ("a;b;v",), {"escaped_semicolon", "parameters"}),
    ("/%23ops%3Acorp.example", ("#ops:corp.example",), {"escaped_number_sign"}),
    ("/a%3Fb%3f", ("a?b?",), {"escaped_question_mark"}),
    ("/a%2Eb", ("a.b",), {"escaped_dot"}),
    ("/a%2e/b", ("a.", "b"), {"escaped_dot"}),
    ("/%2Eenv", (".env",), {"escaped_dot"}),
    ("/lib%2Fclass%2Erb", ("lib/class.rb",), {"escaped_dot", "escaped_slash"}),
    ("/a//b", ("a", "", "b"), {"empty_segments"}),
    ("/a//", ("a", "", ""), {"empty_segments"}),
    ("/100%25", ("100%",), {"double_encoding"}),
    ("/a%2561", ("a%61",), {"double_encoding"}),
    # What a reader sees who decodes, separates or cuts off more than we do.
    ("/a%252Fb", ("a%2Fb",), {"double_encoding", "escaped_slash"}),
    ("/a%25%32Fb", ("a%2Fb",), {"double_encoding", "escaped_slash"}),
    ("/a%253Bb", ("a%3Bb",), {"double_encoding", "escaped_semicolon"}),
    ("/%253f", ("%3f",), {"double_encoding", "escaped_question_mark"}),
    ("/%2523", ("%23",), {"double_encoding", "escaped_number_sign"}),
    ("/a%252Eb", ("a%2Eb",), {"double_encoding", "escaped_dot"}),
    ("/a%255Cb", ("a%5Cb",), {"double_encoding", "escaped_backslash"}),
    ("/;x/admin", (";x", "admin"), {"empty_segments", "parameters"}),
    ("/a%2F", ("a/",), {"empty_segments", "escaped_slash"}),
    ("/%2Fa", ("/a",), {"empty_segments", "escaped_slash"}),
    ("/a%2F%5Cb", ("a/\\b",), {"empty_segments", "escaped_backslash", "escaped_slash"}),
    ("/a%2F;x%2Fb", ("a/;x/b",), {"empty_segments", "escaped_slash", "parameters"}),
    ("/%252F", ("%2F",), {"double_encoding", "empty_segments", "escaped_slash"}),
]


@pytest.mark.parametrize(("path", "segments", "forms"), READINGS)
def test_readings(path: str, segments: Segments, forms: set[Form]) -> None:
    """Each form has one reading and its name, and the strict face refuses what has a name."""
    assert read_path(path) == (segments, frozenset(forms))
    assert plain_or_none(path) is None


NEVER = [
    *("/..", "/.", "/a/../b", "/a/./b", "/a/..", "/%2e%2e", "/.%2E", "/%2E.", "/%2e", "/.;x"),
    *("/a%2F%2E%2E", "/%2E%2E%2Fa", "/%2e%5Ca", "/a%2F%2e%2E%2Fb", "/%2E%2E;x", "/%252E.", "/%2e/"),
    *(
        "/..%23",
        "/..%3Fx",
        "/%2E%2E%23x",
        "/.%3f",
        "/a%23..",
        "/a%3F%2e%2e%2Fb",
        "/..%2523",
        "/%1f",
    ),
    *("/..%2fadmin", "/a%2F..", "/a%2f..%2Fb", "/a%2F.%2Fb", "/..%5Cadmin", "/a%5C..", "/..;x"),
    *("/a%2F..;x%2Fb", "/..%3Bx", "/a;/../b", "/a;..", "/a;.;b", "/%252e%252e", "/..%252fadmin"),
    *("/%25%32e", "/a%252F..", "/%2500", "/%250a", "/%25c0%25ae", "/%25ff", "/%251f"),
    *("/%25252f", "/%252561", "/%25%2532%2566", "/%25ef%25bc%258f"),
    *("/%00", "/a%00.png", "/a%2F%00", "/%01", "/%0d%0a", "/%7f", "/%c2%85", "/%e2%80%a8"),
    *("/%c0%af", "/%c0%ae%c0%ae/x", "/%e0%80%af", "/%f0%80%80%af", "/%ff", "/%80", "/%ed%a0%80"),
    *("/%ef%bc%8f", "/a%2F%ef%bc%8f", "/%ef%bc%8e.", "/%ef%bc%8e%2fa", "/%e2%80%a5", "/%ef%bc%9b"),
    *("/%ef%bc%bc", "/a;%ef%bc%9b", "/%ef%bc%85", "/%25%ef%bc%85", "/%ef%bc%9f", "/%ef%bc%83"),
    *("", "*", "a", "http://h/a", "https://h", "h:443", "//", "//h/a", "///a", "//;x", "\\a"),
    *("/a\\b", "/a\\..\\b", "/a?b", "/a#b", "/a b", "/\t", "/a\n", "/\x00", "/\x7f", "/\u00e9"),
    *("/\uff0f", "/%", "/%2", "/%zz", "/%u002f", "/a;%", "/%2f%", "/\ud800", "/<", "/{a}", '/"'),
    "/" + "a" * MAX_PATH_BYTES,
    "/" + ";" * MAX_PATH_BYTES,
]

# Those that are as bad below another segment, and that a proxy can send.
BELOW = [path for path in NEVER if re.match(r"/[^/\ud800]", path) and "?" not in path]


@pytest.mark.parametrize("path", NEVER)
def test_what_has_no_sane_reading(path: str) -> None:
    """No route can accept it: dots, controls, broken or overlong text, what is not a path."""
    assert read_or_none(path) is None


@given(st.lists(st.text("ab/%;?# é2F", max_size=4), min_size=1, max_size=4).map(tuple))
def test_written_paths_are_apart(segments: Segments) -> None:
    """Others read the segments back: a slash in one of them separates nothing."""
    written = written_path(segments)

    assert not set(written) & set("?#")
    assert tuple(unquote(one) for one in written[1:].split("/")) == segments


def test_length() -> None:
    """Both sides of the bound are what they say."""
    assert read_or_none("/" + "a" * (MAX_PATH_BYTES - 1)) is not None
    for piece in ("a", "/a", "a;", "%25", "%2525", "%61", "a%", "%2F", ";/", "%C3%A9", "a!/"):
        read_or_none("/" + (piece * MAX_PATH_BYTES)[: MAX_PATH_BYTES - 1])
        read_or_none("/" + (piece * MAX_PATH_BYTES)[: MAX_PATH_BYTES - 2] + "\n")


SEGMENT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(";/\\%?# ."),
    max_size=8,
)


@given(st.lists(SEGMENT, min_size=1, max_size=5))
def test_round_trip(segments: list[str]) -> None:
    """Segments that are written out with escapes are read as just these, or not at all."""
    reading = read_or_none("/" + "/".join(quote(one, safe=PLAIN) for one in segments))

    assert reading is None or reading[0] == tuple(segments)


NAME = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=4)
PIECE = NAME | st.sampled_from(["%2F", "%5c", ";", "%3B", "%25", "%2e", "%3F", "%23"])


@given(st.lists(st.lists(PIECE, max_size=5).map("".join), min_size=1, max_size=4))
def test_every_form_is_named(segments: list[str]) -> None:
    """A form that stands in a path is named, and a path without any has none."""
    path = "/" + "/".join(segments)
    reading = read_or_none(path)
    if reading is None:
        return
    signs: dict[str, Form] = {
        "%2F": "escaped_slash",
        "%5c": "escaped_backslash",
        ";": "parameters",
        "%3B": "escaped_semicolon",
        "%2e": "escaped_dot",
        "%3F": "escaped_question_mark",
        "%23": "escaped_number_sign",
        "%25": "double_encoding",
        "//": "empty_segments",
    }
    named = {form for sign, form in signs.items() if sign in path}

    assert named <= reading[1]
    assert named or not reading[1]
    assert reading[0] == tuple(unquote(one) for one in segments)


HOSTILE = st.text(st.sampled_from("/.%;\\?#aA02eEfFcC5 \t\u00e9\uff0f\uff0e\u2025"), max_size=16)


@given(HOSTILE.map("/".__add__))
def test_what_no_reader_can_find(path: str) -> None:
    """Whoever decodes again, separates or cuts off what he likes finds no dots and no control."""
    reading = read_or_none(path)
    if reading is None:
        return
    for text in {"/".join(reading[0]), unquote("/".join(reading[0]))}:
        assert not {".", ".."} & set(re.split(r"[/\\;?#]", text))
        assert text.isprintable()
        assert not set(text) & set("\uff0f\uff0e")
        assert "?" not in text or "escaped_question_mark" in reading[1]
        assert "#" not in text or "escaped_number_sign" in reading[1]


@given(HOSTILE.map("/".__add__))
def test_strict_is_the_part_without_forms(path: str) -> None:
    """The strict face gives the same segments, and only where no form is named."""
    reading = read_or_none(path)
    strict = plain_or_none(path)

    assert strict == (reading[0] if reading is not None and not reading[1] else None)
    assert strict is None or not any(set(one) & set("/\\%;?#") for one in strict)


ODD: dict[Form, str] = {
    "double_encoding": "100%25",
    "empty_segments": "x//y",
    "escaped_backslash": "x%5Cy",
    "escaped_dot": "x%2Ey",
    "escaped_number_sign": "%23x",
    "escaped_question_mark": "x%3Fy",
    "escaped_semicolon": "x%3By",
    "escaped_slash": "x%2Fy",
    "parameters": "x;v=1",
}
ROUTES = "".join(f"- {{name: {f}, paths: [/{f}/**], accept_ambiguous: [{f}]}}\n" for f in ODD)
PATHS = [f"/{form}/**" for form in ODD]
CHANGES = LAB.with_routes(f"""\
- {{name: inner, paths: [/all/in/**], modes: [autonomous]}}
- {{name: all, paths: [/all/**], accept_ambiguous: [{", ".join(ODD)}]}}
{ROUTES}
- {{name: lax, paths: [/lax/x/**], protocol: mcp, bootstrap: [initialize]}}
""").with_((*AT_PUBLIC_RULE, "paths"), ["/public/**", "/lax/**", "/all/**", *PATHS])


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with a route for each form, one for all and one for none of them."""
    with World(tmp_path_factory.mktemp("paths"), CHANGES) as world:
        yield world


@pytest.mark.parametrize("accepted", sorted(FORMS))
@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_route_accepts_what_it_names(routed: World, accepted: Form, form: Form) -> None:
    """A form passes on the route that names it, and on no other; the defaults accept none.

    Who keeps ``;x`` in a name keeps ``%3Bx`` in it too.
    """
    token = routed.token()
    is_implied = (accepted, form) == ("parameters", "escaped_semicolon")
    expected = "allow" if form == accepted or is_implied else "path_ambiguous"

    assert reason_of(routed.ask(token, path=f"/{accepted}/{ODD[form]}")) == expected
    assert reason_of(routed.ask(token, path=f"/all/{ODD[form]}")) == "allow"
    assert reason_of(routed.ask(token, path=f"/public/{ODD[form]}")) == "path_ambiguous"
    assert routed.audit_records()[-1]["detail"] == f"the path has {form}"


@pytest.mark.parametrize("path", BELOW)
def test_no_route_accepts_what_has_no_reading(routed: World, path: str) -> None:
    """A route that accepts every form still refuses what nobody can read one way."""
    assert reason_of(routed.ask(routed.token(), path=f"/all{path}")) == "path_ambiguous"


def test_an_odd_path_gets_no_laxer_route(routed: World) -> None:
    """A path is of the route that our reading finds, and a route that accepts nothing is shut."""
    token = routed.token()
    rows = {
        "/all/in/y": "actor_not_permitted",  # of the inner route, where no principal is served
        "/all/in%2Fy": "allow",  # one segment: it is not below /all/in
        "/all//in/y": "allow",
        "/all/in;v/y": "allow",
        "/all/in/y%2Fz": "path_ambiguous",  # of the inner route, which accepts nothing
        "/lax/x/y%2Fz": "path_ambiguous",
        "/lax/x%2Fy": "path_ambiguous",  # of no route at all
        "/lax//x/y": "path_ambiguous",
        "/all%2Fx": "path_ambiguous",
        "/all;/x": "path_ambiguous",
        "/public%2F..%2Fall/x%2Fy": "path_ambiguous",
    }

    assert {path: reason_of(routed.ask(token, path=path)) for path in rows} == rows


def test_the_proxy_names_the_route_that_accepts(routed: World) -> None:
    """What counts is the route that the proxy names, whatever the path says."""
    token = routed.token()
    for name, path, reason in (
        ("all", "/public/x%2Fy", "allow"),
        ("lax", "/all/x%2Fy", "path_ambiguous"),
        ("nowhere", "/all/x%2Fy", "policy_denied"),
    ):
        assert reason_of(routed.ask(token, path=path, context={"authz_route": name})) == reason


def test_rules_on_odd_paths(tmp_path: Path) -> None:
    """One * takes a name with a slash in it, never an empty one; a literal never equals more."""
    paths = ["/public/*", "/public/*/end", "/public/fixed/*/deep"]
    changes = LAB.with_routes(f"[{{name: r, accept_ambiguous: [{', '.join(ODD)}]}}]")
    changes = changes.with_((*AT_PUBLIC_RULE, "paths"), paths)
    rows = {
        "/public/group%2Fproject": "allow",
        "/public/group/project": "policy_denied",
        "/public/group%2Fproject/end": "allow",
        "/public//end": "policy_denied",
        "/public/fixed//deep": "policy_denied",
        "/public/fixed;v/x/deep": "policy_denied",
        "/public/%2566ixed/x/deep": "policy_denied",
        "/public%2Fx": "policy_denied",
    }
    with World(tmp_path, changes) as world:
        token = world.token()
        assert {path: reason_of(world.ask(token, path=path)) for path in rows} == rows


@pytest.mark.parametrize("path", ["/a%2Fb", "/a;v", "/a//b", "/a%5Cb", "/100%25", "/%23a", "//a"])
def test_patterns_stay_plain(shared_world: World, path: str) -> None:
    """A pattern with an ambiguous form is an error at load, whatever routes accept: * covers it."""
    text = LAB.with_((*AT_PUBLIC_RULE, "paths"), [path]).edit(shared_world.config_text)
    with pytest.raises(ConfigError, match="no request has such a path"):
        load_text(text.encode(), "f.yaml")


def test_a_form_that_does_not_exist(shared_world: World) -> None:
    """Dot segments and controls can't be accepted: the config has no word for them."""
    for word in ("dot_segments", "control", "all"):
        change = LAB.with_routes(f"[{{name: a, accept_ambiguous: [{word}]}}]")
        text = change.edit(shared_world.config_text)
        with pytest.raises(ConfigError, match="accept_ambiguous"):
            load_text(text.encode(), "f.yaml")


def test_the_names_are_in_order() -> None:
    """Forms are listed as they are told: in the order of the alphabet."""
    names = get_args(Form)

    assert all(one < other for one, other in pairwise(names))


# --- without any ambiguity ---

PUBLIC = "/public/"


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


@pytest.mark.parametrize("place", ["{}", "{}a", "a{}", "a{}a", "{}/a", "a/{}"])
def test_each_literal_character(place: str) -> None:
    """Of all characters, exactly RFC 3986's pchar without ';' and '%' may stand as they are."""
    chars = [chr(code) for code in range(0x180)] + list("\u2028\u2044\uff0f\uff0e\ud800")
    taken = {char for char in chars if plain_or_none(f"/{place.format(char)}") is not None}
    dots = {"."} if place in {"{}", "{}/a", "a/{}"} else set()

    # A slash divides: good where it leaves no empty segment in the middle, good at the end.
    assert taken - {"/"} == set(PLAIN) - dots
    assert ("/" in taken) == (place in {"a{}", "a{}a"})


@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_each_escaped_byte(case: Callable[[str], str]) -> None:
    """Escapes of printable ASCII are decoded, but not of what separates, escapes or is a dot."""
    taken = {}
    for code in range(256):
        segments = plain_or_none(f"/a{case(f'%{code:02x}')}b")
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
        assert plain_or_none(path) is None, path


@pytest.mark.parametrize(
    "path", ["", "*", "a", "public", "http://h/admin", "https:/admin", "//", "\\admin", " /", "%2f"]
)
def test_paths_that_are_not_absolute(path: str) -> None:
    """Absolute-form, authority-form, '*' and the empty path of CONNECT have no canonical form."""
    assert plain_or_none(path) is None


def test_path_length() -> None:
    """The bound is on the raw path, and both sides of it are what they say."""
    assert plain_or_none("/" + "a" * (MAX_PATH_BYTES - 1)) is not None
    assert plain_or_none("/" + "a" * MAX_PATH_BYTES) is None
    assert plain_or_none("/" + "%61" * MAX_PATH_BYTES) is None


HOSTILE_TEXT = st.text(
    alphabet="/.%;\\?#aAbB02eEfFcC5 \t\n\u00e9\uff0f\uff0e\u2025\u2024", max_size=14
)
HOSTILE_BYTES = st.binary(max_size=8).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw))


@given(st.lists(HOSTILE_TEXT | HOSTILE_BYTES, max_size=4).map(lambda parts: "/" + "/".join(parts)))
def test_what_is_left_in_segments(path: str) -> None:
    """Whatever is accepted holds no separator, escape or dot segment, even after NFKC folding."""
    segments = plain_or_none(path)
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
    segments = plain_or_none(path)
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
    assert plain_or_none(path) is not None


@given(st.text("%=aAfF0259 \n\r_.?\x80\u00e9", max_size=12))
def test_unescaped(text: str) -> None:
    """Escapes are decoded as the standard library does it, and all else stays."""
    assert unescaped(text) == unquote_to_bytes(text)


SEPARATED = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "=",
                "%41",
                ";",
                "%25",
                "%2F",
                "%5c",
                "%3B",
                "%23",
                "%3F",
                "%2e",
                "%C3%A9",
                "%2541",
                "%252F",
                "=3D",
            ),
            *(".", "%CC%B8", "%EF%AC%80", "%F0%9F%98%80", "%E3", "%81", "%82", "%EF%BC%8F"),
            "%25C3",
        ]
    ),
    max_size=4,
).map("".join)


@given(st.lists(SEPARATED, min_size=1, max_size=4))
def test_segments_are_read_apart(segments: list[str]) -> None:
    """A path is read as each of its segments is: none of them changes what another one means."""
    apart = [read_or_none(f"/x/{one}") for one in segments]
    whole = read_or_none("/x/" + "/".join(segments))

    if whole is None:
        assert None in apart
        return
    assert whole[0] == ("x", *(one[0][1] for one in apart if one))
    forms = frozenset().union(*(one[1] for one in apart if one))
    assert whole[1] - {"empty_segments"} == forms - {"empty_segments"}
