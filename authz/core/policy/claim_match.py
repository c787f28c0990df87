"""Whether a token's claim is, or holds, what somebody asks of it; or that nobody can tell.

What allows counts where a claim surely fits. What takes away counts as well where the claim is
there in a form that is not read, or is said to be elsewhere: else an issuer's other way to write it
would lift a deny.
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

# A list or an object as JSON, within a text: escapes in it could spell any name.
_JSON: Final = re.compile(r'\s*[\[{]\s*["\[{\]}]')
# What stands between the words of a text into which several values were packed.
_BETWEEN: Final = re.compile(r"[\s,;|:=\"'()\[\]{}]+")
# Of these the ones that names of groups have not: lists in a text, and names in LDAP (RFC 4514).
_PACKING: Final = re.compile(r"[,;|=]")
_NAMES: Final = 1024  # of claims; entries by the thousand name the same few
Phrases = tuple[tuple[str, frozenset[str]], ...]
"""Texts of several words, with their words."""


class Fit(Enum):
    """What is known of a claim; the value says of what is not read why, in records."""

    YES = "yes"
    NO = "no"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    ELSEWHERE = "elsewhere"

    @property
    def is_unknown(self) -> bool:
        """Whether the claim is there, and not in a form from which one can tell."""
        return self in (Fit.UNREADABLE, Fit.ELSEWHERE)


FIT_TEXTS: Final = {
    Fit.ABSENT: "is not in the token",
    Fit.UNREADABLE: "has an unsupported form",
    Fit.ELSEWHERE: "is elsewhere, as the token says",
}
"""For people, after a claim's name."""


Typed = tuple[type, ClaimValue]
"""A value with its type: ``true``, ``1`` and ``"1"`` are three."""


class HeldClaims:
    """A token's claims, as many entries look at them: each is read once."""

    __slots__ = ("_claims", "_elsewhere", "_forms", "_packed", "_values")

    def __init__(self, claims: Mapping[str, Any]) -> None:
        """Take the claims."""
        self._claims = claims
        self._elsewhere: ClaimNames | None = None
        self._values: dict[str, frozenset[Typed]] = {}
        self._forms: dict[tuple[str, frozenset[type]], Fit] = {}
        self._packed: dict[str, Packed] = {}

    def value(self, name: str) -> object:
        """Return the claim itself, as ``find_claim`` has it."""
        return find_claim(self._claims, name)

    def values(self, name: str) -> frozenset[Typed]:
        """Return the texts, whole numbers and booleans that a claim is or holds."""
        if name not in self._values:
            found = claim_values(self._claims, name)
            self._values[name] = frozenset([(type(one), one) for one in found])
        return self._values[name]

    def packed(self, name: str) -> "Packed":
        """Return what of a claim is a text into which several values were packed."""
        if name not in self._packed:
            self._packed[name] = Packed.of(self.value(name))
        return self._packed[name]

    def form(self, name: str, kinds: frozenset[type]) -> Fit:
        """Tell what is sure of a claim that has none of the values: NO, or why nothing is.

        ``kinds`` are the types of the values that are asked for.
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
    """Texts that may be several values each: read once, however many entries look at them.

    Attributes:
        words: of all of them.
    """

    texts: tuple[str, ...]
    words: frozenset[str]

    @classmethod
    def of(cls, value: object) -> Self:
        """Read a claim: one such text, or those in its list that no single group's name looks like.

        Names of groups have blanks in them. In a list a blank alone is no sign of several.
        """
        if isinstance(value, str):
            texts = [value]
        elif isinstance(value, list):
            listed = of_type(str, value)
            is_any = _PACKING.search("\n".join(listed))
            texts = [one for one in listed if _PACKING.search(one)] if is_any else []
        else:
            texts = []
        return cls(tuple(texts), frozenset[str]().union(*map(words_in, texts)))

    def may_hold(self, texts: frozenset[str], phrases: Phrases) -> bool:
        """Whether one of these stands in one of the texts, as words of it."""
        if not self.words:
            return False
        return not self.words.isdisjoint(texts) or any(
            self.words.issuperset(words) and any(phrase in one for one in self.texts)
            for phrase, words in phrases
        )


@dataclass(frozen=True, slots=True)
class ClaimMatch:
    """What is asked of one claim: that it is, or holds, one of some values, of the same type.

    Attributes:
        name: as the config has it.
        wanted: the values.
        kinds: their types.
        texts: those that are texts.
        phrases: of these the ones of several words, with their words.
    """

    name: str
    wanted: frozenset[Typed]
    kinds: frozenset[type]
    texts: frozenset[str]
    phrases: Phrases

    @classmethod
    def of(cls, name: str, values: Iterable[ClaimValue]) -> Self:
        """Compile."""
        wanted = frozenset([(type(value), value) for value in values])
        texts = frozenset([one for _, one in wanted if isinstance(one, str)])
        phrases = tuple([(one, words) for one in texts if (words := words_in(one))])
        return cls(name, wanted, frozenset([kind for kind, _ in wanted]), texts, phrases)

    @property
    def reads(self) -> Reads:
        """The top-level claim in which it stands."""
        return _inputs_read(self.name)

    def fit(self, held: HeldClaims) -> Fit:
        """Tell whether the claim fits."""
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
        return Fit.ABSENT  # JSON's null too, as some write what is not there
    values = value if isinstance(value, list) else (value,)
    return Fit.NO if all(_is_read(one, kinds) for one in values) else Fit.UNREADABLE


def words_in(text: str) -> frozenset[str]:
    """Return the words of a text that may be several values; none where it is one."""
    words = [one for one in _BETWEEN.split(text) if one]
    return frozenset(words) if len(words) > 1 else frozenset()


def _is_read(value: object, kinds: frozenset[type]) -> bool:
    """Whether it is of a type that was asked for; a text also without what hides what it says."""
    if type(value) not in kinds:
        return False
    if not isinstance(value, str):
        return True
    return value.isprintable() and value == value.strip() and not _JSON.match(value)
