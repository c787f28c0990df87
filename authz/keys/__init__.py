"""Issuers' public keys: parsed once, held as snapshots, fetched in the background.

``jwk`` turns a document into keys, ``fetch`` gets documents, ``store`` keeps the last good ones.
"""

from authz.keys.fetch import KeySettings
from authz.keys.jwk import Key, KeySetError, KeyVerifyError, proof_key
from authz.keys.store import KeySet, KeySource, KeyStore, SourceStatus

__all__ = [
    "Key",
    "KeySet",
    "KeySetError",
    "KeySettings",
    "KeySource",
    "KeyStore",
    "KeyVerifyError",
    "SourceStatus",
    "proof_key",
]
