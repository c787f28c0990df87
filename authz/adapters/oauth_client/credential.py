"""This server's credential at an OAuth endpoint, read from files (RFC 6749 section 2.3)."""

import re
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Final, Self
from urllib.parse import quote_plus

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from authz.adapters.client_credentials import CertificateContext, read_bearer_token
from authz.adapters.fetched import FetchError
from authz.adapters.files import read_at_rest
from authz.adapters.http_fetch import tls_context
from authz.adapters.pem_files import PRIVATE_KEY, told
from authz.core.delegation import OAuthClientSettings, PrivateKeyJwtSettings
from authz.core.urls import is_plaintext

MAX_SECRET_BYTES: Final = 4096  # real ones have some 40
MAX_PEM_BYTES: Final = 8 * 1024 * 1024  # all CAs that the web trusts are 0.2
ASSERTION_SECONDS: Final = 60  # a stolen assertion is good for no longer (RFC 7523 section 3)
_SECRET: Final = re.compile(rb"[ -~]+")  # RFC 6749 appendix A.2
_ASSERTION_TYPES: Final = "urn:ietf:params:oauth:client-assertion-type:"
_SIGNED: Final = f"{_ASSERTION_TYPES}jwt-bearer"  # RFC 7523 section 2.2
_SPIFFE: Final = f"{_ASSERTION_TYPES}jwt-spiffe"  # draft-ietf-oauth-spiffe-client-auth


class CredentialError(Exception):
    """Signals that a file of the settings can't be used; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential that authenticates this server to the endpoint.

    Attributes:
        read_once: the CAs that a connection trusts, as they were at the start.
        certificate: the CAs and the certificate to show, if the credential is a certificate.
        headers: the header of client_secret_basic, if there is a secret.
        assertion: signs assertions, if the credential is a private key.
        svid_file: the file with a JWT-SVID, if that is the credential.
    """

    read_once: ssl.SSLContext | None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    assertion: "AssertionSigner | None" = None
    client_id: str | None = None
    certificate: CertificateContext | None = None
    svid_file: str | None = None

    @classmethod
    def read(cls, settings: OAuthClientSettings, issuer: str) -> Self:
        """Read the files that the settings name. Raises CredentialError."""
        client_id, assertion = settings.client_id, None
        if client_id is not None and settings.private_key_jwt is not None:
            assertion = AssertionSigner(settings.private_key_jwt, client_id, issuer)
        headers = {}
        if client_id is not None and settings.client_secret_file is not None:
            headers["authorization"] = _basic(client_id, _secret(settings.client_secret_file))
        if settings.ca_file is not None:
            # Half of a file would stay in use until a reload.
            _read(settings.ca_file, "ca_file", MAX_PEM_BYTES)
        shown = None
        try:
            if settings.tls is not None:
                shown = CertificateContext(settings.tls, settings.ca_file)
                shown.get()
            is_plain = is_plaintext(settings.url) or shown is not None
            trusted = None if is_plain else tls_context(settings.ca_file)
        except FetchError as error:
            raise CredentialError(str(error)) from None
        return cls(trusted, headers, assertion, client_id, shown, settings.spiffe_jwt_file)

    def context(self) -> ssl.SSLContext | None:
        """Return the context that a connection trusts and shows; None over plain http.

        A certificate is loaded as its files are now. Raises FetchError.
        """
        return self.read_once if self.certificate is None else self.certificate.get()

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the request's body that authenticate the client.

        Raises FetchError if a file can't be read that is read for each request.
        """
        if self.assertion is not None:
            return _asserted(_SIGNED, self.assertion.sign(time.time()))
        named = {} if self.client_id is None else {"client_id": self.client_id}
        if self.svid_file is not None:
            return {**named, **_asserted(_SPIFFE, _svid(self.svid_file))}
        return {} if self.headers else named  # RFC 8705 section 2


class AssertionSigner:
    """Signs client assertions (RFC 7523 section 3): each is for one request, and soon expires."""

    def __init__(self, settings: PrivateKeyJwtSettings, client_id: str, issuer: str) -> None:
        """Read the key, and sign once to see that it fits the algorithm. Raises CredentialError."""
        self._settings = settings
        self._claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": settings.audience or issuer,
        }
        self._headers = {} if settings.key_id is None else {"kid": settings.key_id}
        self._key = _private_key(settings.key_file)
        try:
            self.sign(0.0)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            message = f"private_key_jwt.key_file has no key for {settings.algorithm}"
            raise CredentialError(message) from None

    def sign(self, now: float) -> str:
        """Return a new assertion; ``now`` is unix seconds."""
        issued_at = int(now)
        times = {"iat": issued_at, "exp": issued_at + ASSERTION_SECONDS}
        claims: dict[str, Any] = {**self._claims, **times, "jti": token_urlsafe(16)}
        return jwt.encode(claims, self._key, self._settings.algorithm, self._headers)


def _asserted(kind: str, assertion: str) -> dict[str, str]:
    return {"client_assertion_type": kind, "client_assertion": assertion}


def _svid(path: str) -> str:
    try:
        return read_bearer_token(path)
    except FetchError as error:
        raise FetchError(str(error).replace("token_file", "spiffe_jwt_file", 1)) from None


def _basic(client_id: str, secret: str) -> str:
    """Return the header's value: both are form-encoded first (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def _secret(path: str) -> str:
    secret = _read(path, "client_secret_file", MAX_SECRET_BYTES).strip()
    if not _SECRET.fullmatch(secret):
        message = "client_secret_file must hold the client's secret: a line of ASCII characters"
        raise CredentialError(message)
    return secret.decode()


def _private_key(path: str) -> Any:  # noqa: ANN401 - of any kind that the library signs with
    pem = _read(path, "private_key_jwt.key_file", MAX_PEM_BYTES)
    try:
        return load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"must hold a private key in PEM, not encrypted: {told(path, pem, PRIVATE_KEY)}"
        raise CredentialError(f"private_key_jwt.key_file {message}") from None


def _read(path: str, key: str, max_bytes: int) -> bytes:
    try:
        data = read_at_rest(Path(path), max_bytes)
    except OSError as error:
        raise CredentialError(f"{key} can't be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise CredentialError(f"{key} has more than {max_bytes} bytes: it is another file")
    return data
