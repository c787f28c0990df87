"""Redacts records before they are encoded: fields become keyed hashes, or are left empty.

A redacted text could come back in another field: in a detail, a claim, a header or a path. So the
fields that may hold text of a request or a token are searched for it, too. Fields of closed lists,
and names from the config such as rules, are not searched.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from authz.adapters.audit.records.record import AuditOperation, AuditRecord
from authz.adapters.audit.records.sweep import Secret, sweep, sweep_values, texts_in
from authz.adapters.audit.redaction_settings import DroppedField, HashedField, RedactionSettings
from authz.core.base64url import base64url

_HASH_BYTES: Final = 16  # half of the digest, the least that RFC 2104 section 5 recommends
_HASHED: Final = "hmac:"
_DROPPED: Final = "[dropped]"  # in place of a text that another field quoted
_NAMED: Final = frozenset({HashedField.PRINCIPAL, HashedField.AGENT})


class Parties(msgspec.Struct, frozen=True, gc=False):
    """The names in a decision: of the agent, the principal, and the token's actors."""

    agent: str = ""
    principal: str = ""
    actors: tuple[str, ...] = ()


class Redaction:
    """Redacts the records of one version of the settings.

    Attributes:
        fields: the names of the redacted fields, as each record lists them.
        redacts_host: whether the host is among them, which claims may quote.
    """

    def __init__(self, settings: RedactionSettings, key: bytes = b"") -> None:
        """Take the settings; ``key`` is the secret of the hashes."""
        self.fields = list(settings.fields)
        self.redacts_host = HashedField.HOST.value in self.fields
        self._hash = frozenset(settings.hash)
        self._drop = frozenset(settings.drop)
        self._key = key

    def record(self, record: AuditRecord, operation: AuditOperation) -> AuditRecord:
        """Return the redacted record of a decision; ``operation`` is what it may quote."""
        actors = tuple(actor["sub"] for actor in record.actors)
        names = self._names(Parties(record.agent, record.principal, actors))
        claims = [*names, *self._host(operation)]
        quoted = [*claims, *self._quotable(record, operation)]
        challenge = record.challenge
        return msgspec.structs.replace(
            record,
            detail=self._kept(DroppedField.DETAIL, sweep(record.detail, quoted), ""),
            agent=self._field(HashedField.AGENT, record.agent),
            principal=self._principal(record),
            actors=self._kept(DroppedField.ACTORS, self._actors(record, names), []),
            scopes=self._kept(DroppedField.SCOPES, sweep_values(record.scopes, names), []),
            claims=self._claims(record.claims, claims),
            challenge=challenge if challenge is UNSET else sweep(challenge, quoted),
            issuance=self._issuance(record.issuance, names),
            redacted=self.fields,
        )

    def operation(self, operation: AuditOperation, parties: Parties) -> AuditOperation:
        """Return the redacted operation, which may quote the names of the parties."""
        names = self._names(parties)
        texts = [*names, *self._host(operation)]
        return msgspec.structs.replace(
            operation,
            host=sweep(self._field(HashedField.HOST, operation.host), names),
            path=sweep(self._field(HashedField.PATH, operation.path), texts),
            # A sidecar calls with its agent's own identity.
            proxy=self._field(HashedField.AGENT, operation.proxy)
            if operation.proxy == parties.agent
            else operation.proxy,
            headers=self._kept(DroppedField.HEADERS, sweep_values(operation.headers, texts), {}),
            calls=self._kept(
                DroppedField.CALLS, tuple(sweep_values(call, texts) for call in operation.calls), ()
            ),
        )

    def _kept(self, field: DroppedField, value: Any, empty: Any) -> Any:  # noqa: ANN401 - of any field
        return empty if field in self._drop else value

    def _hashed(self, text: str) -> str:
        """Return the hash that stands for a text; an empty text stays empty."""
        if not text:
            return ""
        digest = hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), sha256)
        return _HASHED + base64url(digest[:_HASH_BYTES])

    def _field(self, field: HashedField, text: str) -> str:
        if field in self._hash:
            return self._hashed(text)
        return "" if field.value in self._drop else text

    def _principal(self, record: AuditRecord) -> str:
        """Return the redacted principal, which is the agent itself if it acts autonomously."""
        is_agent = record.principal == record.agent and DroppedField.PRINCIPAL not in self._drop
        return self._field(
            HashedField.AGENT
            if is_agent and HashedField.AGENT in self._hash
            else HashedField.PRINCIPAL,
            record.principal,
        )

    def _actors(self, record: AuditRecord, names: list[Secret]) -> list[dict[str, str]]:
        hashes = not _NAMED.isdisjoint(self._hash)
        return [
            {**one, "sub": self._hashed(one["sub"]) if hashes else sweep(one["sub"], names)}
            for one in record.actors
        ]

    def _names(self, parties: Parties) -> list[Secret]:
        """Return the names that no field may hold, the longest first: one may hold another."""
        found: dict[str, str] = {}
        if not _NAMED.isdisjoint(self._hash):
            found = {sub: self._hashed(sub) for sub in parties.actors}
        elif DroppedField.ACTORS in self._drop:
            found = dict.fromkeys(parties.actors, _DROPPED)
        found.update(self._secrets(HashedField.AGENT, (parties.agent,)))
        found.update(self._secrets(HashedField.PRINCIPAL, (parties.principal,)))
        return sorted(found.items(), key=lambda item: -len(item[0]))

    def _host(self, operation: AuditOperation) -> list[Secret]:
        bare = operation.host.rpartition(":")[0] or operation.host
        return self._secrets(HashedField.HOST, (operation.host, bare))

    def _quotable(self, record: AuditRecord, operation: AuditOperation) -> Iterator[Secret]:
        """Yield the redacted texts that only a detail or a challenge may quote."""
        yield from self._secrets(HashedField.PATH, (operation.path,))
        yield from self._secrets(HashedField.CLAIMS, texts_in(record.claims))
        yield from self._secrets(DroppedField.SCOPES, record.scopes)
        yield from self._secrets(DroppedField.HEADERS, operation.headers.values())
        yield from self._secrets(DroppedField.CALLS, texts_in(operation.calls))

    def _secrets(self, field: HashedField | DroppedField, texts: Iterable[str]) -> list[Secret]:
        if field in self._hash:
            return [(text, self._hashed(text)) for text in texts if text]
        return [(text, _DROPPED) for text in texts if text] if field.value in self._drop else []

    def _claims(self, claims: Mapping[str, Any], texts: list[Secret]) -> Mapping[str, Any]:
        if HashedField.CLAIMS in self._hash:  # their names are in the config
            return {name: self._hashed_values(value) for name, value in claims.items()}
        return {} if DroppedField.CLAIMS in self._drop else dict(sweep_values(claims, texts))

    def _issuance(
        self, issuance: Mapping[str, Any] | UnsetType, names: list[Secret]
    ) -> Mapping[str, Any] | UnsetType:
        if issuance is UNSET:
            return UNSET
        kept = self._kept(DroppedField.SCOPES, sweep_values(issuance["scopes"], names), [])
        return {**issuance, "scopes": kept}

    def _hashed_values(self, value: object) -> object:
        """Return a claim's value with hashes for all texts and numbers, and for nested names."""
        if isinstance(value, dict):
            return {self._hashed(key): self._hashed_values(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._hashed_values(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        return self._hashed(str(value))
