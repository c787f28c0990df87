"""Settings of servers that receive what this server tells of its work: TLS, and OTLP."""

import re
from typing import Annotated, Final, Self, TypeVar
from urllib.parse import urlsplit

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
# Names that both HTTP (RFC 9110 section 5.1) and gRPC take, and visible ASCII, which can't end a
# header. gRPC has names of its own, and values of bytes under names that end in -bin.
_NAME: Final = re.compile(r"(?!grpc-)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}(?<!-bin)")
_VALUE: Final = re.compile(r"[!-~]([ -~]{0,4094}[!-~])?")
_SHOWN_CHARS: Final = 128
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

    @model_validator(mode="after")
    def _grpc_has_no_path(self) -> Self:
        if self.protocol is OtlpProtocol.GRPC and urlsplit(self.endpoint).path not in {"", "/"}:
            raise MisfitError(
                "with protocol grpc the URL has no path: leave it out, or set protocol: http",
                "endpoint",
            )
        return self

    @model_validator(mode="after")
    def _headers_can_be_sent(self) -> Self:
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise MisfitError(
                    f"{name[:_SHOWN_CHARS]!r} is not a header that a collector can be sent: a name "
                    "must be letters, digits and -, and a value visible ASCII",
                    "headers",
                )
            if name.lower() == "authorization" and self.token_file is not None:
                raise MisfitError(
                    "token_file sets authorization already: leave one of them out", "headers"
                )
        return self
