"""The headers that tell an upstream the agent and the principal, and the names taken from clients.

Each owned name is either set or removed, or a client's own copy would pass. Names that a CGI-like
server can't tell from it are removed.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Annotated, Final
from urllib.parse import quote

from pydantic import Field

from authz.core.decision import Allow
from authz.core.request import DPOP
from authz.core.settings import Settings

_OWNED: Final = ("id", "principal", "issuer", "scope", "chain", "decision-id")
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%") + " "
_FOLDED: Final = re.compile("[^a-z0-9]+")  # characters for which some servers write "_"
# Sets of names that allows remove, kept once each: they differ by which values are empty alone.
_REMOVED_KEPT: Final = 256


class HeaderSettings(Settings):
    """The identity headers that upstreams receive."""

    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}-$")] = "x-agent-"
    """What their names start with; every one of them is taken from the client's request."""


def owned_headers(prefix: str) -> frozenset[str]:
    """Return the names of the identity headers."""
    return frozenset(prefix + name for name in _OWNED)


def names_read_alike(sent: Iterable[str], ours: Iterable[str]) -> set[str]:
    """Return the sent names that a server may take for ours, as CGI does with "." or "_"."""
    known = {_FOLDED.sub("", name) for name in ours}
    return {name for name in sent if _FOLDED.sub("", name) in known}


class IdentityHeaders:
    """The headers that an allow sets and removes in the upstream's request."""

    def __init__(
        self, settings: HeaderSettings, stripped: tuple[str, ...], added: tuple[str, ...]
    ) -> None:
        """Take the settings, the names to strip, and all names that rules may add."""
        self._added = added
        self._names = {name: settings.prefix + name for name in _OWNED}
        twins = tuple(sorted(set(_underscore_twins([*self._names.values(), *added]))))
        self._strips = bool(stripped)
        self._always_removed = (*twins, *stripped)

    def of(
        self, allow: Allow, id_place: str
    ) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """Return the headers to set, as (name, value), and the names to remove.

        ``id_place`` stands where the decision's id goes.
        """
        values = _identity_values(allow, id_place)
        headers = {header: values[name] for name, header in self._names.items()}
        headers.update(dict.fromkeys(self._added, ""))
        for header, texts in allow.permit.headers:
            headers[header] = ",".join([escaped(text, safe="") for text in texts])
        absent = tuple([header for header, value in headers.items() if not value])
        removed = absent + self._always_removed
        if allow.delegation.single_use is not None and self._strips:
            removed += (DPOP,)  # a proof is no good without its token
        return tuple([pair for pair in headers.items() if pair[1]]), _kept(removed)


@lru_cache(_REMOVED_KEPT)
def _kept(names: tuple[str, ...]) -> tuple[str, ...]:
    return names


def _identity_values(allow: Allow, id_place: str) -> dict[str, str]:
    delegation = allow.delegation
    return {
        "id": allow.agent.spiffe_id.text,
        "principal": escaped(delegation.subject),
        "issuer": escaped(delegation.issuer),
        "scope": " ".join(sorted(delegation.scopes)),
        "chain": ",".join(escaped(actor.subject, safe="") for actor in delegation.actors[1:]),
        "decision-id": id_place,
    }


def escaped(value: str, *, safe: str = _VISIBLE) -> str:
    """Return visible ASCII: other characters, and "%", are percent-encoded as UTF-8.

    So are blanks at the ends (RFC 9110 section 5.5): " alice" must not become "alice".
    """
    text = quote(value, safe=safe or _VISIBLE.replace(",", ""))
    inner = text.strip(" ")
    if len(inner) == len(text):
        return text
    before = len(text) - len(text.lstrip(" "))
    return "%20" * before + inner + "%20" * (len(text) - len(inner) - before)


def _underscore_twins(names: Iterable[str]) -> list[str]:
    """Return names that a CGI-like server (WSGI, PHP) can't tell from ours: "_" for any "-"."""
    twins: list[str] = []
    for name in names:
        words = name.split("-")
        for joints in product("-_", repeat=len(words) - 1):
            twin = "".join(word + joint for word, joint in zip(words, (*joints, ""), strict=True))
            if twin != name:
                twins.append(twin)
    return twins
