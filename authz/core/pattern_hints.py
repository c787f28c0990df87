"""Translates paths and hosts in the syntax of other products into the syntax of this config.

The texts are an operator's, from the config. The result is a proposal, checked like any other text
once it is in the config.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlsplit

# Characters that a path can't have unescaped (RFC 3986 section 3.3), or that are never meant
# literally.
_REGEX: Final = re.compile(r"^\^|\.[*+]|[\\\[\]|]|\(\?|\$$")
_PARTS: Final[Sequence[tuple[str, str]]] = (
    (r"^\^|\$$", ""),
    (r"\{(\w+):(?:[^{}]|\{[\d,]*\})*\}", r"{\1}"),  # {id:[0-9]+}
    (r"\[[^\]]*\](?:[*+?]|\{[\d,]*\})?", "*"),
    (r"\((?:\?P?<(\w+)>)?[^()]*\)[*+?]?", "*"),
    (r"\\[dDwWsS](?:[*+?]|\{[\d,]*\})?", "*"),
    (r"\\(.)", r"\1"),
    (r"(?:^|/)\.[*+]\??$", "/**"),
    (r"\.[*+]\??", "*"),
    (r"\*{3,}", "**"),
)
_UNESCAPED: Final = "/~!$&'()*+,;=:@{}%"  # of RFC 3986 section 3.3, and of patterns
_PORT: Final = re.compile(r":[0-9]*\Z")
_SCHEME: Final = re.compile(r"\A[A-Za-z][A-Za-z0-9+.-]*://")


def is_regex(path: str) -> bool:
    """Tell whether a path is surely meant as a regular expression."""
    return _REGEX.search(path) is not None


def glob_of(regex: str) -> str:
    """Return a glob that matches at least the paths that a regular expression matches."""
    text = regex
    for part, glob in _PARTS:
        text = re.sub(part, glob, text)
    *segments, last = text.lstrip("/").split("/")
    whole = [_whole(segment) for segment in segments]
    return "/" + "/".join([*(one.replace("**", "*") for one in whole), _whole(last)])


def _whole(segment: str) -> str:
    """Return a segment in which a wildcard stands for all of it."""
    return segment if segment == "**" or "*" not in segment else "*"


def rooted(path: str) -> str:
    """Return the path with a leading slash; for a URL, its path alone."""
    if match := _SCHEME.match(path):
        path = path[match.end() :].partition("/")[2]
    if path in {"", "*", "**"}:
        return "/**"
    return "/" + path.lstrip("/")


def escaped(segment: str) -> str:
    """Return a segment with an escape for each character that needs one."""
    named = re.fullmatch(r"<(?:\w+:)?(\w+)>", segment)  # as some routers write a variable
    return f"{{{named[1]}}}" if named else quote(segment, safe=_UNESCAPED)


def bare_host(text: str) -> str:
    """Return the host in a URL, an authority or a name with its port; "" if none is plain."""
    try:
        authority = urlsplit(_SCHEME.sub("//", text) if "://" in text else f"//{text}").netloc
        host = authority.rpartition("@")[2].lower()
        if host.count(":") > 1 and not host.startswith("["):
            host = f"[{host}]"
        return _PORT.sub("", host).strip(".").encode("idna").decode() if host else ""
    except ValueError:  # not an authority, or not a name in any language
        return ""
