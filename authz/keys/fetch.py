"""Getting an issuer's key document: from its URL, through discovery (RFC 8414), or from a file."""

import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from authz import strictjson
from authz.keys.download import Fetched, FetchError, StatusError, get
from authz.keys.jwk import MAX_DOCUMENT_BYTES
from authz.keys.settings import KeySettings, check_url, is_plain

__all__ = ["FetchError", "Fetched", "KeySettings", "fetch"]

_OPENID: Final = "/.well-known/openid-configuration"
_OAUTH: Final = "/.well-known/oauth-authorization-server"


def fetch(settings: KeySettings, issuer: str) -> Fetched:
    """The issuer's key document, not yet parsed. Raises FetchError.

    Blocks for ``settings.timeout`` at most, discovery included, and for looking up names.
    """
    if settings.file is not None:
        return Fetched(_read(Path(settings.file)))
    deadline = time.monotonic() + settings.timeout
    url = settings.jwks_uri or _discovered(issuer, settings, deadline)
    return get(url, settings, deadline)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FetchError(f"{path}: larger than {MAX_DOCUMENT_BYTES} bytes")
    return data


def _discovered(issuer: str, settings: KeySettings, deadline: float) -> str:
    _check(issuer, settings, "the issuer")
    openid, oauth = metadata_urls(issuer)
    try:
        document = get(openid, settings, deadline).body
    except StatusError:
        document = get(oauth, settings, deadline).body
    return _jwks_uri(document, issuer, settings)


def metadata_urls(issuer: str) -> tuple[str, str]:
    """Where an issuer's metadata is (OpenID Connect Discovery section 4, RFC 8414 section 3.1)."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    openid, oauth = f"{path}{_OPENID}", f"{_OAUTH}{path}"
    return (
        urlunsplit((parts.scheme, parts.netloc, openid, "", "")),
        urlunsplit((parts.scheme, parts.netloc, oauth, "", "")),
    )


def _jwks_uri(document: bytes, issuer: str, settings: KeySettings) -> str:
    """The metadata's jwks_uri; its issuer must be ours to the letter (RFC 8414 section 3.3)."""
    try:
        metadata = strictjson.loads(document)
    except strictjson.StrictJsonError as error:
        raise FetchError(f"the issuer's metadata: {error}") from None
    if not isinstance(metadata, dict) or metadata.get("issuer") != issuer:
        raise FetchError("the issuer's metadata is of another issuer")
    url = metadata.get("jwks_uri")
    if not isinstance(url, str):
        raise FetchError("the issuer's metadata has no jwks_uri")
    _check(url, settings, "the metadata's jwks_uri")
    return url


def _check(url: str, settings: KeySettings, name: str) -> None:
    try:
        check_url(url)
    except ValueError:
        raise FetchError(f"{name} is no https:// URL") from None
    if is_plain(url) and not settings.insecure:
        raise FetchError(f"{name} is a plain http URL")
