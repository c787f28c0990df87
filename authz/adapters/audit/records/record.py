"""The audit record of a decision, and its encoding: the costly parts of a line.

The fields are an allow-list: a value for which ``AuditRecord`` and ``AuditOperation`` have no field
can't be logged. The costly part of a line is encoded once for a decision and completed for each
request with time and ids. Members without a value that most records lack are left out.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Self

import msgspec
from msgspec import UNSET, UnsetType

from authz.core.request import MessageProtocol

VERSION: Final = 1  # of the record's schema: a member that is taken away or changed makes another
_TOKEN_ID_CHARS: Final = 16  # distinguishes tokens without showing a jti, which can be a secret
# JSON leaves these as they are, but a terminal or a line reader obeys them.
_DELETE: Final = 0x7F  # searching for the number costs a fifth of searching for b"\x7f"
_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(_DELETE, 0xA0), 0x2028, 0x2029)}


class AuditRecord(msgspec.Struct, frozen=True, gc=False):
    """The cached part of a decision's record.

    A field is empty if the refusal came before it was known.
    """

    decision: str
    """allow or deny."""
    reason: str
    """For a deny, the reason's code."""
    detail: str
    """For a deny, exactly what was wrong or missing, for operators; clients never see it. A check
    refuses a token for its first fault: `authz token check` lists all faults.
    """
    agent: str
    """The SPIFFE ID of the calling agent."""
    principal: str
    """The token's sub: the principal that the agent acts for, or an autonomous agent itself."""
    issuer: str
    """The token's iss; without a token the SPIFFE ID of an autonomous agent's trust domain."""
    actors: list[dict[str, str]]
    """The token's actors, each with iss and sub, the current actor first."""
    mode: str
    """How the agent acts: act (the token's act claim names it), mapped (the config maps a client to
    it), autonomous (for itself), bootstrap (without a token yet).
    """
    flags: list[str]
    """Findings about earlier actors (``earlier_actor_unregistered``, ``earlier_actor_suspended``,
    ``earlier_actor_unreadable``) and about claims that rules need and can't read in the token, such
    as ``claim_unreadable:groups`` and ``claim_elsewhere:groups``.
    """
    scopes: list[str]
    """The token's scopes."""
    rule: str
    """The agent's rule that allowed, or the rule that denied or came nearest, as grant/name."""
    principal_rule: str
    """The principal's rule that allowed, as grant/name."""
    policy_version: str
    """The hash of the config that decided."""
    token_id: str
    """A digest of the token's jti, to distinguish tokens."""
    token_hash: str = ""
    """The digest of the presented token, even if it was refused: base64url of its SHA-256, as ath
    of RFC 9449 section 4.1. Empty without a token, and for one that is too large.
    """
    issued_at: float = 0.0
    """The token's iat, in unix seconds."""
    claims: Mapping[str, Any] = {}
    """The token's claims that rules read, and the claims that declare other claims to be
    elsewhere."""
    shadows: list[dict[str, str]] = []
    """Different decisions that other policies would have made: by (rule, candidate or policy),
    decision, reason and rule.
    """
    by_policy: bool = False
    """Whether the rules decided, so that another policy might have decided differently."""
    by_svid: bool = False
    """Whether an autonomous agent sent no token, so that its SVID alone identifies it."""
    version: int = VERSION
    """The version of this schema of records. Further members don't change it."""
    proof: str | UnsetType = UNSET
    """The proof of possession that was verified: mtls (the caller's certificate, RFC 8705), dpop
    (RFC 9449), or both as dpop+mtls. Left out for a bearer token, and without a token.
    """
    status: int | UnsetType = UNSET
    """For a deny, the HTTP status that the client gets: 200 if only the message refuses. Left out
    for an allow, which the upstream answers.
    """
    challenge: str | UnsetType = UNSET
    """For a deny, the WWW-Authenticate that tells the client what token would be accepted. Left out
    if no other token would help.
    """
    upstream: dict[str, str] | UnsetType = UNSET
    """For an allow whose upstream gets a credential in place of the client's token: gets (assert or
    exchange), id (the txn of the assertion, which is the decision_id of the decision for which it
    was signed, or a digest of the exchanged token) and audience; never the credential. Left out
    otherwise.
    """
    issuance: Mapping[str, Any] | UnsetType = UNSET
    """For a request to the token service (authz sts): audiences and scopes of the token, the id of
    the principal's consent if it needed one, and token_id, a digest of its jti, with expires_at; or
    the error that the client was told. The token's own members above are then those of the subject
    token. Left out for a check.
    """
    redacted: list[str] | UnsetType = UNSET
    """The fields that the config hashes (audit.redact.hash) or leaves empty (drop). Left out
    without redaction.
    """


