"""Revocations: what an entry means, and how it is written as a line.

Each line is a JSON object, all of whose members must match:

- ``{"agent": ID}``: every request of this agent;
- ``{"issuer": I, "token_id": JTI}``: one token;
- ``{"issuer": I, "subject": S, "before": T}``: a principal's tokens that were issued before T;
- ``{"issuer": I, "session": SID, "before": T}``: likewise those of a login session (``sid``);
- ``{"issuer": I, "email": E, "before": T}``: likewise those with this ``email``, however written;
- ``{"issuer": I, "before": T}``: all of an issuer's tokens that were issued before T;
- ``{"tool": NAME}``: every call of the tool, by anybody;
- ``{"everything": true}``: every request.

T is a time as in RFC 3339; without it, tokens of any time. The entry counts until
``expires``, a time likewise. ``by``, ``note`` and ``since``, when it was made, are for people.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from authz.core import strict_json
from authz.core.email import email_key
from authz.core.entry_lines import MAX_BYTES, Entry, EntryError, EntryReader, EntryTime, read_lines
from authz.core.spiffe import SpiffeId, SpiffeIdError

__all__ = [
    "MAX_BYTES",
    "READER",
    "REVOKED",
    "Revocation",
    "RevocationError",
    "decode",
    "read_entries",
    "read_entry",
    "read_lines",
]
# The members that say what an entry revokes, apart from the time.
REVOKED: Final = (
    *("agent", "issuer", "subject", "token_id"),
    *("tool", "everything", "session", "email"),
)
_QUOTES_OF_A_MEMBER: Final = 4  # two around its name, two around its text
_QUOTES_OF_TRUE: Final = 2  # around its name alone


class RevocationError(EntryError):
    """The file, or the entry, can't be used; the message says why, with the line of a file."""


class Revocation(Entry, frozen=True, gc=False):
    """An entry. ``before`` and ``expires`` are RFC 3339 with a zone in its line; None for never.

    ``by``, who revoked it, ``note``, why, and ``since``, when, are for people.
    """

    agent: str | None = None
    issuer: str | None = None
    subject: str | None = None
    token_id: str | None = None
    before: EntryTime | None = None
    note: str | None = None
    since: EntryTime | None = None
    tool: str | None = None  # ids are digests of the members in this order: add new ones at the end
    everything: bool | None = None
    session: str | None = None
    email: str | None = None
    by: str | None = None
    expires: EntryTime | None = None

    @property
    def revoked(self) -> tuple[str | bool | None, ...]:
        """The values of the members in ``REVOKED``."""
        return tuple(getattr(self, name) for name in REVOKED)

    def is_over(self, now: float) -> bool:
        """Tell whether it has expired at ``now``, in unix seconds."""
        return self.expires is not None and self.expires.timestamp() <= now

    def overlaps(self, other: "Revocation") -> bool:
        """Tell whether both may revoke the same request, apart from the time."""
        if self.everything or other.everything:
            return True
        if self.issuer is None or self.issuer != other.issuer:
            alike = ((self.agent, other.agent), (self.tool, other.tool))
            return any(mine is not None and mine == theirs for mine, theirs in alike)
        pairs = zip(_of_token(self), _of_token(other), strict=True)
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    def check(self) -> None:
        """Raise RevocationError if the members contradict each other or can't match anybody."""
        of_token = (self.issuer, *_of_token(self), self.before)
        if "" in of_token:  # it would match no one, or every token without a jti
            raise RevocationError("issuer, subject, token_id, session and email must not be empty")
        alone = {"agent": self.agent, "tool": self.tool, "everything": self.everything}
        given = [name for name, value in alone.items() if value is not None]
        if not given:
            self._check_of_token()
        elif len(given) > 1 or any(value is not None for value in of_token):
            raise RevocationError(f"{given[0]} must be given alone")
        elif self.agent is not None:
            _check_agent(self.agent)
        elif self.tool == "":
            raise RevocationError("tool must not be empty")
        elif self.everything is False:
            raise RevocationError("everything must be true, or left out")

    def _check_of_token(self) -> None:
        if self.issuer is None:
            raise RevocationError(
                "agent or issuer is required (or tool, or everything): a subject is unique only"
                " within its issuer"
            )
        given = [value for value in _of_token(self) if value is not None]
        if self.token_id is not None and (len(given) > 1 or self.before is not None):
            raise RevocationError("token_id must be given with issuer alone")
        if len(given) > 1:
            raise RevocationError("give one of subject, session and email: each in its own entry")


def _of_token(entry: Revocation) -> tuple[str | None, ...]:
    """Return the members that say which of an issuer's tokens, apart from their time."""
    email = None if entry.email is None else email_key(entry.email)
    return entry.subject, entry.token_id, entry.session, email


def _check_agent(agent: str) -> None:
    try:
        SpiffeId.parse(agent)
    except SpiffeIdError as error:
        raise RevocationError(f"agent: {error}{_no_pattern(agent)}") from None


def _no_pattern(agent: str) -> str:
    if "*" not in agent:
        return ""
    return "; a revocation names one agent: to stop a pattern, set suspended: true in its entry"


def _entry(line: bytes) -> Revocation:
    """Decode a line. Raises ValueError, also for a member that occurs twice.

    The library keeps the last of two members. All members but ``everything`` are texts, so that
    their quotes count them; the slower and stricter reader decides on lines written otherwise, with
    escapes or null.
    """
    entry = decode(line)
    fields = msgspec.structs.astuple(entry)
    quotes = _QUOTES_OF_A_MEMBER * (len(fields) - fields.count(None))
    if entry.everything is not None:
        quotes -= _QUOTES_OF_A_MEMBER - _QUOTES_OF_TRUE
    if b"\\" in line or line.count(b'"') != quotes:
        strict_json.loads(line)
    return entry


decode: Final = msgspec.json.Decoder(Revocation).decode
"""Decodes a line that has been read before."""
READER: Final = EntryReader(_entry, RevocationError)


def read_entries(data: bytes) -> Iterator[tuple[int, Revocation | EntryError]]:
    """Yield the entries of a file, as ``EntryReader.read_all``."""
    return READER.read_all(data)


def read_entry(line: bytes) -> Revocation:
    """Return the entry of a line. Raises RevocationError."""
    return READER.read(line)
