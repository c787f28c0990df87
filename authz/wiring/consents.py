"""Opens the sources of consents that a config has."""

from authz.adapters.consents.sources import ConsentSources
from authz.adapters.store.store import Store
from authz.config import Config
from authz.core.sts.settings import ConsentNeed, TokenRuleSettings


def open_consents(config: Config, store: Store) -> ConsentSources:
    """Open them; ``store`` is that of the config, whose consents count if replicas share it.

    Nothing is read before the first ``catch_up``.
    """
    return ConsentSources(config.consents, None if config.store is None else store)


def asks_consent(rule: TokenRuleSettings) -> bool:
    """Tell whether a token by this rule may need consent."""
    return rule.consent is not ConsentNeed.NONE or bool(rule.authorization_details)
