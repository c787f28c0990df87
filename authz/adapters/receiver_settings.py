"""Settings of servers that receive what this server tells of its work: TLS, and OTLP."""

import re
from importlib.util import find_spec
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
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110 section 5.6.2
_HEADER_VALUE: Final = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")  # visible ASCII, spaces within
# What frames a message, or says where it goes, is the client's to write.
_OWN_HEADERS: Final = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_OTLP_MODULE: Final = "opentelemetry.proto"
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


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Require headers that can be sent; no message repeats a value, which may be a secret."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a header's name: write one such as x-scope-orgid")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"{name} is written by the server itself: leave it out")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} must be visible ASCII characters, and spaces")
    names = [name.lower() for name in headers]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{min(twice)} stands there twice: names have no case")
    return headers


Headers = Annotated[dict[str, str], Field(max_length=MAX_HEADERS), AfterValidator(_check_headers)]
"""For settings: headers that requests have beside the server's own."""


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
    headers: Headers = Field(default={})
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
        for name in map(str.lower, self.headers):
            # gRPC has names of its own, and values of bytes under names that end in -bin.
            if name.startswith("grpc-") or name.endswith("-bin"):
                raise MisfitError(
                    f"{name!r} is not a header for OTLP: gRPC has another use for names that begin "
                    "with grpc- or end with -bin",
                    "headers",
                )
            if name == "authorization" and self.token_file is not None:
                raise MisfitError(
                    "token_file sets authorization already: leave one of them out", "headers"
                )
        return self


def is_otlp_installed() -> bool:
    """Tell whether the extra otel is installed, without loading it."""
    try:
        return find_spec(_OTLP_MODULE) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False
