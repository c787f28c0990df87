"""A strict parser of the header ``x-forwarded-client-cert``: only the form that Envoy writes.

Envoy puts a comma between the elements of two proxies, a semicolon between the pairs of an element,
and quotes around values that need them. It does not escape the names of certificates: so a name
with a comma adds an element, and only the number of elements shows it.
"""

import re
from dataclasses import dataclass
from typing import Final

# Cert and Chain of a few proxies; Envoy's limit for all headers is 60 KiB.
MAX_CHARS: Final = 32 * 1024
MAX_ELEMENTS: Final = 16
# Of all elements: a public certificate has up to 100 DNS names, each a pair. Without this limit, a
# header of many short pairs took 20 ms.
MAX_PAIRS: Final = 256
_PAIR: Final = re.compile(
    r"(?P<key>By|Hash|Cert|Chain|Subject|URI|DNS)="
    r'(?:"(?P<quoted>(?:[^"\\\x00-\x1f]++|\\[\x20-\x7e])*+)"|(?P<plain>[^",;=\\\x00-\x20]*+))'
)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_REPEATABLE: Final = frozenset({"By", "URI", "DNS"})  # a certificate may have several such names


class XfccError(ValueError):
    """An invalid header; the message says what is wrong, and holds none of its text."""


@dataclass(frozen=True, slots=True)
class XfccElement:
    """An element: a proxy's account of the client certificate that it saw.

    Attributes:
        by: the URI names of the proxy's own certificate.
        hash: SHA-256 of the client certificate's DER, 64 hex digits, or "".
        certificate: the client's certificate, URL-encoded PEM, or "".
        uris: the URI names of the client certificate.
    """

    by: tuple[str, ...]
    hash: str
    certificate: str
    uris: tuple[str, ...]


def parse(text: str) -> tuple[XfccElement, ...]:
    """Return the elements, that of the farthest proxy first. Raises XfccError."""
    if len(text) > MAX_CHARS:
        raise XfccError(f"longer than {MAX_CHARS} characters")
    elements: list[XfccElement] = []
    pairs: list[tuple[str, str]] = []
    at = 0
    for _ in range(MAX_PAIRS):
        match = _PAIR.match(text, at)
        if match is None:
            raise XfccError("not pairs of a known key and a value")
        quoted = match["quoted"]
        value = match["plain"] if quoted is None else _unescaped(quoted)
        pairs.append((match["key"], value))
        at = match.end()
        separator = text[at : at + 1]
        at += 1
        if separator == ";":
            continue
        elements.append(_element(pairs))
        if len(elements) > MAX_ELEMENTS:
            raise XfccError(f"more than {MAX_ELEMENTS} elements")
        if separator == "":
            return tuple(elements)
        if separator != ",":
            raise XfccError("a value is followed by something else than ',' or ';'")
        pairs = []
    raise XfccError(f"more than {MAX_PAIRS} pairs")


def _unescaped(quoted: str) -> str:
    """Return the value without its escapes. It has no NUL, so NUL can stand in for backslashes."""
    return quoted.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")


def _element(pairs: list[tuple[str, str]]) -> XfccElement:
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    if any(len(found) > 1 and key not in _REPEATABLE for key, found in values.items()):
        raise XfccError("a key occurs twice in one element")
    (digest,) = values.get("Hash", [""])
    if digest and not _HASH.fullmatch(digest):
        raise XfccError("its Hash is not 64 hex digits")
    (certificate,) = values.get("Cert", [""])
    return XfccElement(
        by=tuple(values.get("By", ())),
        hash=digest,
        certificate=certificate,
        uris=tuple(values.get("URI", ())),
    )
