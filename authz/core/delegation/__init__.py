"""Step 2 of the pipeline, on whose behalf: the delegation token, verified and bound to the caller.

The package itself offers the settings, and loads no more: ``verifier`` verifies tokens.
"""

from authz.core.delegation.actor_settings import ActorSettings
from authz.core.delegation.exchange_settings import ExchangeSettings
from authz.core.delegation.introspection_settings import IntrospectionSettings
from authz.core.delegation.oauth_client_settings import (
    MAX_TIMEOUT_SECONDS,
    OAuthClientSettings,
    PrivateKeyJwtSettings,
)
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.status_list_settings import StatusListSettings
from authz.core.delegation.token_settings import DpopSettings, TokenSettings

__all__ = [
    "MAX_TIMEOUT_SECONDS",
    "ActorSettings",
    "DpopSettings",
    "ExchangeSettings",
    "IntrospectionSettings",
    "IssuerSettings",
    "OAuthClientSettings",
    "PrivateKeyJwtSettings",
    "StatusListSettings",
    "TokenSettings",
]
