"""The store that a Valkey or Redis server keeps, for all who share its namespace."""

import redis  # noqa: F401 - the extra

from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.settings import StoreSettings


class EngineStore(MemoryStore):
    """To be written: helper A."""

    def __init__(self, settings: StoreSettings, namespace: str) -> None:
        """Take the settings, and the namespace that divides its keys from others'."""
        super().__init__()
        self._settings = settings
        self._namespace = namespace
