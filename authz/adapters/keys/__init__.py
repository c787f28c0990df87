"""Issuers' public keys: held as snapshots, fetched in the background.

``sources`` and ``spiffe_bundle`` know where documents come from, ``download`` gets them,
``fetcher`` is a source's thread, ``store`` keeps the last good sets, ``folder`` the documents over
a restart. The package itself offers the settings, and loads no more.
"""

from authz.adapters.keys.settings import KeyCacheSettings

__all__ = ["KeyCacheSettings"]
