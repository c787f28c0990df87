"""Lists of names of tools and the like, and of URIs of resources: exact, or patterns.

In a name ``*`` stands for any run of characters. URIs are matched segment by segment, and only if
they have a single reading: a URI that two servers might take for two resources fits no pattern of
an allow, and every pattern of a deny.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Self

from pydantic import AfterValidator

from authz.core.paths import read_path
from authz.core.patterns import ANY, REST
from authz.core.reason import Denied
from authz.core.request import MAX_NAME_CHARS, MAX_URI_CHARS

_SHOWN: Final = 5  # of a list in a text for people
_ESCAPED_ANY: Final = "%2A"  # decoded, it would be a star
# Lower case only: servers may take a scheme in capitals for the same (RFC 3986 section 6.2.2.1).
_URI: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*:)(?P<slashes>//)?(?P<rest>[^?#]*)(?P<tail>[?#].*)?", re.DOTALL
)
# RFC 3986 section 2.3: these need no escape, and servers treat the escaped form as the plain one.
_UNRESERVED_ESCAPE: Final = re.compile(
    r"%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])"
)

# Schemes in which URL parsers (WHATWG, section 3.3) find a host after any number of slashes, with
# the default port, which they drop; after "file:" they take any number of slashes for three.
_PORTS: Final = {
    "file:": "",
    "ftp:": "21",
    "http:": "80",
    "https:": "443",
    "ws:": "80",
    "wss:": "443",
}
_ODD_PORT: Final = re.compile(r".*:(?:0[0-9]*)?")  # empty, or with leading zeros


def _name(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME_CHARS or not text.isprintable():
        raise ValueError(f"must be 1 to {MAX_NAME_CHARS} printable characters, as in get_*")
    return text


def _uri(text: str) -> str:
    if not 0 < len(text) <= MAX_URI_CHARS or not text.isprintable():
        raise ValueError(f"must be 1 to {MAX_URI_CHARS} printable characters, as in file:///a/**")
    if _is_pattern(text):
        UriPattern.parse(text)
    return text


NameText = Annotated[str, AfterValidator(_name)]
"""For settings: the name of a tool, a method or the like, or a pattern of them."""
UriText = Annotated[str, AfterValidator(_uri)]
"""For settings: the URI of a resource, or a pattern of them."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A text in which ``*`` stands for any run of characters, as the parts between the stars.

    Not a regular expression: with several stars, hostile texts make these slow.
    """

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split a text at its stars. Any text is valid."""
        return cls(tuple(text.split(ANY)))

    @property
    def folded(self) -> Self:
        """The same pattern, case-folded: it matches case-folded input."""
        return type(self)(tuple(part.casefold() for part in self.parts))

    def matches(self, text: str) -> bool:
        """Tell whether the whole text matches."""
        first, *middle = self.parts
        if not middle:
            return text == first
        last = middle.pop()
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for part in middle:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


class Globs:
    """Patterns that are found by their fixed beginning or end: rules of a config name thousands."""

    __slots__ = ("_by_beginning", "_by_end", "_others")

    def __init__(self, globs: Iterable[Glob]) -> None:
        """Sort the patterns by the length and the text of their beginning, else of their end."""
        self._by_beginning: dict[int, dict[str, list[Glob]]] = {}
        self._by_end: dict[int, dict[str, list[Glob]]] = {}
        self._others: list[Glob] = []
        for glob in globs:
            beginning, end = glob.parts[0], glob.parts[-1]
            if not beginning and not end:
                self._others.append(glob)
                continue
            table, text = (self._by_beginning, beginning) if beginning else (self._by_end, end)
            table.setdefault(len(text), {}).setdefault(text, []).append(glob)

    def match(self, text: str) -> bool:
        """Tell whether any pattern matches the whole text."""
        return any(glob.matches(text) for glob in self._near(text))

    def _near(self, text: str) -> Iterator[Glob]:
        yield from self._others
        for length, globs in self._by_beginning.items():
            yield from globs.get(text[:length], ())
        for length, globs in self._by_end.items():
            yield from globs.get(text[-length:], ())


