"""Targets: what is ambiguous in a path or host, and which patterns fit."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from support.docs_model.asked import Refused

SEPARATORS = "/\\.;%?#"
FORMS = {
    "%": "double_encoding",
    "\\": "escaped_backslash",
    ".": "escaped_dot",
    "#": "escaped_number_sign",
    "?": "escaped_question_mark",
    ";": "escaped_semicolon",
    "/": "escaped_slash",
}


def host_of(host: str) -> str:
    """The host in small letters, without its port."""
    name = re.sub(r":[0-9]+$", "", host).lower()
    if not re.fullmatch(r"[a-z0-9.-]*[a-z0-9-]", name):
        raise Refused("path_ambiguous")
    return name


def host_fits(patterns: Sequence[str], host: str) -> bool:
    """Whether one of the patterns fits: ``*.`` is one label in front, ``**.`` one or more."""
    labels = host.split(".")
    domains = [".".join(labels[n:]) for n in range(1, len(labels))]
    return any(
        pattern in ("*", host)
        or (pattern.startswith("*.") and pattern[2:] in domains[:1])
        or (pattern.startswith("**.") and pattern[3:] in domains)
        for pattern in patterns
    )


def read_path(target: str) -> tuple[list[str], set[str]]:
    """The decoded segments, and the ambiguous forms that a route would have to accept."""
    path = target.partition("?")[0]
    if not re.fullmatch(r"/(?!/)[!-~]*", path) or set(path) & set("\\#"):
        raise Refused("path_ambiguous")
    parts = path[1:].split("/")
    forms = {"empty_segments"} if "" in parts[:-1] else set()
    return [read_segment(part, forms) for part in parts], forms


def read_segment(part: str, forms: set[str]) -> str:
    """One segment, decoded once; what is ambiguous in it is added to the forms."""
    text, escaped = unescape(part)
    if ";" in part:
        forms.add("parameters")
    note(text, escaped, forms)
    if "%" in escaped and re.search("%[0-9A-Fa-f]{2}", text):
        twice, escaped = unescape(text)
        note(twice, escaped, forms)
        if "%" in escaped:
            raise Refused("path_ambiguous")
    return text


def unescape(text: str) -> tuple[str, set[str]]:
    """Decoded once, and which characters were escaped."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise Refused("path_ambiguous")
    codes = [int(code, 16) for code in re.findall("%(..)", text)]
    data = re.sub(rb"%(..)", lambda found: bytes([int(found[1], 16)]), text.encode())
    try:
        return data.decode(), {chr(code) for code in codes}
    except UnicodeDecodeError:
        raise Refused("path_ambiguous") from None


def note(text: str, escaped: set[str], forms: set[str]) -> None:
    """Refuse what no route can accept, note what one can."""
    if any(is_control(c) or looks_like_a_separator(c) for c in text):
        raise Refused("path_ambiguous")
    if {".", ".."} & set(re.split(r"[/\\;?#]", text)):
        raise Refused("path_ambiguous")
    forms |= {form for character, form in FORMS.items() if character in escaped}
    names = [piece.partition(";")[0] for piece in re.split(r"[/\\]", text)]
    if text and "" in names:
        forms.add("empty_segments")


def accepted_by(route: Mapping[str, Any]) -> set[str]:
    """The forms that a route accepts: one that keeps ``;x`` in a name keeps ``%3Bx`` too."""
    forms = set(route.get("accept_ambiguous", []))
    return forms | ({"escaped_semicolon"} if "parameters" in forms else set())


def is_control(character: str) -> bool:
    """Whether it is an ASCII control character."""
    return ord(character) < 0x20 or ord(character) == 0x7F


def looks_like_a_separator(character: str) -> bool:
    """Whether a server that normalizes would make a separator of it."""
    made = unicodedata.normalize("NFKC", character)
    return ord(character) > 0x7F and bool(set(made) & set(SEPARATORS))


def path_fits(patterns: Sequence[str], segments: list[str]) -> bool:
    """Whether one of the patterns fits; ``/a/**`` fits ``/a`` too."""
    wider = [pattern[:-3] or "/" for pattern in patterns if pattern.endswith("/**")]
    return any(segments_fit(p[1:].split("/"), segments) for p in [*patterns, *wider])


def segments_fit(wanted: list[str], got: list[str]) -> bool:
    """Whether the segments fit, one by one."""
    if wanted == ["**"]:
        return True
    if not wanted or not got:
        return wanted == got
    is_any = wanted[0] == "*" or wanted[0].startswith("{")
    fits = got[0] != "" if is_any else wanted[0] == got[0]
    return fits and segments_fit(wanted[1:], got[1:])


def id_fits(patterns: Sequence[str], name: str) -> bool:
    """Whether a name is one of these, or a SPIFFE ID that fits a pattern of them."""
    if name in patterns:
        return True
    wild = [p.split("/")[2:] for p in patterns if "*" in p]
    return name.startswith("spiffe://") and any(segments_fit(p, name.split("/")[2:]) for p in wild)


def text_fits(patterns: Sequence[str], text: str) -> bool:
    """Whether a name fits; a star takes any characters."""
    made = (".*".join(map(re.escape, p.split("*"))) for p in patterns)
    return any(re.fullmatch(p, text, re.DOTALL) for p in made)
