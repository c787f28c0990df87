"""Builds the clients of remote parties: endpoints of issuers, and a decision point."""

from collections.abc import Callable, Mapping

from authz.adapters.exchange import Exchanges, TokenExchanger
from authz.adapters.introspection import IntrospectionClient, Introspections
from authz.adapters.oauth_client import Credential, CredentialError
from authz.adapters.pdp.client import AuthzenClient, PdpError, PdpResult
from authz.config import Config
from authz.core.delegation import IssuerSettings
from authz.wiring.files import BuildError


def read_introspection_credential(issuer: IssuerSettings) -> Credential | None:
    """Read the credential for an issuer's introspection endpoint. Raises BuildError."""
    if issuer.introspection is None:
        return None
    try:
        return Credential.read(issuer.introspection, issuer.issuer)
    except CredentialError as error:
        raise BuildError(str(error)) from None


def read_exchange_credential(issuer: IssuerSettings) -> Credential | None:
    """Read the credential for an issuer's token endpoint. Raises BuildError."""
    if issuer.exchange is None:
        return None
    try:
        return Credential.read(issuer.exchange, issuer.issuer)
    except CredentialError as error:
        raise BuildError(str(error)) from None


def prepare_exchanges(exchanges: Exchanges, config: Config) -> TokenExchanger | None:
    """Return what exchanges tokens by a config, None without ``exchange``. Raises BuildError."""
    try:
        return exchanges.prepare(config.issuers, config.token)
    except CredentialError as error:
        raise BuildError(str(error)) from None


def prepare_introspections(
    introspections: Introspections, config: Config
) -> Mapping[str, IntrospectionClient]:
    """Return the clients of a config's introspection endpoints. Raises BuildError."""
    try:
        return introspections.prepare(config.issuers)
    except CredentialError as error:
        raise BuildError(str(error)) from None


def build_decision_point(
    config: Config, count: Callable[[PdpResult, float | None], None] = lambda *_: None
) -> AuthzenClient | None:
    """Build the client of the external decision point, None if ``pdp`` is not set.

    ``count`` is called with the result of each question, and its seconds if it was sent. Raises
    BuildError.
    """
    try:
        return AuthzenClient(config.pdp, count) if config.pdp else None
    except PdpError as error:
        raise BuildError(f"pdp.{error}") from None
