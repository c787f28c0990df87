"""The keys that sign our tokens, as the sections of the config that issue tokens name them."""

from itertools import pairwise
from math import inf
from typing import Final, Self

from pydantic import Field, model_validator

from authz.core.settings import FileText, LaterFileText, MisfitError, Moment, Settings

MAX_SIGNING_KEYS: Final = 16  # three are in use while keys change; a JWK Set stays small


class SigningKeySettings(Settings):
    """A private key that signs our tokens."""

    file: FileText
    """A PEM file with the private key, not encrypted: EC P-256, which signs with ES256, or Ed25519,
    with EdDSA. A changed file is read again.
    """
    signs_from: Moment | None = None
    """The moment from which it signs, RFC 3339 with a zone. Until then it is published, so that
    verifiers know it in time: at least an hour ahead. The first key of the list needs none, and
    signs until the next does.
    """

    @property
    def begins(self) -> float:
        """Return the unix seconds from which the key signs, -inf without a moment."""
        return -inf if self.signs_from is None else self.signs_from.timestamp()


class SigningSettings(Settings):
    """The keys of an issuer of tokens: from files, or made at the start for trying."""

    keys: tuple[SigningKeySettings, ...] = Field(default=(), max_length=MAX_SIGNING_KEYS)
    """The private keys, in the order in which they sign: the last whose signs_from has passed
    signs, the later ones are published ahead, and an earlier one stays published until what it
    signed has expired. All replicas need the same list.
    """
    make: LaterFileText | None = None
    """In place of keys, for trying: a file where the server makes a key at its start if it is
    missing. Replicas that do not share the file sign with different keys.
    """

    @model_validator(mode="after")
    def _keys_or_make(self) -> Self:
        if not self.keys and self.make is None:
            raise ValueError(
                "one of keys and make is required; `authz signing-key FILE` makes a key's file"
            )
        if self.keys and self.make is not None:
            raise MisfitError("with keys, leave it out", "make")
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for at, (before, key) in enumerate(pairwise(self.keys), 1):
            if key.signs_from is None:
                raise MisfitError("say from when it signs, in signs_from", "keys", at)
            if key.begins <= before.begins:
                message = "must be later than that of the key before it: list keys in time's order"
                raise MisfitError(message, "keys", at, "signs_from")
        if len({key.file for key in self.keys}) < len(self.keys):
            raise MisfitError("a file is listed twice: each key has its own", "keys")
        return self
