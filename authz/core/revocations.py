"""Revocation files: their lines, and the tokens, principals, issuers and agents they revoke.

Each line is a JSON object, all of whose members must match:

- ``{"agent": ID}``: every request of this agent;
- ``{"issuer": I, "token_id": JTI}``: one token;
- ``{"issuer": I, "subject": S, "before": T}``: a principal's tokens that were issued before T;
- ``{"issuer": I, "before": T}``: all of an issuer's tokens that were issued before T.

T is a time as in RFC 3339; without it, tokens of any time. ``note`` and ``since``, the time of the
revocation, are for people.
"""

from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from math import inf
from typing import Annotated, Final

import msgspec

from authz.core import strict_json
from authz.core.decision import Agent, Delegation
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SpiffeId, SpiffeIdError

MAX_BYTES: Final = 64 * 1024 * 1024  # half a million entries
_QUOTES_OF_A_MEMBER: Final = 4  # two around its name, two around its text
_ID_CHARS: Final = 12  # hexadecimal: among half a million entries two are alike once in 2000 cases


class RevocationError(ValueError):
    """The file can't be used; the message says why, with the line."""


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of the file. ``before`` is RFC 3339 with a zone in the file; None for any time.

    ``note`` and ``since``, when it was revoked, are for people.
    """

    agent: str | None = None
    issuer: str | None = None
    subject: str | None = None
    token_id: str | None = None
    before: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    note: str | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None

    @property
    def id(self) -> str:
        """A digest that names the entry: line numbers change when other lines are removed."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:_ID_CHARS]

    @property
    def revoked(self) -> tuple[str | None, ...]:
        """The members that say what it revokes, apart from the time."""
        return self.agent, self.issuer, self.subject, self.token_id

    def overlaps(self, other: "Revocation") -> bool:
        """Tell whether both may revoke the same request, apart from the time."""
        if self.issuer is None or self.issuer != other.issuer:
            return self.agent is not None and self.agent == other.agent
        pairs = ((self.subject, other.subject), (self.token_id, other.token_id))
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    def check(self) -> None:
        """Raise RevocationError if the members contradict each other or can't match anybody."""
        of_token = (self.issuer, self.subject, self.token_id, self.before)
        if "" in of_token:  # it would match no one, or every token without a jti
            raise RevocationError("issuer, subject and token_id must not be empty")
        if self.agent is not None:
            if of_token != (None, None, None, None):
                raise RevocationError("agent must be given alone")
            try:
                SpiffeId.parse(self.agent)
            except SpiffeIdError as error:
                raise RevocationError(f"agent: {error}{_no_pattern(self.agent)}") from None
        elif self.issuer is None:
            raise RevocationError(
                "agent or issuer is required: a subject is unique only within its issuer"
            )
        elif self.token_id is not None and (self.subject is not None or self.before is not None):
            raise RevocationError("token_id must be given with issuer alone")


class Revocations:
    """The compiled entries: a look-up costs the same however many there are.

    Attributes:
        agents: SPIFFE IDs of revoked agents.
        tokens: (issuer, jti) of revoked tokens.
        before: by issuer and subject (None for any subject), unix seconds: tokens issued before
            then are revoked. The latest of several entries counts.
        issuers: the issuers of all of these tokens.
    """

    def __init__(self, entries: tuple[Revocation, ...] = ()) -> None:
        """Compile the entries."""
        self.agents: set[str] = set()
        self.tokens: set[tuple[str, str]] = set()
        self.before: dict[tuple[str, str | None], float] = {}
        self.issuers: set[str] = set()
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Revocation) -> None:
        if entry.agent is not None:
            self.agents.add(entry.agent)
        elif entry.issuer is not None:
            self.issuers.add(entry.issuer)
            self._add_tokens(entry.issuer, entry)

    def _add_tokens(self, issuer: str, entry: Revocation) -> None:
        if entry.token_id is not None:
            self.tokens.add((issuer, entry.token_id))
        else:
            key = (issuer, entry.subject)
            before = entry.before.timestamp() if entry.before is not None else inf
            self.before[key] = max(before, self.before.get(key, -inf))

    def check(self, agent: Agent, delegation: Delegation) -> None:
        """Raise Denied(AGENT_SUSPENDED | TOKEN_REVOKED) if an entry matches."""
        if agent.spiffe_id.text in self.agents:
            raise Denied(Reason.AGENT_SUSPENDED, "the agent was revoked")
        if delegation.issuer not in self.issuers:  # as nearly always
            return
        if (delegation.issuer, delegation.token_id) in self.tokens:
            raise Denied(Reason.TOKEN_REVOKED, "its jti was revoked")
        for subject, what in ((delegation.subject, "its subject's"), (None, "its issuer's")):
            if delegation.issued_at < self.before.get((delegation.issuer, subject), -inf):
                raise Denied(
                    Reason.TOKEN_REVOKED, f"{what} tokens issued at that time were revoked"
                )

    def joined(self, other: "Revocations") -> "Revocations":
        """Return the union of both; itself if the other adds nothing."""
        both = Revocations()
        for revocations in (self, other):
            both._join(revocations)
        return self if both == self else both

    def _join(self, other: "Revocations") -> None:
        self.agents |= other.agents
        self.tokens |= other.tokens
        self.issuers |= other.issuers
        for key, before in other.before.items():
            self.before[key] = max(before, self.before.get(key, -inf))

    def __eq__(self, other: object) -> bool:
        """Tell whether both revoke the same."""
        if not isinstance(other, Revocations):
            return NotImplemented
        mine, theirs = (self.agents, self.tokens), (other.agents, other.tokens)
        return mine == theirs and self.before == other.before

    __hash__ = None  # type: ignore[assignment] # compared, and never looked up

    def __len__(self) -> int:
        """Return the number of entries that count."""
        return len(self.agents) + len(self.tokens) + len(self.before)


def parse(data: bytes) -> Revocations:
    """Compile a file's bytes. Raises RevocationError with the first bad line."""
    entries: list[Revocation] = []
    for number, entry in read_entries(data):
        if isinstance(entry, RevocationError):
            raise RevocationError(f"line {number}: {entry}")
        entries.append(entry)
    return Revocations(tuple(entries))


def read_entries(data: bytes) -> Iterator[tuple[int, Revocation | RevocationError]]:
    """Yield the number of each line, from 1, with its entry or the reason why it is invalid.

    Blank lines are left out. Raises RevocationError for a file that is too large.
    """
    if len(data) > MAX_BYTES:
        raise RevocationError(f"larger than {MAX_BYTES} bytes")
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, _entry_or_error(line)


def _entry_or_error(line: bytes) -> Revocation | RevocationError:
    try:
        entry = _entry(line)
        entry.check()
    except (ValueError, RecursionError) as error:
        return RevocationError(str(error))
    return entry


def _entry(line: bytes) -> Revocation:
    """Decode a line. Raises ValueError, also for a member that occurs twice.

    The library keeps the last of two members. All members are texts, so that their quotes count
    them; the slower and stricter reader decides on lines written otherwise, with escapes or null.
    """
    entry = _decode(line)
    fields = msgspec.structs.astuple(entry)
    quotes = _QUOTES_OF_A_MEMBER * (len(fields) - fields.count(None))
    if b"\\" in line or line.count(b'"') != quotes:
        strict_json.loads(line)
    return entry


def _no_pattern(agent: str) -> str:
    if "*" not in agent:
        return ""
    return "; a revocation names one agent: to stop a pattern, set suspended: true in its entry"


_decode: Final = msgspec.json.Decoder(Revocation).decode
