"""Opens the store of a config; its client library is an optional extra."""

from typing import TYPE_CHECKING

from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import Store
from authz.config import Config
from authz.core.extras import missing_extra
from authz.wiring.files import BuildError

if TYPE_CHECKING:  # an optional extra
    from authz.adapters.store.engine import EngineStore


def open_store(config: Config) -> Store:
    """Open the store that the config names, or one in memory. Raises BuildError.

    Nothing is connected before its ``start``.
    """
    return open_engine(config) or MemoryStore(config.replay.entries)


def store_namespace(config: Config) -> str:
    """Return the namespace of a config: servers with the same share everything, others nothing."""
    own = config.store.namespace if config.store is not None else None
    return own or config.trust_domains[0]


def open_engine(config: Config) -> "EngineStore | None":
    """Open the store that the config names, None if it names none. Raises BuildError."""
    if config.store is None:
        return None
    try:
        from authz.adapters.store.engine import EngineStore  # noqa: PLC0415 - optional
    except ImportError:
        raise BuildError(missing_extra("store", "store needs")) from None
    return EngineStore(config.store, store_namespace(config))
