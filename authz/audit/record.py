"""A record: what is remembered of a decision, as one JSON line.

The fields are an allow-list: what ``AuditRecord`` has no place for can't be logged. The costly part
of a line is encoded once for a decision and completed for each request with time and ids.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec

MAX_ID_CHARS: Final = 128  # of ids that clients choose
_TOKEN_ID_CHARS: Final = 16  # tells tokens apart without being one's jti, which can be a secret
# JSON leaves these as they are, but a terminal or a line reader obeys them.
_DELETE: Final = 0x7F  # to ask for the number costs a fifth of asking for b"\x7f"
_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(_DELETE, 0xA0), 0x2028, 0x2029)}


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
