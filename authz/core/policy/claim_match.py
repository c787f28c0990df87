"""Matching of a token's claims: whether a claim is, or holds, a wanted value, or can't be read.

An allow applies if a claim certainly matches. A deny or a suspension also applies if the claim has
an unreadable form, or the token declares it to be elsewhere: otherwise a different form of the
claim would lift a deny.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Self

from authz.core.distributed_claims import ClaimNames, external_claims, is_external
from authz.core.policy.claim_names import ClaimValue, claim_values, find_claim, root_of
from authz.core.reads import Reads
from authz.core.strict_json import of_type

# A list or an object as JSON within a text: its escapes could spell any name.
_JSON: Final = re.compile(r'\s*[\[{]\s*["\[{\]}]')
# What separates the words of a text into which several values were packed.
_BETWEEN: Final = re.compile(r"[\s,;|:=\"'()\[\]{}]+")
# The separators that no group's name contains: of lists in a text, and of names in LDAP (RFC 4514).
_PACKING: Final = re.compile(r"[,;|=]")
_NAMES: Final = 1024  # of claims; thousands of entries name the same few
Phrases = tuple[tuple[str, frozenset[str]], ...]
"""Texts of several words, with their words."""


class Fit(Enum):
    """How a claim fits; the value is the word for audit records."""

    YES = "yes"
    NO = "no"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    ELSEWHERE = "elsewhere"

    @property
    def is_unknown(self) -> bool:
        """Tell whether the claim is present in a form whose values can't be read."""
        return self in (Fit.UNREADABLE, Fit.ELSEWHERE)


FIT_TEXTS: Final = {
    Fit.ABSENT: "is not in the token",
    Fit.UNREADABLE: "has an unsupported form",
    Fit.ELSEWHERE: "is elsewhere, as the token says",
}
"""Texts for people, to follow a claim's name."""


Typed = tuple[type, ClaimValue]
"""A value with its type: ``true``, ``1`` and ``"1"`` are three different values."""


class HeldClaims:
    """A token's claims, each read once however many entries look at it."""

    __slots__ = ("_claims", "_elsewhere", "_forms", "_packed", "_values")

    def __init__(self, claims: Mapping[str, Any]) -> None:
        """Begin with nothing read."""
        self._claims = claims
        self._elsewhere: ClaimNames | None = None
        self._values: dict[str, frozenset[Typed]] = {}
        self._forms: dict[tuple[str, frozenset[type]], Fit] = {}
        self._packed: dict[str, Packed] = {}

    def value(self, name: str) -> object:
        """Return the claim itself, as ``find_claim`` does."""
        return find_claim(self._claims, name)

    def values(self, name: str) -> frozenset[Typed]:
        """Return the texts, whole numbers and booleans that a claim is or holds."""
        if name not in self._values:
            found = claim_values(self._claims, name)
            self._values[name] = frozenset([(type(value), value) for value in found])
        return self._values[name]

    def packed(self, name: str) -> "Packed":
        """Return the texts of a claim into which several values may be packed."""
        if name not in self._packed:
            self._packed[name] = Packed.of(self.value(name))
        return self._packed[name]

    def form(self, name: str, kinds: frozenset[type]) -> Fit:
        """Return NO for a readable claim without a wanted value, else why it is unreadable.

        ``kinds`` are the types of the wanted values.
        """
        key = (name, kinds)
        if key not in self._forms:
            gone = is_external(root_of(name), self._names_elsewhere())
            self._forms[key] = Fit.ELSEWHERE if gone else _form_of(self.value(name), kinds)
        return self._forms[key]

    def _names_elsewhere(self) -> ClaimNames:
        if self._elsewhere is None:
            self._elsewhere = external_claims(self._claims)
        return self._elsewhere


@dataclass(frozen=True, slots=True)
class Packed:
    """Texts of which each may hold several values, read once however many entries look at them.

    Attributes:
        words: the words of all the texts.
    """

    texts: tuple[str, ...]
    words: frozenset[str]

    @classmethod
    def of(cls, value: object) -> Self:
        """Read a claim: a single text, or the texts of its list that no group's name looks like.

        Names of groups contain blanks. In a list, a blank alone is no sign of several values.
        """
        if isinstance(value, str):
            texts = [value]
        elif isinstance(value, list):
            listed = of_type(str, value)
            is_any = _PACKING.search("\n".join(listed))
            texts = [text for text in listed if _PACKING.search(text)] if is_any else []
        else:
            texts = []
        return cls(tuple(texts), frozenset[str]().union(*map(words_in, texts)))

    def may_hold(self, texts: frozenset[str], phrases: Phrases) -> bool:
        """Tell whether any of the wanted texts stands in a packed text, as words of it."""
        if not self.words:
            return False
        return not self.words.isdisjoint(texts) or any(
            self.words.issuperset(words) and any(phrase in text for text in self.texts)
            for phrase, words in phrases
        )


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """A compiled match of a claim: it is, or holds, a wanted value of the same type.

    Attributes:
        name: the claim's name as the config has it.
        wanted: the values, with their types.
        kinds: the types of the values.
        texts: the values that are texts.
        phrases: the texts of several words, with their words.
    """

    name: str
    wanted: frozenset[Typed]
    kinds: frozenset[type]
    texts: frozenset[str]
    phrases: Phrases

    @classmethod
    def of(cls, name: str, values: Iterable[ClaimValue]) -> Self:
        """Compile the match of a named claim."""
        wanted = frozenset([(type(value), value) for value in values])
        texts = frozenset([value for _, value in wanted if isinstance(value, str)])
        phrases = tuple([(text, words) for text in texts if (words := words_in(text))])
        return cls(name, wanted, frozenset([kind for kind, _ in wanted]), texts, phrases)

    @property
    def reads(self) -> Reads:
        """The top-level claim that contains it."""
        return _inputs_read(self.name)

    def fit(self, held: HeldClaims) -> Fit:
        """Return how the claim fits."""
        if not self.wanted.isdisjoint(held.values(self.name)):
            return Fit.YES
        form = held.form(self.name, self.kinds)
        if form is not Fit.NO:
            return form
        is_packed = held.packed(self.name).may_hold(self.texts, self.phrases)
        return Fit.UNREADABLE if is_packed else form


@lru_cache(_NAMES)
def _inputs_read(name: str) -> Reads:
    return Reads(claims=frozenset({root_of(name)}))


def _form_of(value: object, kinds: frozenset[type]) -> Fit:
    if value is None:
        return Fit.ABSENT  # JSON's null too, as some issuers write absent claims
    values = value if isinstance(value, list) else (value,)
    return Fit.NO if all(_is_read(item, kinds) for item in values) else Fit.UNREADABLE


def words_in(text: str) -> frozenset[str]:
    """Return the words of a text that may hold several values; empty if it is a single word."""
    words = [word for word in _BETWEEN.split(text) if word]
    return frozenset(words) if len(words) > 1 else frozenset()


def _is_read(value: object, kinds: frozenset[type]) -> bool:
    """Tell whether a value has an expected type, and a text also no form that hides its words."""
    if type(value) not in kinds:
        return False
    if not isinstance(value, str):
        return True
    return value.isprintable() and value == value.strip() and not _JSON.match(value)
