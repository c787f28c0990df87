"""Consents: what a principal lets an agent do for it at the token service, and until when.

Each line is a JSON object:

- ``issuer`` and ``subject``: the principal, and ``agent``, the SPIFFE ID of the agent;
- ``until``: a time as in RFC 3339, from which on it counts no more;
- ``audiences``: the consent is for tokens for these alone; ``scopes``: with these scopes at most;
- ``authorization_details``: a list of exactly one object (RFC 9396 section 2), for consent to one
  call: it is for tokens with this object, all members of which must be the same. ``audiences`` and
  ``since`` are required then, and without ``scopes`` it is for tokens without any. The token
  service adds ``jti``, ``iat`` and ``exp``, by which the call passes once for all these tokens;
- ``once``: ``true`` if one token alone may be made by it; then ``since`` is required.

``since`` is when it was given; ``by`` and ``note`` are for people.
"""

import re
from collections.abc import Collection, Hashable, Mapping
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.approval import MAX_OWN_SECONDS, OWN_MEMBERS, same_json
from authz.core.entry_lines import Entry, EntryError, EntryReader, EntryTime
from authz.core.spiffe import SpiffeId, SpiffeIdError

MAX_OF_PAIR: Final = 1000  # consents of a principal for an agent: each look-up reads them all
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_EXACT_BELOW: Final = 2.0**53  # floats beyond it are not told apart (RFC 7493 section 2.2)


class ConsentError(EntryError):
    """The consent can't be used; the message says why."""


class Consent(Entry, frozen=True, gc=False):
    """A consent. Times are RFC 3339 with a zone in its line."""

    issuer: str
    subject: str
    agent: str
    until: EntryTime  # ids are digests of the members in this order: add new ones at the end
    audiences: tuple[str, ...] | None = None
    scopes: tuple[str, ...] | None = None
    authorization_details: tuple[dict[str, Any], ...] | None = None
    once: bool | None = None
    by: str | None = None
    note: str | None = None
    since: EntryTime | None = None

    @property
    def until_seconds(self) -> float:
        """Unix seconds from which on it counts no more, nor any token made by it."""
        return self.until.timestamp()

    @property
    def since_seconds(self) -> float:
        """Unix seconds: it was certainly not used before; its end, where that is unknown."""
        return self.until_seconds if self.since is None else self.since.timestamp()

    @property
    def detail(self) -> dict[str, Any] | None:
        """The object of RFC 9396 that names the one call; None if it is for no certain call."""
        return self.authorization_details[0] if self.authorization_details else None

    def is_over(self, now: float) -> bool:
        """Tell whether it has ended at ``now``, in unix seconds."""
        return self.until_seconds <= now

    def check(self) -> None:
        """Raise ConsentError if it can't be meant, or could be read in two ways."""
        if "" in (self.issuer, self.subject):
            raise ConsentError("issuer and subject must not be empty")
        try:
            SpiffeId.parse(self.agent)
        except SpiffeIdError as error:
            raise ConsentError(f"agent: {error}; a consent names one agent") from None
        if self.audiences is not None and (not self.audiences or "" in self.audiences):
            raise ConsentError("audiences must name at least one; left out, it is for any")
        self._check_scopes()
        self._check_details()
        if self.once is False:
            raise ConsentError("once must be true, or left out")
        if self.once and self.since is None:
            raise ConsentError("once requires since: a use before then can't have been forgotten")

    def _check_scopes(self) -> None:
        if self.scopes is None:
            return
        if not self.scopes:
            raise ConsentError("scopes must name at least one; left out, it is for any")
        if not all(map(_SCOPE.fullmatch, self.scopes)):
            raise ConsentError("scopes: each is a word as in RFC 6749 section 3.3")

    def _check_details(self) -> None:
        details = self.authorization_details
        if details is None:
            return
        if len(details) != 1:
            raise ConsentError("authorization_details must have exactly one object")
        if self.audiences is None:
            raise ConsentError("authorization_details requires audiences: where the call may be")
        kind = details[0].get("type")
        if not isinstance(kind, str) or not kind:
            raise ConsentError("authorization_details: the object must have a type (RFC 9396)")
        _check_numbers(details[0])
        self._check_use(details[0])

    def _check_use(self, detail: Mapping[str, Any]) -> None:
        """Require what the call's one use is named by, and remembered for."""
        if detail.keys() & OWN_MEMBERS:
            raise ConsentError("authorization_details: jti, iat and exp are the consent's own")
        if self.since is None:
            raise ConsentError("authorization_details requires since: a use is remembered from it")
        if not 0 < (self.until - self.since).total_seconds() <= MAX_OWN_SECONDS:
            raise ConsentError("authorization_details: until is more than 366 days after since")

    def covers(self, query: "ConsentQuery") -> bool:
        """Tell whether it is for all that is asked; its end, and whose it is, apart."""
        scopes = () if self.scopes is None and self.detail is not None else self.scopes
        if not _has_all(self.audiences, query.audiences) or not _has_all(scopes, query.scopes):
            return False
        return query.audiences != () and same_json(self.detail, query.detail)


