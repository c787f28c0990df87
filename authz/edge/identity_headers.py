"""The headers that tell an upstream the agent and the principal, and the names taken from clients.

Each owned name is either set or removed, since a client's own copy would pass otherwise. Names that
a CGI-like server can't distinguish from it are removed. So are the names that the operator lists.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Final
from urllib.parse import quote

import msgspec

from authz.core.decision import Allow
from authz.core.request import DPOP
from authz.core.upstream_token import FORWARDED
from authz.edge.header_settings import OWNED, HeaderSettings

_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%") + " "
_PLAIN: Final = re.compile(r"[!-$&-+\x2d-~]*")  # of _VISIBLE, without blank and comma
_FOLDED: Final = re.compile("[^a-z0-9]+")  # characters for which some servers write "_"
# Each shape is kept once: shapes differ only in which values are empty.
_SHAPES_KEPT: Final = 256


class HeaderShape(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The names that an allow sets and removes, which most allows share: compared by identity.

    Attributes:
        names: to set, in the order of the values.
        removed: to remove.
    """

    names: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


NO_NAMES: Final = HeaderShape()


def spellings(names: Iterable[str]) -> list[str]:
    """Return the names, each before those that a CGI-like server can't tell from it."""
    return [text for name in names for text in (name, *_underscore_twins([name]))]


def names_read_alike(sent: Iterable[str], ours: Iterable[str]) -> set[str]:
    """Return the sent names that a server may confuse with ours, as CGI does with "." or "_"."""
    known = {_FOLDED.sub("", name) for name in ours}
    return {name for name in sent if _FOLDED.sub("", name) in known}


class IdentityHeaders:
    """The headers that an allow sets and removes in the upstream's request."""

    def __init__(
        self,
        settings: HeaderSettings,
        stripped: tuple[str, ...],
        added: tuple[str, ...],
        assertion: str = "",
    ) -> None:
        """Take the settings, the names to strip with the token, and all names that rules may add.

        Names are stripped from the requests whose upstreams don't get the token. ``assertion``
        carries assertions, "" if no route has any: nobody else may set it, on any route.
        """
        added += (assertion,) if assertion else ()
        self._added = added
        self._owned = tuple([settings.prefix + name for name in OWNED])
        self._stripped = stripped
        listed = settings.removed_names
        twins = tuple(sorted(set(_underscore_twins([*self._owned, *added, *listed]))))
        always_removed = (*twins, *listed)

        # A function of its own: a method of self in the cache would be a reference cycle.
        @lru_cache(_SHAPES_KEPT)
        def shape(names: tuple[str, ...], absent: tuple[str, ...]) -> HeaderShape:
            return HeaderShape(names, (*absent, *always_removed))

        self._shape = shape

    def of(self, allow: Allow, id_place: str) -> tuple[HeaderShape, tuple[str, ...]]:
        """Return the names of the headers to set and to remove, and the values to set.

        ``id_place`` stands where the decision's id goes. Raises ValueError for an allow without
        the credential that its upstream needs.
        """
        headers = dict(zip(self._owned, _identity_values(allow, id_place), strict=True))
        if self._added:
            headers.update(dict.fromkeys(self._added, ""))
        for header, texts in allow.permit.headers:
            headers[header] = ",".join([escaped(text, safe="") for text in texts])
        if allow.upstream.needs_credential:
            headers.update([_credential(allow)])
        names = tuple([header for header, value in headers.items() if value])
        absent = tuple([header for header, value in headers.items() if not value])
        if allow.upstream is not FORWARDED:
            absent += tuple([header for header in self._stripped if header not in headers])
            if self._stripped and allow.delegation.has_proof:
                absent += (DPOP,)  # a proof is useless without its token
        return self._shape(names, absent), tuple([value for value in headers.values() if value])


def _credential(allow: Allow) -> tuple[str, str]:
    """Return the header with the upstream's credential. Raises ValueError without one."""
    credential = allow.credential
    if credential is None or not credential.value:
        raise ValueError("the upstream's credential is missing")
    return credential.header, credential.value


def _identity_values(allow: Allow, id_place: str) -> tuple[str, ...]:
    """Return the values of the owned headers, in the order of their names."""
    delegation = allow.delegation
    return (
        allow.agent.spiffe_id.text,
        escaped(delegation.subject),
        escaped(delegation.issuer),
        " ".join(sorted(delegation.scopes)),
        ",".join([escaped(actor.subject, safe="") for actor in delegation.actors[1:]]),
        id_place,
    )


def escaped(value: str, *, safe: str = _VISIBLE) -> str:
    """Return visible ASCII: other characters, and "%", are percent-encoded as UTF-8.

    So are blanks at the ends (RFC 9110 section 5.5): " alice" must not become "alice".
    """
    if _PLAIN.fullmatch(value):  # as nearly always, in a third of the time
        return value
    text = quote(value, safe=safe or _VISIBLE.replace(",", ""))
    inner = text.strip(" ")
    if len(inner) == len(text):
        return text
    before = len(text) - len(text.lstrip(" "))
    return "%20" * before + inner + "%20" * (len(text) - len(inner) - before)


def _underscore_twins(names: Iterable[str]) -> list[str]:
    """Return the names that a CGI-like server (WSGI, PHP) confuses with ours: "_" for any "-"."""
    twins: list[str] = []
    for name in names:
        words = name.split("-")
        for joints in product("-_", repeat=len(words) - 1):
            twin = "".join(word + joint for word, joint in zip(words, (*joints, ""), strict=True))
            if twin != name:
                twins.append(twin)
    return twins