class AuditOperation(msgspec.Struct, frozen=True, gc=False):
    """The operation that was asked for, and the proxy that asked."""

    method: str
    """The HTTP method."""
    host: str
    """The requested host, as it was sent."""
    path: str
    """The path as it was sent, without the query, which could hold a secret; of a path that is too
    long, the first 8,193 characters.
    """
    proxy: str
    """The SPIFFE ID of the calling proxy, if it has one."""
    route: str = ""
    """The route that the proxy named."""
    headers: Mapping[str, str] = {}
    """The headers that rules read, and no other headers."""
    protocol: MessageProtocol = MessageProtocol.NONE
    """The protocol of the message: mcp, a2a or openai."""
    calls: tuple[Mapping[str, Any], ...] = ()
    """The calls of the message: method, kind and name of each, never its arguments; for a model
    call also its tools and streaming. The URI of a resource is without user, query and fragment;
    is_cut says that it had one of them.
    """


_encode: Final = msgspec.json.Encoder().encode


def token_digest(token_id: str) -> str:
    """Return the digest that stands for a jti in records; "" for a token without a jti."""
    return sha256(token_id.encode()).hexdigest()[:_TOKEN_ID_CHARS] if token_id else ""


def encode_record(record: AuditRecord) -> bytes:
    """Encode the beginning of a line: a JSON object without its end."""
    return safe_json(_encode(record))[:-1]


class RecordTemplate(msgspec.Struct, frozen=True, gc=False):
    """An encoded record that can be used for other tokens with the same terms.

    Attributes:
        before, after: the bytes around the members that name the token.
    """

    before: bytes
    after: bytes

    @classmethod
    def cut(cls, encoded: bytes, record: AuditRecord) -> Self:
        """Cut the token's name out of an encoded record.

        All quotes in texts are escaped, and no earlier object has such a member: so the first place
        is the right one, whatever the claims are.
        """
        members = _token_members(record.token_id, record.token_hash, record.issued_at)
        before, _, after = encoded.partition(members)
        return cls(before, after)

    def of_token(self, token_id: str, token_hash: str, issued_at: float) -> bytes:
        """Return the same bytes as ``encode_record`` of the record with these members."""
        return self.before + _token_members(token_id, token_hash, issued_at) + self.after


def _token_members(token_id: str, token_hash: str, issued_at: float) -> bytes:
    # Two digests: their characters need no escape.
    return b'"token_id":"%b","token_hash":"%b","issued_at":%b' % (
        token_id.encode(),
        token_hash.encode(),
        _encode(issued_at),
    )


def encode_operation(operation: AuditOperation) -> bytes:
    """Encode the middle of a line: further members."""
    return b"," + safe_json(_encode(operation))[1:-1]


def encode_text(text: str) -> bytes:
    """Encode a text in the form that it has in a line."""
    return safe_json(_encode(text))


def safe_json(json: bytes) -> bytes:
    """Escape what a terminal or a line reader obeys, in JSON."""
    if json.isascii() and _DELETE not in json:  # as nearly always
        return json
    return json.decode().translate(_UNSAFE).encode()
