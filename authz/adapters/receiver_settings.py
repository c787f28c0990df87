"""Settings of servers that receive what this server tells of its work: TLS, and OTLP."""

from typing import Annotated, Final, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from authz.core.choice import Choice
from authz.core.settings import (
    ClientCertificateSettings,
    Duration,
    FileText,
    LaterFileText,
    MisfitError,
    Settings,
)
from authz.core.urls import check_url, is_plaintext

MAX_HEADERS: Final = 32
_Section = TypeVar("_Section", bound=Settings)


def require_private(section: _Section, url: str, *, insecure: bool, key: str = "url") -> _Section:
    """Return the section if nobody on the network path can read it. Raises MisfitError."""
    if is_plaintext(url) and not insecure:
        raise MisfitError(
            "over plain http anyone on the network path can read and change the data: use https, "
            "or set insecure: true",
            key,
        )
    return section


class OtlpProtocol(Choice):
    """The transports of OTLP."""

    GRPC = "grpc"
    HTTP = "http"


class ReceiverTlsSettings(Settings):
    """TLS towards a receiver of records."""

    ca_file: FileText | None = None
    """A file of PEM certificates to trust for the receiver, in place of the system's."""
    client: ClientCertificateSettings | None = None
    """A certificate that the server shows, for mutual TLS."""


class OtlpSettings(Settings):
    """A collector that takes OpenTelemetry data by OTLP. Needs the extra otel."""

    endpoint: Annotated[str, AfterValidator(check_url)]
    """URL of the collector, such as https://collector.corp.example:4317. With protocol http, the
    whole URL, which ends in /v1/logs or /v1/traces by convention.
    """
    protocol: OtlpProtocol = OtlpProtocol.GRPC
    """grpc, or http with protobuf."""
    token_file: LaterFileText | None = None
    """A file with a bearer token for the collector, read anew for each connection."""
    headers: dict[str, str] = Field(default={}, max_length=MAX_HEADERS)
    """Further headers of each request. Secrets belong into token_file."""
    tls: ReceiverTlsSettings = ReceiverTlsSettings()
    """TLS towards the collector."""
    insecure: bool = False
    """Accept plain http://: anyone on the network path can then read and change the data."""
    timeout: Duration = Field(default=10.0, ge=0.1, le=300.0)
    """The longest time that a request may take."""

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        return require_private(self, self.endpoint, insecure=self.insecure, key="endpoint")
