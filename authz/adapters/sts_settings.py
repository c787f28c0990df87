"""The ``sts`` section of the config: the token service, its address, certificate and keys."""

from typing import Annotated

from pydantic import Field

from authz.adapters.listener_tls_settings import ListenerTlsSettings
from authz.adapters.signing import SigningSettings
from authz.core.settings import FileText, PortExists, Settings
from authz.core.spiffe import TrustDomainText
from authz.core.sts import TokenServiceSettings

_Address = Annotated[str, Field(pattern=r"^[^/\s]+:[0-9]{1,5}$"), PortExists]


class StsTlsSettings(ListenerTlsSettings):
    """TLS at the address of the token service. Clients show their SVIDs."""

    client_ca: FileText
    """A PEM file with the CA certificates that issue the agents' SVIDs. A client without a
    certificate gets the metadata and the keys, and no token.
    """
    trust_domains: tuple[TrustDomainText, ...] | None = Field(default=None, min_length=1)
    """The trust domains for whose agents these CAs may vouch: one of the config's trust_domains or
    more. Left out, the config's own, if it is a single one.
    """


class StsAdminSettings(Settings):
    """The HTTP address of the token service for operators: /metrics and /healthz."""

    listen: _Address = "127.0.0.1:9195"
    """host:port. There is no authentication: use an address that only operators can reach."""
    exposed: bool = False
    """As admin.exposed: others may reach the address, a network policy keeps out all but probes and
    monitoring, and authz check doesn't warn of it.
    """


class StsSettings(TokenServiceSettings, SigningSettings):
    """The token service that `authz sts` runs (RFC 8693): it makes delegation tokens."""

    listen: _Address = "127.0.0.1:9443"
    """host:port of the token endpoint, the metadata and the keys."""
    tls: StsTlsSettings
    """The certificate for it, and whose client certificates count."""
    admin: StsAdminSettings = StsAdminSettings()
    """The HTTP address for operators."""