class NamePatterns:
    """A list of names and patterns of names."""

    __slots__ = ("_exact", "_globs", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        """Sort the texts into exact names and patterns."""
        self.texts = tuple(dict.fromkeys(texts))
        self._exact = frozenset(text for text in self.texts if ANY not in text)
        self._globs = Globs(Glob.parse(text) for text in self.texts if ANY in text)

    @property
    def words(self) -> str:
        """The list as text for people, abbreviated."""
        return abbreviate_list(self.texts)

    def fits(self, text: str) -> bool:
        """Tell whether a name is in the list. An empty name matches no pattern."""
        if text in self._exact:
            return True
        return text != "" and self._globs.match(text)


def abbreviate_list(texts: tuple[str, ...]) -> str:
    """Return a list as text for people: of a long list only the beginning."""
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class UriPattern:
    """A pattern such as ``file:///docs/*.md`` or ``db://orders/**``; a star stays in its segment.

    Attributes:
        segments: as ``uri_segments`` gives them.
        rest: whether any number of further segments may follow, and a query or fragment.
    """

    segments: tuple[Glob, ...]
    rest: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a pattern. Raises ValueError."""
        fixed, _, last = text.rpartition("/")
        rest = last == REST
        fixed = fixed if rest else text
        is_of_scheme = fixed.endswith(":/")  # as in db://**
        read = uri_segments(f"{fixed}/" if is_of_scheme else fixed)
        if REST in fixed:
            raise ValueError("'**' is allowed only at the end, after '/', as in file:///docs/**")
        if read is None or read[1] or _ESCAPED_ANY in text.upper():
            raise ValueError(
                "a pattern of resources must begin with a scheme, as in file:///docs/**, and has no"
                " query and nothing that two servers could read differently"
            )
        segments = read[0][:2] if is_of_scheme else read[0]
        return cls(tuple(map(Glob.parse, segments)), rest)

    @property
    def folded(self) -> Self:
        """Return the same without regard to case, for segments that are folded too."""
        return type(self)(tuple(segment.folded for segment in self.segments), self.rest)

    def matches(self, segments: tuple[str, ...], tail: str) -> bool:
        """Tell whether a URI fits; a star never stands for an empty segment."""
        count = len(self.segments)
        if len(segments) < count or (not self.rest and (tail or len(segments) > count)):
            return False
        pairs = zip(self.segments, segments, strict=False)
        return all(glob.matches(got) and (got or glob == _EMPTY) for glob, got in pairs)


_EMPTY: Final = Glob(("",))


class UriPatterns:
    """A list of URIs and patterns. In a deny it ignores case, query and fragment."""

    __slots__ = ("_exact", "_is_any", "_is_deny", "_patterns", "texts")

    def __init__(self, texts: Iterable[str], *, is_deny: bool) -> None:
        """Compile the texts."""
        listed = self.texts = tuple(dict.fromkeys(texts))
        self._is_any = ANY in listed
        self._is_deny = is_deny
        self._exact = frozenset(listed)
        if is_deny:
            self._patterns = tuple(
                pattern.folded for text in listed for pattern in _as_patterns(text)
            )
        else:
            self._patterns = tuple(UriPattern.parse(text) for text in listed if _is_pattern(text))

    @property
    def words(self) -> str:
        """The list as text for people, abbreviated."""
        return abbreviate_list(self.texts)

    def fits(self, text: str) -> bool:
        """Tell whether a URI is in the list."""
        if text in self._exact or self._is_any:
            return True
        read = uri_segments(text)
        if read is None:
            return self._is_deny
        segments, tail = read
        if self._is_deny:
            segments, tail = tuple(map(str.casefold, segments)), ""
        return any(pattern.matches(segments, tail) for pattern in self._patterns)


def _is_pattern(text: str) -> bool:
    return ANY in text and text != ANY


def _as_patterns(text: str) -> Iterator[UriPattern]:
    """Yield the pattern of a text or exact URI; nothing for a URI with several readings."""
    if _is_pattern(text):
        yield UriPattern.parse(text)
    elif (read := uri_segments(text)) is not None:
        yield UriPattern(tuple(Glob((segment,)) for segment in read[0]), rest=False)


def uri_segments(uri: str) -> tuple[tuple[str, ...], str] | None:
    """Return a URI's decoded segments and its query with fragment; None if it has several readings.

    ``file:///a/b`` is ``("file:", "", "", "a", "b")``, ``urn:a:b`` is ``("urn:", "a:b")``. A URI
    has several readings if it has dot segments, empty segments, escapes of separators or needless
    escapes, anything else that ``read_path`` refuses or names, a user, a host in ``file:``, a
    needless port, or a known scheme without its slashes.
    """
    match = _URI.fullmatch(uri)
    if match is None or len(uri) > MAX_URI_CHARS or _UNRESERVED_ESCAPE.search(uri):
        return None
    slashes, rest = match["slashes"], match["rest"]
    authority, slash, path = rest.partition("/") if slashes else ("", "/", rest)
    if "@" in authority or (
        authority and match["scheme"] == "file:"
    ):  # several spellings of one place
        return None
    if _is_normalised(match, authority):
        return None
    try:
        name, odd = read_path(f"/{authority}")
        segments, more = read_path(f"/{path}")
    except Denied:
        return None
    if odd or more:
        return None
    head = (match["scheme"], "", *name) if slashes else (match["scheme"],)
    return (head + segments if slash else head), match["tail"] or ""


def _is_normalised(match: re.Match[str], authority: str) -> bool:
    """Tell whether URL parsers rewrite the authority, or find the authority elsewhere."""
    if _ODD_PORT.fullmatch(authority):
        return True
    port = _PORTS.get(match["scheme"])
    if port is None or not match["slashes"]:
        return port is not None
    is_below = match["rest"].startswith("/")  # so that parsers find the host there, but for "file:"
    return port != "" and (is_below or authority.endswith(f":{port}"))
