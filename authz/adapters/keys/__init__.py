"""Issuers' public keys: held as snapshots, fetched in the background.

``download`` and ``fetch`` get documents, ``fetcher`` is one source's thread, ``store`` keeps the
last good sets, ``folder`` the documents over a restart.
"""

from authz.adapters.keys.fetcher import KeySource
from authz.adapters.keys.folder import KeyCacheSettings, KeyFolder, folder_problem
from authz.adapters.keys.sources import FetchError, origin_of
from authz.adapters.keys.store import KeyStore, KeyStoreError, SourceStatus

__all__ = [
    "FetchError",
    "KeyCacheSettings",
    "KeyFolder",
    "KeySource",
    "KeyStore",
    "KeyStoreError",
    "SourceStatus",
    "folder_problem",
    "origin_of",
]