class ConsentQuery(msgspec.Struct, frozen=True):
    """A token that an agent asks for.

    Attributes:
        issuer, subject: the principal.
        agent: SPIFFE ID of the agent that would act.
        audiences: all that the token would be for, at least one: without any no consent covers it.
        scopes: all that the token would have.
        detail: its one object of ``authorization_details`` (RFC 9396), None without.
    """

    issuer: str
    subject: str
    agent: str
    audiences: tuple[str, ...]
    scopes: tuple[str, ...]
    detail: Mapping[str, Any] | None = None


def _has_all(given: Collection[str] | None, asked: Collection[str]) -> bool:
    return given is None or set(asked) <= set(given)


def _check_numbers(value: object) -> None:
    """Refuse numbers that another number is read as."""
    level = [value]
    while level:
        if any(isinstance(each, float) and abs(each) >= _EXACT_BELOW for each in level):
            raise ConsentError("authorization_details: a number is too large to be told apart")
        level = strict_json.nested_values(level)


class Consents:
    """The consents in force: a look-up reads those of one principal for one agent alone.

    A single thread puts and drops, while others find: each sees a consent wholly or not at all.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._held: dict[Hashable, Consent] = {}
        self._once: dict[str, Consent] = {}  # by their digests
        self._by_pair: dict[tuple[str, str, str], dict[Hashable, Consent]] = {}

    def put(self, name: Hashable, consent: Consent, now: float) -> None:
        """Put a valid consent into force under a name, in place of one with the same name.

        Raises ConsentError, and leaves the consent out, if the pair has too many that have not
        ended at ``now``, in unix seconds.
        """
        self.drop(name)
        if len(self._by_pair.get(_pair(consent), ())) >= MAX_OF_PAIR:
            self._drop_ended(_pair(consent), now)
        pair = self._by_pair.setdefault(_pair(consent), {})
        if len(pair) >= MAX_OF_PAIR:
            raise ConsentError(f"more than {MAX_OF_PAIR} consents of a principal for an agent")
        pair[name] = self._held[name] = consent
        if consent.once:
            self._once[consent.digest] = consent

    def _drop_ended(self, pair: tuple[str, str, str], now: float) -> None:
        held = self._by_pair[pair].items()
        for name in [name for name, consent in held if consent.is_over(now)]:
            self.drop(name)

    def drop(self, name: Hashable) -> None:
        """Take the consent of this name out of force, if there is one."""
        consent = self._held.pop(name, None)
        if consent is not None:
            if consent.once:
                self._once.pop(consent.digest, None)
            pair = self._by_pair[_pair(consent)]
            del pair[name]
            if not pair:
                del self._by_pair[_pair(consent)]

    def find(self, query: ConsentQuery, now: float) -> Consent | None:
        """Return a consent that covers a query at ``now``, in unix seconds; None without any.

        One that may be used again comes before one that may be used once, and the one that ends
        last before others.
        """
        pair = self._by_pair.get((query.issuer, query.subject, query.agent))
        given = () if pair is None else tuple(pair.values())
        found = [each for each in given if not each.is_over(now) and each.covers(query)]
        return max(found, key=lambda each: (not each.once, each.until_seconds), default=None)

    def once(self, digest: str) -> Consent | None:
        """Return the consent that may be used once, by its digest; None if it is not in force."""
        return self._once.get(digest)

    def names(self) -> tuple[Hashable, ...]:
        """Return the names of all."""
        return tuple(self._held)

    def __contains__(self, name: Hashable) -> bool:
        """Tell whether there is a consent of this name."""
        return name in self._held

    def __len__(self) -> int:
        """Return the number of consents."""
        return len(self._held)


def _pair(consent: Consent) -> tuple[str, str, str]:
    return consent.issuer, consent.subject, consent.agent


def _consent(line: bytes) -> Consent:
    """Decode a line. Raises ValueError, also for a member that occurs twice, at any depth."""
    return msgspec.convert(strict_json.loads(line), Consent)


READER: Final = EntryReader(_consent, ConsentError)
