"""Opens the store of a config; its client library is an optional extra."""

from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import Store
from authz.config import Config
from authz.core.extras import missing_extra
from authz.wiring.files import BuildError


def open_store(config: Config) -> Store:
    """Open the store that the config names, or one in memory. Raises BuildError.

    Nothing is connected before its ``start``.
    """
    settings = config.store
    if settings is None:
        return MemoryStore(config.replay.entries)
    try:
        from authz.adapters.store.engine import EngineStore  # noqa: PLC0415 - optional
    except ImportError:
        raise BuildError(missing_extra("store", "store needs")) from None
    return EngineStore(settings, settings.namespace or config.trust_domains[0])
