"""The single reading of a path: its decoded segments, and the ambiguous forms in its spelling.

Servers disagree on more spellings than a list could hold, so only known spellings are read at all.
Some spellings have one sane reading that not every server takes. They are read that way and named,
and the caller decides whether to accept them. Spellings without a sane reading are always refused.
"""

import re
import unicodedata
from binascii import a2b_qp
from functools import lru_cache
from typing import Final, Literal

from authz.core.reason import Denied, Reason

MAX_PATH_BYTES: Final = 8192  # the common limit of servers for a request line; Envoy's is 60 KiB
_ODD_PATHS: Final = 16  # of current requests: route, protocol and rules each read a request's path
Form = Literal[
    "double_encoding",
    "empty_segments",
    "escaped_backslash",
    "escaped_dot",
    "escaped_number_sign",
    "escaped_question_mark",
    "escaped_semicolon",
    "escaped_slash",
    "parameters",
]
Forms = frozenset[Form]
Segments = tuple[str, ...]

_NONE: Final[Forms] = frozenset()
# RFC 3986 pchar, less ";" and "%". A segment that begins with a dot takes the slow way.
_PLAIN_PATH: Final = re.compile(
    r"/|(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*+)++/?"
)
_WRITTEN: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@;/-]++|%[0-9A-Fa-f]{2})*+")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPE_SIGN: Final = re.compile(r"%(?=[0-9A-Fa-f]{2})")
# Characters that some servers do not read as part of a name. A dot needs no escape (RFC 3986
# section 2.3): servers that compare the raw text take "a%2Eb" for another name than "a.b".
_ESCAPES: Final[dict[str, Form]] = {
    "%25": "double_encoding",
    **dict.fromkeys(("%5C", "%5c"), "escaped_backslash"),
    **dict.fromkeys(("%2E", "%2e"), "escaped_dot"),
    "%23": "escaped_number_sign",
    **dict.fromkeys(("%3F", "%3f"), "escaped_question_mark"),
    **dict.fromkeys(("%3B", "%3b"), "escaped_semicolon"),
    **dict.fromkeys(("%2F", "%2f"), "escaped_slash"),
}
_PARAMETER: Final = ";"
_MARKS: Final = "%/\\;?#"  # a character that folds to one of these can't be part of a name
# Separates the segments of a decoded path, in which "/" was an escape: no path contains it, and an
# escape of it is refused, as of any control. So all segments are read at once: one by one,
# thousands of short segments took tens of milliseconds.
_BETWEEN: Final = "\x1f"
_DOT_SEGMENT: Final = re.compile(r"[\x1f/\\;?#]\.\.?(?:[\x1f/\\;?#]|\Z)")
_WRITTEN_ESCAPED: Final = re.compile(r"[%?#]")
_WRITTEN_AS: Final = str.maketrans({"%": "%25", "/": "%2F", "?": "%3F", "#": "%23"})
_EMPTY_NAME: Final = re.compile(r"\x1f[/\\;]|[/\\](?:[\x1f/\\;]|\Z)")


def canonical_path(path: str) -> Segments:
    """Return the segments of a path without ambiguous forms. Raises Denied(PATH_AMBIGUOUS)."""
    segments, forms = read_path(path)
    if forms:
        raise ambiguous(forms)
    return segments


def ambiguous(forms: Forms) -> Denied:
    """Return the refusal of ambiguous forms, Denied(PATH_AMBIGUOUS)."""
    return Denied(Reason.PATH_AMBIGUOUS, f"the path has {', '.join(sorted(forms))}")


