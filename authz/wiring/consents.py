"""Opens the sources of consents that a config has."""

from authz.adapters.consents.sources import ConsentSources
from authz.adapters.store.store import Store
from authz.config import Config


def open_consents(config: Config, store: Store) -> ConsentSources:
    """Open them; ``store`` is that of the config, whose consents count if replicas share it.

    Nothing is read before the first ``catch_up``.
    """
    return ConsentSources(config.consents, None if config.store is None else store)
