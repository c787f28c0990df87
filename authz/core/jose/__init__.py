"""Signed tokens and the keys that verify them (RFC 7515, RFC 7517): read strictly, no I/O."""

from authz.core.jose.jwk import Key, KeySetError, KeyVerifyError, parse_key_set, proof_key
from authz.core.jose.key_set import KeySet
from authz.core.jose.settings import KeySettings

__all__ = [
    "Key",
    "KeySet",
    "KeySetError",
    "KeySettings",
    "KeyVerifyError",
    "parse_key_set",
    "proof_key",
]