def read_path(path: str) -> tuple[Segments, Forms]:
    """Return an absolute path's decoded segments, and the forms that servers read differently.

    A segment keeps what was escaped in it: ``/a%2Fb`` is ``("a/b",)``, ``/a;v`` is ``("a;v",)``,
    ``/a//b`` is ``("a", "", "b")``, ``/100%25`` is ``("100%",)``. Forms that only a second decoding
    shows are named too. A name that would be empty after another server separates or cuts it, as in
    ``/;x`` and ``/a%2F``, counts as an empty segment.

    Raises Denied(PATH_AMBIGUOUS) without a sane reading: for a path that is not absolute, begins
    with ``//`` or is too long; dot segments, also escaped, between escaped separators and beside
    ``;``, ``?`` and ``#``; backslashes, control and non-ASCII characters; broken escapes and
    escapes that are not UTF-8; characters that fold to separators (NFKC); triple encoding.
    """
    if len(path) <= MAX_PATH_BYTES and _PLAIN_PATH.fullmatch(path):
        return tuple(path[1:].split("/")), _NONE
    if not path.startswith("/"):
        raise _refused("the path is not absolute")
    if path.startswith("//"):
        raise _refused("the path begins as a host does")  # RFC 3986 section 4.2: //host/path
    if len(path) > MAX_PATH_BYTES:
        raise _refused("the path is too long")
    return _read_odd_path(path)


def written_path(segments: Segments) -> str:
    """Return a path of decoded segments, for others to read; distinct for distinct segments.

    A "/", "%", "?" and "#" within a segment are escaped; only routes that accept these forms let
    them pass.
    """
    path = "/" + "/".join(segments)
    if path.count("/") == len(segments) and not _WRITTEN_ESCAPED.search(path):
        return path
    return "".join(f"/{segment.translate(_WRITTEN_AS)}" for segment in segments)


def unescaped(text: str) -> bytes:
    """Decode every percent escape once (RFC 3986 section 2.1); an invalid escape stays as it is.

    Does the same as ``unquote_to_bytes``, which handles each escape in Python. Quoted-printable has
    the same escapes with "=" for "%" (RFC 2045 section 6.7), and is decoded in C.
    """
    return a2b_qp(_ESCAPE_SIGN.sub("=", text.replace("=", "=3D")).encode())


@lru_cache(_ODD_PATHS)
def _read_odd_path(path: str) -> tuple[Segments, Forms]:
    if not _WRITTEN.fullmatch(path):
        raise _refused("the path has a broken escape, or a character that must be escaped")
    raw = path.replace("/", _BETWEEN)
    text = _decoded(raw)
    forms = _forms(raw, text)
    if _PARAMETER in raw:
        forms.add("parameters")
    if _ESCAPE.search(text):
        again = _decoded(text)
        forms |= _forms(text, again)
        if _ESCAPE.search(again):
            raise _refused("the path is encoded more than twice")
    segments = tuple(text[1:].split(_BETWEEN))
    if "" in segments[:-1]:
        forms.add("empty_segments")
    return segments, frozenset(forms)


def _decoded(raw: str) -> str:
    """Decode all segments once, and refuse results that are dangerous to any later reader."""
    try:
        text = unescaped(raw).decode()
    except UnicodeDecodeError:
        raise _refused("the path's escapes are not UTF-8") from None
    # A server that folds compatibility characters could read, say, a fullwidth slash as "/".
    folded = unicodedata.normalize("NFKC", text)
    is_printable = text.replace(_BETWEEN, "").isprintable()
    if (
        not is_printable
        or text.count(_BETWEEN) > raw.count(_BETWEEN)
        or any(folded.count(mark) > text.count(mark) for mark in _MARKS)
    ):
        raise _refused("the path has a control or look-alike character")
    if _DOT_SEGMENT.search(folded):
        raise _refused("the path has a dot segment")
    return text


def _forms(raw: str, text: str) -> set[Form]:
    """Return the forms of a text's escapes, and of the names that are empty once it is decoded."""
    found = {form for escape, form in _ESCAPES.items() if escape in raw}
    if _EMPTY_NAME.search(text):
        found.add("empty_segments")
    return found


def _refused(detail: str) -> Denied:
    return Denied(Reason.PATH_AMBIGUOUS, detail)
