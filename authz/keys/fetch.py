"""Getting key documents: over HTTPS or from a file, bounded in size and in time.

Of an issuer's endpoint nothing is trusted but its keys: no redirect is followed, no proxy of the
environment is used, and no address of the link-local range, where clouds keep their secrets.
"""

import ipaddress
import socket
import ssl
import time
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

import urllib3
from pydantic import AfterValidator, Field, model_validator

from authz.keys.jwk import MAX_DOCUMENT_BYTES
from authz.settings import Duration, Settings

_CHUNK_BYTES: Final = 16 * 1024
_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    "accept-encoding": "identity",  # nothing to unpack, so no bomb
    "user-agent": "agent-authz",
}
_HTTP_OK: Final = 200
# IPv6's address of AWS's metadata service, which is not link-local.
_METADATA_ADDRESSES: Final = frozenset({ipaddress.ip_address("fd00:ec2::254")})


class FetchError(Exception):
    """The document can't be had; the message says why, in words without any of its content."""


def _jwks_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an https:// URL is needed")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("a URL without user, password and fragment is needed")
    return text


class KeySettings(Settings):
    """Where an issuer's public keys are: jwks_uri or file."""

    jwks_uri: Annotated[str, AfterValidator(_jwks_url)] | None = None
    """HTTPS URL of the issuer's JWK Set."""
    file: str | None = None
    """A file with a JWK Set; read anew when it changes."""
    insecure: bool = False
    """Accept plain http:// in jwks_uri: whoever is on the way can then sign tokens."""
    ca_file: str | None = None
    """PEM certificates to trust for jwks_uri, in place of the system's."""
    refresh: Duration = Field(default=300.0, ge=1.0, le=86400.0)
    """How often keys are fetched."""
    cooldown: Duration = Field(default=10.0, ge=1.0, le=3600.0)
    """Shortest time between fetches that unknown keys cause, and between tries that failed."""
    max_age: Duration = Field(default=86400.0, ge=1.0)
    """How long the last good keys are used while the issuer can't be reached."""
    timeout: Duration = Field(default=5.0, ge=0.1, le=60.0)
    """Longest time that one fetch takes in all."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.jwks_uri is None) == (self.file is None):
            raise ValueError("exactly one of jwks_uri and file is needed")
        if self.jwks_uri and urlsplit(self.jwks_uri).scheme != "https" and not self.insecure:
            raise ValueError(
                "plain http lets whoever is on the way sign tokens: use https, "
                "or say insecure: true"
            )
        return self


def fetch(settings: KeySettings) -> bytes:
    """The document's bytes. Raises FetchError. Blocks for ``settings.timeout`` at most."""
    if settings.file is not None:
        return _read(Path(settings.file))
    return _get(settings.jwks_uri or "", settings)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FetchError(f"{path}: larger than {MAX_DOCUMENT_BYTES} bytes")
    return data


def _get(url: str, settings: KeySettings) -> bytes:
    deadline = time.monotonic() + settings.timeout
    try:
        with _pool(url, settings) as pool:
            response = pool.request(
                "GET",
                _target(url),
                headers={**_HEADERS, "host": urlsplit(url).netloc},
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(total=settings.timeout),
            )
            try:
                return _body(response, deadline)
            finally:
                response.close()
    except urllib3.exceptions.HTTPError as error:
        raise FetchError(f"{type(error).__name__}") from None
    except OSError as error:
        raise FetchError(f"{error.strerror or type(error).__name__}") from None


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _pool(url: str, settings: KeySettings) -> urllib3.HTTPConnectionPool:
    """A pool to the address that was checked: the name is not looked up a second time."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked_address(host, port)
    if parts.scheme == "http":
        return urllib3.HTTPConnectionPool(address, port)
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return urllib3.HTTPSConnectionPool(
        address, port, ssl_context=context, server_hostname=host, assert_hostname=host
    )


def _checked_address(host: str, port: int) -> str:
    """The name's first address. Raises FetchError when any leads to where no issuer is."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in found]
    for text in addresses:
        ip = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # ::ffff:169.254.169.254 is the same place
        if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _METADATA_ADDRESSES:
            raise FetchError("the name leads to a link-local, metadata or multicast address")
    return addresses[0]


def _body(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    if response.status != _HTTP_OK:
        raise FetchError(f"status {response.status}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchError("a content-encoding that was not asked for")
    body = b""
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise FetchError(f"larger than {MAX_DOCUMENT_BYTES} bytes")
        if time.monotonic() > deadline:
            raise FetchError("took too long")
    return body
