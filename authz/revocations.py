"""What was revoked before its time: tokens, principals, issuers, agents; from a file, at once.

One JSON object a line, all of whose members must fit:

- ``{"agent": ID}``: whatever this agent asks for;
- ``{"issuer": I, "token_id": JTI}``: one token;
- ``{"issuer": I, "subject": S, "before": T}``: a principal's tokens that were issued before T;
- ``{"issuer": I, "before": T}``: all of an issuer's tokens that were issued before T.

T is a time as in RFC 3339; without it, whenever they were issued. ``note`` is for people. The file
is read again when it changes, and every remembered decision is made anew. One that can't be read,
or has a bad line, is not taken: the last good one stays.
"""

import logging
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from authz.decision import Agent, Delegation
from authz.reason import Denied, Reason
from authz.settings import FileText, Settings
from authz.spiffe import SpiffeId, SpiffeIdError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES: Final = 64 * 1024 * 1024  # half a million entries
_log: Final = logging.getLogger("authz.revocations")


class RevocationError(ValueError):
    """The file can't be used; the message says why, with the line."""


class RevocationSettings(Settings):
    """What was revoked before its time."""

    file: FileText | None = None
    """A file with one JSON object a line; read again within a second when it changes."""


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line. ``before`` in the file is RFC 3339 with a zone; None for whenever."""

    agent: str | None = None
    issuer: str | None = None
    subject: str | None = None
    token_id: str | None = None
    before: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    note: str | None = None

    def check(self) -> None:
        """Raises RevocationError where the members make no sense together, or fit nobody."""
        of_token = (self.issuer, self.subject, self.token_id, self.before)
        if self.agent is not None:
            if of_token != (None, None, None, None):
                raise RevocationError("agent stands alone")
            try:
                SpiffeId.parse(self.agent)
            except SpiffeIdError as error:
                raise RevocationError(f"agent: {error}") from None
        elif self.issuer is None:
            raise RevocationError("agent or issuer is needed: a subject is unique in one issuer")
        elif self.token_id is not None and (self.subject is not None or self.before is not None):
            raise RevocationError("token_id goes with issuer alone")


class Revocations:
    """The compiled entries: look-ups that cost the same however many there are."""

    def __init__(self, entries: tuple[Revocation, ...] = ()) -> None:
        """Compile."""
        self._agents: set[str] = set()
        self._tokens: set[tuple[str, str]] = set()
        # Unix seconds before which tokens were issued that are void; by issuer and subject, with
        # None for any subject. The latest of several entries counts.
        self._before: dict[tuple[str, str | None], float] = {}
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Revocation) -> None:
        if entry.agent is not None:
            self._agents.add(entry.agent)
        elif entry.issuer is not None and entry.token_id is not None:
            self._tokens.add((entry.issuer, entry.token_id))
        elif entry.issuer is not None:
            key = (entry.issuer, entry.subject)
            before = entry.before.timestamp() if entry.before is not None else inf
            self._before[key] = max(before, self._before.get(key, -inf))

    def check(self, agent: Agent, delegation: Delegation) -> None:
        """Raises Denied(AGENT_SUSPENDED | TOKEN_REVOKED)."""
        if agent.spiffe_id.text in self._agents:
            raise Denied(Reason.AGENT_SUSPENDED, "the agent was revoked")
        if (delegation.issuer, delegation.token_id) in self._tokens:
            raise Denied(Reason.TOKEN_REVOKED, "its jti was revoked")
        for subject, what in ((delegation.subject, "its subject's"), (None, "its issuer's")):
            if delegation.issued_at < self._before.get((delegation.issuer, subject), -inf):
                raise Denied(Reason.TOKEN_REVOKED, f"{what} tokens of that time were revoked")

    def __len__(self) -> int:
        """Entries that count."""
        return len(self._agents) + len(self._tokens) + len(self._before)


def parse(data: bytes) -> Revocations:
    """Compile a file's bytes. Raises RevocationError with the first bad line."""
    if len(data) > MAX_BYTES:
        raise RevocationError(f"larger than {MAX_BYTES} bytes")
    entries: list[Revocation] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = _decode(line)
            entry.check()
        except (msgspec.MsgspecError, UnicodeDecodeError, RevocationError) as error:
            raise RevocationError(f"line {number}: {error}") from None
        entries.append(entry)
    return Revocations(tuple(entries))


_decode: Final = msgspec.json.Decoder(Revocation).decode


class RevocationList:
    """The file, watched.

    Attributes:
        current: what counts now; swapped as a whole.
        generation: grows with every change.
        reloads: how many changes were taken, and refused.
    """

    def __init__(self, settings: RevocationSettings) -> None:
        """Read the file. Raises RevocationError."""
        self._path = Path(settings.file) if settings.file is not None else None
        self.generation = 0
        self.reloads: Mapping[str, int] = {"taken": 0, "refused": 0}
        self._seen: object = None
        self.current = Revocations()
        if self._path is not None:
            self._seen = _identity(self._path)
            self.current = self._read(self._path)

    def _read(self, path: Path) -> Revocations:
        try:
            return parse(path.read_bytes())
        except OSError as error:
            raise RevocationError(f"{path} can't be read: {error.strerror}") from None
        except RevocationError as error:
            raise RevocationError(f"{path}: {error}") from None

    def refresh(self) -> None:
        """Take a changed file; keep the last good one when it is not good."""
        if self._path is None:
            return
        seen = _identity(self._path)
        if seen == self._seen:
            return
        self._seen = seen  # before it is read: a change meanwhile shows the next time
        try:
            self.current = self._read(self._path)
        except RevocationError as error:
            self.reloads = {**self.reloads, "refused": self.reloads["refused"] + 1}
            _log.error("revocations not taken, the last good ones stay: %s", error)
            return
        self.generation += 1  # after the swap: who sees it sees the entries as well
        self.reloads = {**self.reloads, "taken": self.reloads["taken"] + 1}
        _log.info("revocations taken", extra={"entries": len(self.current)})

    def check(self, agent: Agent, delegation: Delegation) -> None:
        """Raises Denied(AGENT_SUSPENDED | TOKEN_REVOKED)."""
        self.current.check(agent, delegation)

    def append(self, entry: Revocation) -> None:
        """Add a line to the file. Raises RevocationError."""
        if self._path is None:
            raise RevocationError("the config names no revocations.file")
        entry.check()
        try:
            data = self._path.read_bytes()
            start = b"\n" if data and not data.endswith(b"\n") else b""
            with self._path.open("ab", buffering=0) as file:
                file.write(start + msgspec.json.encode(entry) + b"\n")
        except OSError as error:
            raise RevocationError(f"{self._path}: {error.strerror}") from None


def _identity(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
