"""Issuers' public keys: parsed once, held as snapshots, fetched in the background.

``settings`` says where keys are, ``jwk`` turns a document into keys, ``download`` and ``fetch``
get documents, ``fetcher`` is one source's thread, ``store`` keeps the last good sets, ``folder``
the documents over a restart.
"""

from authz.keys.fetch import FetchError, origin_of
from authz.keys.fetcher import KeySet, KeySource
from authz.keys.folder import KeyFolder, folder_problem
from authz.keys.jwk import Key, KeySetError, KeyVerifyError, parse_key_set, proof_key
from authz.keys.settings import KeyCacheSettings, KeySettings
from authz.keys.store import KeyStore, SourceStatus

__all__ = [
    "FetchError",
    "Key",
    "KeyCacheSettings",
    "KeyFolder",
    "KeySet",
    "KeySetError",
    "KeySettings",
    "KeySource",
    "KeyStore",
    "KeyVerifyError",
    "SourceStatus",
    "folder_problem",
    "origin_of",
    "parse_key_set",
    "proof_key",
]
