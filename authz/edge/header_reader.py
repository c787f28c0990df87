"""Reads the headers for decisions, and finds the names of a request that an allow removes.

CGI, WSGI, PHP and similar interfaces know ``X-Agent-Id`` as ``HTTP_X_AGENT_ID`` (RFC 3875 section
4.1.18). Some of them replace every character that is not a letter or digit by "_": to them
``x.agent.id`` is the same header, and the client's header may win. So such twins are found here,
and each answer removes those that were sent. Names that begin with a prefix that clients may not
use, in any such spelling, are removed in the same way.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

# Limits on remembered names: far more than well-meaning clients send, and 3 MB at most.
_REMEMBERED: Final = 1024
_NAME_CHARS: Final = 64
_NAMES_CHARS: Final = 2048
_FOLDED: Final = re.compile(r"[^a-z0-9]")
_BREAK: Final = "\n"  # no name of a header has one (RFC 9110 section 5.1)
_Names = tuple[str, ...]


class HeaderField(Protocol):
    """One field of a request, as Envoy's HeaderValue: its value is either text or bytes."""

    @property
    def key(self) -> str:
        """Return the name, in any case."""

    @property
    def value(self) -> str:
        """Return the value, "" where it is bytes."""

    @property
    def raw_value(self) -> bytes:
        """Return the value, empty where it is text."""


class Prefixes(msgspec.Struct, frozen=True, gc=False):
    """Prefixes of names that clients may not use.

    Attributes:
        texts: in lower case.
        spared: names that stay although they begin so, since the answer sets or removes them.
    """

    texts: tuple[str, ...] = ()
    spared: frozenset[str] = frozenset()


NO_PREFIXES: Final = Prefixes()


class HeaderReader:
    """Reads the headers of some names. This runs for every request."""

    def __init__(
        self, names: frozenset[str], guarded: frozenset[str], prefixes: Prefixes = NO_PREFIXES
    ) -> None:
        """Take the lower-case names that are read, and those whose twins are looked for.

        Names that begin with one of ``prefixes`` are treated as twins.
        """
        self._names = names
        self._guarded = guarded
        self._begins = _any_spelling(prefixes.texts)
        self._spared = prefixes.spared
        self._folded = {_FOLDED.sub("_", name) for name in guarded}
        self._lengths = {len(name) for name in guarded}  # folding keeps the length
        # The name that is read, by the name that was sent; "" for a name that is neither read nor a
        # twin.
        self._known: dict[str, str] = {}
        self._forget()
        self._read_and_removed = tuple([name for name in sorted(names) if self._is_twin(name)])
        # The names that are read, and the twins, by all names of a request together.
        self._sets: dict[str, tuple[_Names, _Names]] = {}

    def read(
        self, values: Mapping[str, str], fields: Iterable[HeaderField] = ()
    ) -> tuple[dict[str, str], _Names]:
        """Return the headers, and the names of the twins that were sent.

        The headers have one of two forms: ``values`` by name, or ``fields``, of which those with
        the same name are joined with "," as Envoy does.
        """
        found: dict[str, str] = {}
        twins: _Names = ()
        if len(values):
            # One look-up for all: a look-up for each takes twice as long.
            sent = _BREAK.join(values)
            names, twins = self._sets.get(sent) or self._looked_at(sent)
            for name in names:
                found[name] = values[name]
        if fields:
            twins += self._read_fields(fields, found)
        return found, twins

    def _read_fields(self, fields: Iterable[HeaderField], found: dict[str, str]) -> _Names:
        """Add to the headers that were found; return the names of the twins that were sent."""
        known = self._known
        twins: list[str] = []
        repeated: dict[str, list[str]] | None = None
        for header in fields:
            name = known.get(header.key)
            if name is None:
                name = self._learned(header.key, twins)
            if not name:
                continue
            # One of the two is filled. Bytes that are not UTF-8 become U+FFFD, which no check
            # lets pass.
            text = header.value or header.raw_value.decode("utf-8", "replace")
            if name not in found:
                found[name] = text
            else:  # joined at the end: joining one by one takes quadratic time
                repeated = repeated or {}
                repeated.setdefault(name, [found[name]]).append(text)
        if repeated:
            found.update({name: ",".join(texts) for name, texts in repeated.items()})
        if self._read_and_removed:
            twins += [name for name in self._read_and_removed if name in found]
        return tuple(dict.fromkeys(twins)) if twins else ()

    def _looked_at(self, sent: str) -> tuple[_Names, _Names]:
        """Return which of these names are read, and the twins among them; remember both."""
        keys = sent.split(_BREAK)
        read = tuple([key for key in keys if key in self._names])
        known = read, tuple([key for key in keys if self._is_twin(key.lower())])
        if len(sent) <= _NAMES_CHARS:
            if len(self._sets) >= _REMEMBERED:  # the names in use are soon learned again
                self._sets.clear()
            self._sets[sent] = known
        return known

    def _learned(self, key: str, twins: list[str]) -> str:
        """Return the name under which a key is read, "" if it is not read.

        Add a twin to ``twins``.
        """
        name = key.lower()
        if name in self._names:
            return name
        if self._is_twin(name):
            twins.append(name)
        elif len(key) <= _NAME_CHARS:
            if len(self._known) >= _REMEMBERED:  # likewise
                self._forget()
            self._known[key] = ""
        return ""

    def _forget(self) -> None:
        self._known = {name: name for name in self._names}

    def _is_twin(self, name: str) -> bool:
        if self._begins.match(name) and name not in self._spared:
            return True
        return (
            len(name) in self._lengths
            and name not in self._guarded
            and _FOLDED.sub("_", name) in self._folded
        )


def _any_spelling(prefixes: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of names that begin with a prefix, as servers that fold names read them.

    It reads no further than the longest prefix, however long a name is.
    """
    return re.compile("|".join([_FOLDED.sub("[^a-z0-9]", text) for text in prefixes]) or "(?!)")
