"""The part ``audit.redact`` of the config."""

from typing import Self

from pydantic import model_validator

from authz.core.choice import Choice
from authz.core.settings import FileText, MisfitError, Settings


class HashedField(Choice):
    """The fields of a record that can be hashed."""

    PRINCIPAL = "principal"
    AGENT = "agent"
    HOST = "host"
    PATH = "path"
    CLAIMS = "claims"


class DroppedField(Choice):
    """The fields of a record that can be left empty."""

    PRINCIPAL = "principal"
    ACTORS = "actors"
    HOST = "host"
    PATH = "path"
    HEADERS = "headers"
    CLAIMS = "claims"
    SCOPES = "scopes"
    DETAIL = "detail"
    CALLS = "calls"
    REQUEST_ID = "request_id"
    TRACE_ID = "trace_id"


class RedactionSettings(Settings):
    """What records leave out, or hold as a keyed hash.

    It is for records alone: the upstream's headers, the metadata for the proxy's own log and the
    answer have their texts as before.
    """

    hash: tuple[HashedField, ...] = ()
    """Fields of the record whose texts are replaced by a keyed hash (HMAC-SHA-256): the same text
    always has the same hash, and nobody without the key can tell or try out the text. With
    principal or agent, the subjects of actors are hashed too, and the text is replaced in detail,
    challenge, claims, headers, calls, scopes, host and path. With claims, each text and number is
    hashed.
    """
    drop: tuple[DroppedField, ...] = ()
    """Fields of the record that are left empty. Texts of such a field, or of a hashed one, are
    replaced where detail and challenge quote them. The path and the headers of a request whose
    token was refused may hold a name that the server has not learned: redact them too. Records
    without their claims, headers, scopes, calls, host or path can't be replayed.
    """
    key_file: FileText | None = None
    """A file with the secret key of the hashes, 32 bytes or more: required with hash. With another
    key, the same text has another hash.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the names of the fields that are redacted, in the order of the alphabet."""
        return tuple(sorted({*self.hash, *self.drop}))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for at, field in enumerate(self.drop):
            if field.value in self.hash:
                raise MisfitError(f"{field} is hashed already: leave one of them out", "drop", at)
        if self.hash and self.key_file is None:
            raise MisfitError("hashes need a secret key: name its file in key_file", "hash")
        if not self.hash and self.key_file is not None:
            raise MisfitError(
                "a key is for hashes: list fields in hash, or leave it out", "key_file"
            )
        return self
