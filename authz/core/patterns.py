"""Patterns of paths and other segments, and the config's texts of paths and methods.

Patterns match whole segments, never a prefix of text. ``*`` (in paths also ``{name}``) stands for
exactly one segment that is not empty; ``**``, at the end only, for any number of segments, or
none. So ``/a/**`` matches ``/a``, ``/a/`` and ``/a/b``, and ``agent-1`` never matches ``agent-10``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from authz.core.paths import read_path
from authz.core.pattern_hints import escaped, glob_of, is_regex, rooted
from authz.core.reason import Denied

_VARIABLE: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ALIKE: Final = frozenset(
    {"ORDERPATCH", "PROPPATCH", "REPORT"}
)  # methods of WebDAV, not typing errors
ANY: Final = "*"
REST: Final = "**"


@dataclass(frozen=True, slots=True)
class SegmentPattern:
    """Segments to match one by one; None stands for any one segment that is not empty.

    Attributes:
        segments: the fixed part.
        rest: whether any number of further segments may follow.
    """

    segments: tuple[str | None, ...]
    rest: bool

    def matches(self, segments: tuple[str, ...]) -> bool:
        """Tell whether the pattern matches all of the segments."""
        count = len(self.segments)
        if len(segments) < count or (len(segments) > count and not self.rest):
            return False
        for want, got in zip(self.segments, segments, strict=False):
            if want != got and (want is not None or not got):
                return False
        return True

    def intersection(self, other: "SegmentPattern") -> "SegmentPattern | None":
        """Return the pattern of what both match; None if that is nothing."""
        shorter, longer = sorted((self, other), key=lambda pattern: len(pattern.segments))
        count = len(shorter.segments)
        if len(longer.segments) > count and not shorter.rest:
            return None
        both: list[str | None] = []
        for left, right in zip(shorter.segments, longer.segments, strict=False):
            if left != right and (None not in (left, right) or "" in (left, right)):
                return None
            both.append(right if left is None else left)
        return SegmentPattern((*both, *longer.segments[count:]), self.rest and other.rest)

    def covers(self, other: "SegmentPattern") -> bool:
        """Tell whether it matches everything that the other pattern matches."""
        return other.intersection(self) == other

    def __str__(self) -> str:
        """Return the pattern as the config writes a path."""
        written = [ANY if segment is None else segment for segment in self.segments]
        return "/" + "/".join([*written, *([REST] if self.rest else [])])


def segment_pattern(raw: list[str], literal: Callable[[str], str | None]) -> SegmentPattern:
    """Parse written segments; ``literal`` reads a fixed segment. Raises ValueError."""
    rest = raw[-1] == REST
    fixed = raw[:-1] if rest else raw
    if any(ANY in segment and segment != ANY for segment in fixed):
        raise ValueError("'*' stands for a whole segment, and '**' only at the end")
    return SegmentPattern(tuple(None if s == ANY else literal(s) for s in fixed), rest)


def path_pattern(text: str) -> SegmentPattern:
    """Parse a path pattern such as ``/orders/{id}/**``. Raises ValueError."""
    if is_regex(text):
        raise ValueError(
            "a path is a glob and not a regular expression, with * for one segment and ** at the"
            f" end for the rest: write {glob_of(text)}"
        )
    if not text.startswith("/"):
        raise ValueError(f"a path pattern must start with '/': write {rooted(text)}")
    segments = text[1:].split("/")
    if "" in segments[:-1]:
        raise ValueError("no request has such a path: it has an empty segment")
    stem = text.rstrip(ANY)
    if stem != text and not stem.endswith("/") and ANY not in stem:
        raise ValueError(
            f"'*' stands for a whole segment, and '**' only at the end: write {stem}/** for {stem}"
            " and all below it"
        )
    return segment_pattern(segments, _literal_path_segment)


def _literal_path_segment(segment: str) -> str | None:
    if _VARIABLE.fullmatch(segment):
        return None
    if "?" in segment or "#" in segment:
        raise ValueError("rules see no query and no fragment: leave out the part from ? or # on")
    if "{" in segment or "}" in segment:
        raise ValueError("a variable must be a whole segment, as {id}: letters, digits and _")
    if segment.startswith(
        ":"
    ):  # a variable in other routers; as a literal, a deny of it would deny nothing
        raise ValueError(f"for any segment write {{{segment[1:]}}}; a colon itself is written %3A")
    try:
        segments, forms = read_path("/" + segment)
    except Denied as denied:
        better = escaped(segment)
        cure = f": write {better}" if better != segment else ""
        raise ValueError(f"no request has such a path: {denied.detail}{cure}") from None
    if forms:
        raise ValueError(
            f"no request has such a path, unless its route accepts {', '.join(sorted(forms))}:"
            " write {name}, which takes any segment, or leave out needless escapes"
        )
    return segments[0]


def _path_text(text: str) -> str:
    path_pattern(text)
    return text


def _method_text(text: str) -> str:
    """Refuse a method that is surely a typing error: a deny of it would deny nothing."""
    if text in {"ANY", "ALL"}:
        raise ValueError(f'{text} is not a method: write "*" for any')
    near = () if text in (*_METHODS, *_ALIKE) else get_close_matches(text, _METHODS, n=1)
    if near:
        raise ValueError(f"{text} is not a known method; did you mean {near[0]}?")
    return text


# Types of the config's texts; the validators have checked these.
PathText = Annotated[str, AfterValidator(_path_text)]
MethodText = Annotated[
    str, Field(pattern=r"^([A-Z][A-Z-]{0,31}|\*)$"), AfterValidator(_method_text)
]
