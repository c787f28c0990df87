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
_GRPC_NAME: Final = re.compile(r"[a-z0-9_.-]+")  # gRPC over HTTP/2, Custom-Metadata
LOGS_PATH: Final = "/v1/logs"
TRACES_PATH: Final = "/v1/traces"
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


def require_private(
    section: _Section, url: str, tls: "ReceiverTlsSettings", *, insecure: bool, key: str = "url"
) -> _Section:
    """Return the section if nobody on the network path can read it. Raises MisfitError."""
    if not is_plaintext(url):
        return section
    if not insecure:
        raise MisfitError(
            "over plain http anyone on the network path can read and change the data: use https, "
            "or set insecure: true",
            key,
        )
    return require_no_tls(section, tls)


def require_no_tls(section: _Section, tls: "ReceiverTlsSettings") -> _Section:
    """Return a section whose receiver is asked without TLS. Raises MisfitError if it has tls.

    Who sets both may believe that ``insecure`` only leaves out a check.
    """
    if tls != ReceiverTlsSettings():
        raise MisfitError("insecure connections have no TLS: leave tls or insecure out", "tls")
    return section


def require_one_credential(
    section: _Section, headers: dict[str, str], token_file: str | None
) -> _Section:
    """Return the section if it has one credential at most. Raises MisfitError."""
    if token_file is not None and "authorization" in map(str.lower, headers):
        raise MisfitError("token_file sets authorization already: leave one of them out", "headers")
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
        return require_private(
            self, self.endpoint, self.tls, insecure=self.insecure, key="endpoint"
        )

    @model_validator(mode="after")
    def _grpc_has_no_path(self) -> Self:
        parts = urlsplit(self.endpoint)
        if self.protocol is OtlpProtocol.GRPC and (parts.path not in {"", "/"} or parts.query):
            raise MisfitError(
                "with protocol grpc the URL has no path: leave it out, or set protocol: http",
                "endpoint",
            )
        return self

    @model_validator(mode="after")
    def _headers_can_be_sent(self) -> Self:
        for name in map(str.lower, self.headers):
            if name == "content-type":
                raise MisfitError(
                    f"{name} is written by the server itself: leave it out", "headers"
                )
            if self.protocol is OtlpProtocol.GRPC and not _GRPC_NAME.fullmatch(name):
                raise MisfitError(
                    f"{name!r} is not a name for gRPC: it takes letters, digits and _ . - alone",
                    "headers",
                )
            # gRPC has names of its own, and values of bytes under names that end in -bin.
            if name.startswith("grpc-") or name.endswith("-bin"):
                raise MisfitError(
                    f"{name!r} is not a header for OTLP: gRPC has another use for names that begin "
                    "with grpc- or end with -bin",
                    "headers",
                )
        return require_one_credential(self, self.headers, self.token_file)

    def require_signal(self, path: str, other: str) -> None:
        """Require that the URL may take this signal by HTTP, and not the other. Raises MisfitError.

        ``path`` and ``other`` are their paths by convention (OTLP/HTTP, section on requests).
        """
        url = urlsplit(self.endpoint)
        if self.protocol is not OtlpProtocol.HTTP:
            return
        if not url.path:
            message = f"with protocol http this is the whole URL: end it with {path}"
            raise MisfitError(message, "otlp", "endpoint")
        if url.path.endswith(other):
            raise MisfitError(f"{other} takes another signal: use {path}", "otlp", "endpoint")


def is_otlp_installed() -> bool:
    """Tell whether the extra otel is installed, without loading it."""
    try:
        return find_spec(_OTLP_MODULE) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False
