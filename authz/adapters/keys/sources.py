"""Sources of an issuer's key document: a URL, discovery (RFC 8414), a file, or a SPIFFE bundle.

A credential for fetching is sent only to the origin that the config names: that of the jwks_uri, or
of the metadata. Otherwise the writer of the metadata could have it sent to any place.
"""

import time
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

from authz.adapters.fetched import FetchedDocument, FetchError
from authz.adapters.http_fetch import StatusError, tls_context
from authz.adapters.keys.download import get, get_with_credential, spiffe_context
from authz.adapters.keys.jwk_set_file import JwkSetFile, ParsedKeys
from authz.adapters.keys.spiffe_bundle import SpiffeBundleSource
from authz.core import strict_json
from authz.core.jose.jwk import parse_key_set
from authz.core.jose.key_issuer import TENANT
from authz.core.jose.settings import KeySettings
from authz.core.urls import check_url, is_plaintext, origin

__all__ = [
    "KeyDocumentSource",
    "KeySettings",
    "check_files",
    "check_issuer_url",
    "key_document_source",
]

_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"


class KeyDocumentSource(Protocol):
    """A source of key documents that knows how to parse them. Used by one thread.

    Each fetch returns the complete document. It may equal the last document. A document may also be
    parsed without a fetch, if it was kept on disk.

    Attributes:
        anchor: a digest of what the last fetch relied on beside the settings; "" for nothing.
    """

    @property
    def anchor(self) -> str:
        """Return the anchor, which is kept beside the document."""

    def fetch(self) -> FetchedDocument:
        """Return the document, not yet parsed; blocks for a bounded time.

        Raises FetchError; KeySetError if the document must be read for its refresh time.
        """

    def parse(self, document: bytes, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the usable keys by kid, and (kid, why) of the others. Raises KeySetError."""

    def parse_kept(self, document: bytes, anchor: str, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the keys of a document that was kept on disk with its anchor, before any fetch.

        Raises KeySetError.
        """

    def close(self) -> None:
        """Close what a fetch has left open."""


def key_document_source(settings: KeySettings, issuer: str) -> KeyDocumentSource:
    """Return the source of an issuer's keys that the settings name."""
    if settings.spiffe_bundle is not None:
        return SpiffeBundleSource(settings, settings.spiffe_bundle)
    if settings.file is not None:
        return JwkSetFile(Path(settings.file), issuer)
    return JwkSetSource(settings, issuer)


def check_files(settings: KeySettings, issuer: str, algorithms: frozenset[str]) -> None:
    """Require that the files for fetches can be used: keys, CAs, a first bundle.

    Raises FetchError, KeySetError.
    """
    source = key_document_source(settings, issuer)
    if settings.is_file:
        source.parse(source.fetch().body, algorithms)
    if settings.ca_file is not None:
        tls_context(settings.ca_file)
    if isinstance(source, SpiffeBundleSource) and (peer := source.peer()):
        spiffe_context(peer)


def check_issuer_url(settings: KeySettings, issuer: str) -> None:
    """Require that a fetch may go to the issuer's own URL, if that leads to its metadata.

    Raises FetchError.
    """
    if settings.discovery:
        _check(issuer, settings, "the issuer")


class JwkSetSource:
    """A JWK Set from a URL, or from the jwks_uri of the issuer's metadata."""

    anchor: Final = ""

    def __init__(self, settings: KeySettings, issuer: str) -> None:
        """Take the settings and the issuer's URL; nothing is read yet."""
        self._settings = settings
        self._issuer = issuer

    def fetch(self) -> FetchedDocument:
        """Return the document. Raises FetchError.

        Blocks for ``settings.timeout`` at most, including discovery, plus the time to look up
        names.
        """
        settings = self._settings
        deadline = time.monotonic() + settings.timeout
        if settings.jwks_uri is not None:
            return get_with_credential(settings.jwks_uri, settings, deadline)
        metadata = self._metadata(deadline)
        url = _jwks_uri(metadata.body, self._issuer, settings)
        is_ours = origin(url) == origin(settings.discovery_url or self._issuer)
        return (get_with_credential if is_ours else get)(url, settings, deadline)

    def _metadata(self, deadline: float) -> FetchedDocument:
        settings = self._settings
        if settings.discovery_url is not None:
            return get_with_credential(settings.discovery_url, settings, deadline)
        check_issuer_url(settings, self._issuer)
        openid, oauth = metadata_urls(self._issuer)
        try:
            return get_with_credential(openid, settings, deadline)
        except StatusError:
            return get_with_credential(oauth, settings, deadline)

    def parse(self, document: bytes, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the keys as ``parse_key_set``. Raises KeySetError, also without a usable key."""
        return parse_key_set(document, algorithms, self._issuer)

    def parse_kept(self, document: bytes, anchor: str, algorithms: frozenset[str]) -> ParsedKeys:
        """Return the keys of a document that was kept on disk, as ``parse``."""
        del anchor
        return self.parse(document, algorithms)

    def close(self) -> None:
        """Do nothing: nothing stays open."""


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Return the URLs of an issuer's metadata (OpenID Connect Discovery 4, RFC 8414 3.1)."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    openid, oauth = f"{path}{_OPENID}", f"{_OAUTH}{path}"
    return (
        urlunsplit((parts.scheme, parts.netloc, openid, "", "")),
        urlunsplit((parts.scheme, parts.netloc, oauth, "", "")),
    )


def _jwks_uri(document: bytes, issuer: str, settings: KeySettings) -> str:
    """Return the metadata's jwks_uri; its issuer must be ours exactly (RFC 8414 section 3.3)."""
    try:
        metadata = strict_json.loads(document)
    except strict_json.StrictJsonError as error:
        raise FetchError(f"the issuer's metadata: {error}") from None
    if not isinstance(metadata, dict) or metadata.get("issuer") != issuer:
        raise FetchError(f"the issuer's metadata is of another issuer{_tenants_hint(metadata)}")
    url = metadata.get("jwks_uri")
    if not isinstance(url, str):
        raise FetchError("the issuer's metadata has no jwks_uri")
    _check(url, settings, "the metadata's jwks_uri")
    return url


def _tenants_hint(metadata: object) -> str:
    """Return the remedy for metadata that many tenants share, such as Entra's common ones."""
    named = metadata.get("issuer") if isinstance(metadata, dict) else None
    if not isinstance(named, str) or TENANT not in named:
        return ""
    return f" ({TENANT} stands for any tenant): name the tenant in issuer and in the URL"


def _check(url: str, settings: KeySettings, name: str) -> None:
    try:
        check_url(url)
    except ValueError:
        raise FetchError(f"{name} is not an https:// URL") from None
    if is_plaintext(url) and not settings.insecure:
        raise FetchError(f"{name} is a plain http URL")
