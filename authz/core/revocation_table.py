"""Revocations in force: a table of the tokens, principals, issuers, agents and tools they stop."""

from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf
from typing import Final

import msgspec

from authz.core.decision import Agent, Delegation
from authz.core.distributed_claims import external_claims, is_external
from authz.core.email import MAX_CHARS, email_key
from authz.core.reason import Denied, Reason
from authz.core.request import CallKind, Operation
from authz.core.revocations import Revocation, decode

SESSION_CLAIM: Final = "sid"  # OpenID Connect Front-Channel Logout 1.0 section 3
_MOST_CHARS: Final = 256  # of an author or a note: it stands in the record of each refusal
EMAIL_CLAIM: Final = "email"  # OpenID Connect Core 1.0 section 5.1


class _Held(msgspec.Struct, gc=False):
    """The entries that revoke the same: the latest of their times counts.

    Attributes:
        before: unix seconds: only tokens issued before then; inf for any.
        line: the entry with this time.
        others: the times of the other entries, by their lines; None if there are none.
    """

    before: float
    line: bytes
    others: dict[bytes, float] | None = None

    def add(self, before: float, line: bytes) -> None:
        """Add an entry that revokes the same."""
        if line == self.line:
            return
        self.others = {} if self.others is None else self.others
        if before > self.before:
            before, line, self.before, self.line = self.before, self.line, before, line
        self.others[line] = before

    def remove(self, line: bytes) -> bool:
        """Remove an entry; return whether none is left."""
        if line != self.line:
            if self.others is not None:
                self.others.pop(line, None)
            return False
        if not self.others:
            return True
        self.line = max(self.others, key=self.others.__getitem__)
        self.before = self.others.pop(self.line)
        return False


_Table = dict[str, _Held]


class _OfIssuer:
    """The entries on an issuer's tokens: on all of them under "", and by the members' values."""

    __slots__ = ("emails", "sessions", "subjects", "tokens", "whole")

    def __init__(self) -> None:
        """Begin without entries."""
        self.whole: _Table = {}
        self.tokens: _Table = {}
        self.subjects: _Table = {}
        self.sessions: _Table = {}
        self.emails: _Table = {}

    def place(self, entry: Revocation) -> tuple[_Table, str]:
        """Return the table and the key that an entry has."""
        if entry.token_id is not None:
            return self.tokens, entry.token_id
        if entry.subject is not None:
            return self.subjects, entry.subject
        if entry.session is not None:
            return self.sessions, entry.session
        if entry.email is not None:
            return self.emails, email_key(entry.email)
        return self.whole, ""

    def check(self, delegation: Delegation) -> None:
        """Raise Denied(TOKEN_REVOKED) if an entry matches the token."""
        if (held := self.tokens.get(delegation.token_id)) is not None:
            raise _refusal(Reason.TOKEN_REVOKED, "its jti was revoked", held)
        self._check_time(self.subjects, delegation.subject, "its subject's", delegation)
        self._check_time(self.whole, "", "its issuer's", delegation)
        if self.sessions and (sid := _read(self.sessions, SESSION_CLAIM, delegation)) is not None:
            self._check_time(self.sessions, sid, "its session's", delegation)
        if self.emails and (email := _read(self.emails, EMAIL_CLAIM, delegation)) is not None:
            self._check_time(self.emails, email_key(email), "its email's", delegation)

    @staticmethod
    def _check_time(table: _Table, key: str, what: str, delegation: Delegation) -> None:
        held = table.get(key)
        if held is not None and delegation.issued_at < held.before:
            detail = f"{what} tokens issued at that time were revoked"
            raise _refusal(Reason.TOKEN_REVOKED, detail, held)


def _read(table: _Table, name: str, delegation: Delegation) -> str | None:
    """Return the text of a claim that entries are about; None if the token does not have it.

    A claim in another form, or that the token says is elsewhere, may be any: then the entries on
    tokens of that time refuse it. Raises Denied(TOKEN_REVOKED).
    """
    value = delegation.claims.get(name)
    if not is_external(name, external_claims(delegation.claims)):
        if value is None:
            return None
        if isinstance(value, str) and len(value) <= MAX_CHARS:
            return value
    # A copy, as entries are added meanwhile. Hardly any token comes here.
    if any(delegation.issued_at < held.before for held in list(table.values())):
        detail = f"its {name} can't be read, and tokens of some were revoked"
        raise Denied(Reason.TOKEN_REVOKED, detail)
    return None


