"""Issuers' public keys: held as snapshots, fetched in the background.

``sources`` and ``spiffe_bundle`` know where documents come from, ``download`` gets them,
``fetcher`` is a source's thread, ``store`` keeps the last good sets, ``folder`` the documents over
a restart.
"""

from authz.adapters.keys.fetcher import KeySourceConfig
from authz.adapters.keys.folder import KeyCacheSettings, KeyFolder, folder_problem
from authz.adapters.keys.sources import FetchError, key_document_source
from authz.adapters.keys.store import KeyStore, KeyStoreError, SourceStatus

__all__ = [
    "FetchError",
    "KeyCacheSettings",
    "KeyFolder",
    "KeySourceConfig",
    "KeyStore",
    "KeyStoreError",
    "SourceStatus",
    "folder_problem",
    "key_document_source",
]
