"""The audit log: one JSON line a decision, written by one thread, never waited for.

The fields are an allow-list: what ``AuditRecord`` has no place for can't be logged. The costly part
of a line is encoded once for a decision and completed for each request with time and ids.
"""

import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import msgspec
from pydantic import Field

from authz.settings import Settings

FLUSH_SECONDS: Final = 0.2  # how long a record may wait to be written
WRITE_LINES: Final = 64
CLOSE_SECONDS: Final = 5.0  # how long a stop waits for the last records
MAX_ID_CHARS: Final = 128  # of ids that clients choose
_TOKEN_ID_CHARS: Final = 16  # tells tokens apart without being one's jti, which can be a secret
_log: Final = logging.getLogger("authz.audit")
# JSON leaves these as they are, but a terminal or a line reader obeys them.
_DELETE: Final = 0x7F  # to ask for the number costs a fifth of asking for b"\x7f"
_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(_DELETE, 0xA0), 0x2028, 0x2029)}


class AuditError(RuntimeError):
    """The audit log can't be opened; the message says why."""


class AuditSettings(Settings):
    """One record for each decision."""

    path: str = Field(default="-", min_length=1)
    """A file, or - for standard output. SIGHUP opens the file anew, for log rotation."""
    queue: int = Field(default=10_000, ge=1, le=10_000_000)
    """Records that may wait to be written."""
    when_full: Literal["drop", "deny"] = "drop"
    """When the disk can't keep up: drop records and count them, or deny what can't be recorded."""