class Revocations:
    """The entries in force: a look-up costs the same however many there are.

    A single thread adds and removes, while others check: each sees an entry wholly or not at all.
    """

    def __init__(self, entries: Iterable[Revocation] = ()) -> None:
        """Begin with entries."""
        self.lines: dict[bytes, int] = {}  # how often each was added
        self._everything: _Table = {}
        self._agents: _Table = {}
        self._tools: _Table = {}
        self._issuers: dict[str, _OfIssuer] = {}
        self._expiring: list[tuple[float, bytes]] = []  # a heap
        for entry in entries:
            self.add(entry.line, entry)

    def add(self, line: bytes, entry: Revocation) -> None:
        """Put a valid entry, and the line that it was read from, into force."""
        if times := self.lines.get(line, 0):
            self.lines[line] = times + 1
            return
        table, key = self._place(entry)
        before = inf if entry.before is None else entry.before.timestamp()
        if (held := table.get(key)) is None:
            table[key] = _Held(before, line)
        else:
            held.add(before, line)
        if entry.expires is not None:
            heappush(self._expiring, (entry.expires.timestamp(), line))
        self.lines[line] = 1  # last: if memory ran out before, adding it again is complete

    def remove(self, line: bytes) -> None:
        """Take a line back, which counts until it is removed as often as it was added."""
        times = self.lines.pop(line, 0)
        if times > 1:
            self.lines[line] = times - 1
        elif times:
            table, key = self._place(decode(line))
            if table[key].remove(line):
                del table[key]

    def expire(self, now: float) -> list[bytes]:
        """Take back what has expired at ``now``, in unix seconds, and return its lines."""
        expired: list[bytes] = []
        while self._expiring and self._expiring[0][0] <= now:
            line = heappop(self._expiring)[1]
            if self.lines.get(line):
                expired.append(line)
                self.lines[line] = 1
                self.remove(line)
        return expired

    def _place(self, entry: Revocation) -> tuple[_Table, str]:
        if entry.agent is not None:
            return self._agents, entry.agent
        if entry.tool is not None:
            return self._tools, entry.tool
        if entry.issuer is None:
            return self._everything, ""
        return self._issuers.setdefault(entry.issuer, _OfIssuer()).place(entry)

    def check(
        self, agent: Agent, delegation: Delegation, operations: tuple[Operation, ...]
    ) -> None:
        """Raise Denied(STOPPED | AGENT_SUSPENDED | TOKEN_REVOKED) if an entry matches."""
        if (held := self._everything.get("")) is not None:
            raise _refusal(Reason.STOPPED, "everything was stopped", held)
        if (held := self._agents.get(agent.spiffe_id.text)) is not None:
            raise _refusal(Reason.AGENT_SUSPENDED, "the agent was revoked", held)
        if self._tools:
            self._check_tools(operations)
        if (of_issuer := self._issuers.get(delegation.issuer)) is not None:
            of_issuer.check(delegation)

    def revoked_agents(self, agents: Iterable[str]) -> tuple[str, ...]:
        """Return those of the agents that an entry names."""
        return tuple(agent for agent in agents if agent in self._agents) if self._agents else ()

    def _check_tools(self, operations: tuple[Operation, ...]) -> None:
        for operation in operations:
            call = operation.call
            if call is None or call.kind is not CallKind.TOOL:
                continue
            if call.hides_name:  # it may be any
                raise Denied(Reason.STOPPED, "a tool is stopped, and this one's name is unreadable")
            if (held := self._tools.get(call.name)) is not None:
                raise _refusal(Reason.STOPPED, f"the tool {call.name} was stopped", held)

    def __len__(self) -> int:
        """Return the number of entries in force."""
        return len(self.lines)


def _refusal(reason: Reason, detail: str, held: _Held) -> Denied:
    """Return the refusal by an entry, whose id, author and note stand in the detail."""
    entry = decode(held.line)
    by = f" by {entry.by[:_MOST_CHARS]}" if entry.by else ""
    note = f": {entry.note[:_MOST_CHARS]}" if entry.note else ""
    return Denied(reason, f"{detail} (entry {entry.id}{by}{note})")
