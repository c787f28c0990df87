"""The ``server.tls`` section of the config."""

from typing import Self

from pydantic import Field, model_validator

from authz.core.settings import FileText, MisfitError, Settings
from authz.core.spiffe import SpiffePatternText


class TlsSettings(Settings):
    """Mutual TLS on the host:port addresses of server.listen; unix sockets have none."""

    certificate: FileText | None = None
    """A PEM file with the server's certificate, followed by its intermediates."""
    private_key: FileText | None = None
    """A PEM file with the certificate's private key."""
    client_ca: FileText | None = None
    """A PEM file with the CA certificates that issue the proxies' certificates."""
    workload_api: str | None = Field(default=None, pattern=r"^unix:/.+")
    """In place of the files: the SPIFFE Workload API's socket, for the server's SVID and the CAs of
    its trust domain, as the agent pushes them; needs the extra spiffe.
    """
    allowed_callers: tuple[SpiffePatternText, ...] = Field(min_length=1)
    """SPIFFE IDs (* for a segment) of the proxies that may call."""

    @model_validator(mode="after")
    def _files_or_workload_api(self) -> Self:
        files = (self.certificate, self.private_key, self.client_ca)
        if self.workload_api is None and None in files:
            raise ValueError(
                "either certificate, private_key and client_ca are required, or workload_api"
            )
        if self.workload_api is not None and files != (None, None, None):
            raise MisfitError(
                "workload_api replaces certificate, private_key and client_ca: leave them out",
                "workload_api",
            )
        return self
