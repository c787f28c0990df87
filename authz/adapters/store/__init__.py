"""The store that replicas share: revocations, used proofs, secrets of nonces, budgets.

``store`` says what a store does, ``memory`` is the one of a single process, and ``engine`` that of
a Valkey or Redis server. This package's name has the settings alone: the client is an optional
extra.
"""

from authz.adapters.store.settings import StoreSettings

__all__ = ["StoreSettings"]