class AuditRecord(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of a decision. Empty where the refusal came before it was known.

    ``actors`` are the token's actors, current first, ``flags`` what is odd about earlier ones;
    ``rule`` is the agent's rule that allowed, or the one that denied or came nearest;
    ``token_id`` a digest of the token's jti; ``issued_at`` its iat; ``claims`` what rules read of
    the token; ``shadows`` what other policies would have said, where they differ.
    """

    decision: str
    reason: str
    detail: str
    agent: str
    principal: str
    issuer: str
    actors: list[dict[str, str]]
    mode: str
    flags: list[str]
    scopes: list[str]
    rule: str
    principal_rule: str
    policy_version: str
    token_id: str
    issued_at: float = 0.0
    claims: Mapping[str, Any] = {}
    shadows: list[dict[str, str]] = []


class AuditOperation(msgspec.Struct, frozen=True, gc=False):
    """What was asked for, and of us by whom. The path has no query, which could hold a secret.

    ``headers`` are those that rules read; ``route`` is the one that the proxy named; ``calls`` what
    a message of ``protocol`` asked for: method, kind and name of each, never its
    arguments; the name of a resource without user, query and fragment, and then ``is_cut``.
    """

    method: str
    host: str
    path: str
    proxy: str
    route: str = ""
    headers: Mapping[str, str] = {}
    protocol: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()


_encode: Final = msgspec.json.Encoder().encode


def token_digest(token_id: str) -> str:
    """What stands for a jti in records; "" for none."""
    return sha256(token_id.encode()).hexdigest()[:_TOKEN_ID_CHARS] if token_id else ""


def encode_record(record: AuditRecord) -> bytes:
    """The beginning of a line: a JSON object without its end."""
    return _safe(_encode(record))[:-1]


def encode_operation(operation: AuditOperation) -> bytes:
    """The middle of a line: further members."""
    return b"," + _safe(_encode(operation))[1:-1]


def _safe(json: bytes) -> bytes:
    if json.isascii() and _DELETE not in json:  # as nearly always
        return json
    return json.decode().translate(_UNSAFE).encode()


class _Use(msgspec.Struct, frozen=True, gc=False):
    """The end of a line: what differs from request to request, as msgspec makes it JSON."""

    time: datetime
    request_id: str
    trace_id: str
    decision_id: str
    cache: str
    duration_us: int


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line to be: the costly part done before, and what differs from request to request.

    Requests only make these. They become text in the writer's thread, many at a time: code that
    runs once among much else finds the processor's caches cold, and takes several times as long.
    """

    decision: bytes
    operation: bytes
    time_seconds: float
    request_id: str
    trace_id: str
    decision_id: str
    is_hit: bool
    seconds: float

    def encode(self) -> bytes:
        """The line."""
        use = _Use(
            datetime.fromtimestamp(self.time_seconds, UTC),
            self.request_id[:MAX_ID_CHARS],
            self.trace_id,
            self.decision_id,
            "hit" if self.is_hit else "miss",
            int(self.seconds * 1e6),
        )
        return b"".join((self.decision, self.operation, b",", _safe(_encode(use))[1:], b"\n"))


class Encodes(Protocol):
    """What can be written: a Line, or text."""

    def encode(self) -> bytes:
        """The bytes, with the end of line."""


class AuditLog:
    """The writer: takes lines at once, writes them soon.

    Attributes:
        dropped: lines that found the queue full.
        errors: writes that failed; their lines are lost.
        must_record: whether what can't be recorded must be denied.
    """

    def __init__(self, settings: AuditSettings) -> None:
        """Take the settings; ``start`` opens the file."""
        self.dropped = 0
        self.errors = 0
        self.must_record = settings.when_full == "deny"
        self._path = None if settings.path == "-" else Path(settings.path)
        self._limit = settings.queue
        self._lines: deque[Encodes] = deque()
        self._file: IO[bytes] | None = None
        self._start = b""  # written first: ends a line that was cut off
        self._stop = threading.Event()
        self._reopen = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Open the file and begin to write. Raises AuditError."""
        try:
            self._file = self._open()
        except OSError as error:
            raise AuditError(f"can't write the audit log {self._path}: {error.strerror}") from None
        self._thread.start()

    def _open(self) -> IO[bytes]:
        if self._path is None:
            return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
        self._start = b"\n" if _ends_in_mid_line(self._path) else b""
        return self._path.open("ab", buffering=0)

    def append(self, line: Encodes) -> bool:
        """Queue a line; False when there is no room. Never waits."""
        if len(self._lines) >= self._limit:
            self.dropped += 1
            return False
        self._lines.append(line)
        return True

    def __len__(self) -> int:
        """Lines that wait to be written."""
        return len(self._lines)

    def reopen(self) -> None:
        """Open the file anew before the next write."""
        self._reopen.set()

    def close(self) -> None:
        """Write what waits, within CLOSE_SECONDS, and close."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self._write()
        self._write()
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        """Write what waits now, some lines at a time: large buffers are memory anew each time."""
        waiting = len(self._lines)
        while waiting > 0:
            self._write_some(min(waiting, WRITE_LINES))
            waiting -= WRITE_LINES

    def _write_some(self, count: int) -> None:
        data = b"".join([self._lines.popleft().encode() for _ in range(count)])
        try:
            self._refresh_file()
            if self._file is not None:
                _write_lines(self._file, self._start + data)
            self._start = b""
        except OSError as error:
            self.errors += 1
            _log.error("the audit log can't be written: %s", error.strerror)
            self._reopen.set()

    def _refresh_file(self) -> None:
        """Follow a rotation: SIGHUP, or the name is gone, or is another file's by now."""
        if not self._reopen.is_set() and not self._was_moved():
            return
        self._reopen.clear()
        fresh = self._open()
        if self._file is not None:
            self._file.close()
        self._file = fresh

    def _was_moved(self) -> bool:
        if self._path is None or self._file is None:
            return False
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(named, os.fstat(self._file.fileno()))


def _write_lines(file: IO[bytes], data: bytes) -> None:
    """Write whole lines: several processes may write to one file, or to one pipe.

    A file takes each write as a whole; a pipe only up to PIPE_BUF bytes (POSIX, write).
    """
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        _write_all(file, data)
        return
    at = 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + select.PIPE_BUF) + 1
        if not end:  # a line that is longer
            end = data.find(b"\n", at) + 1 or len(data)
        _write_all(file, data[at:end])
        at = end


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        count: int | None = file.write(view)
        if count is None:  # a full pipe that does not block, as standard output can be: no spinning
            room = select.poll()
            room.register(file, select.POLLOUT)
            room.poll(FLUSH_SECONDS * 1000)
            continue
        view = view[count:]


def _ends_in_mid_line(path: Path) -> bool:
    """Whether the last write was cut off, by a full disk or a crash: it must not spoil the next."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # not ours to read; whether it can be written shows soon
        return False
