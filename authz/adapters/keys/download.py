"""Downloads a key document by a bounded GET.

The credential of the settings, a bearer token or a certificate, is sent only where the caller
permits it, and over https only.
"""

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from authz.adapters.client_credentials import read_bearer_token, show_certificate
from authz.adapters.fetched import FetchedDocument, FetchError
from authz.adapters.http_fetch import DocumentRequest, StatusError, fetch_document, tls_context
from authz.core.jose.settings import MAX_DOCUMENT_BYTES, KeySettings
from authz.core.reason import Denied
from authz.core.spiffe.svid import checked_svid
from authz.core.urls import is_plaintext

_ACCEPT: Final = "application/jwk-set+json, application/json"
_REFUSED: Final = frozenset({401, 403})
_MOVED: Final = "redirects are not followed: name the URL that it leads to"
_HINTS: Final[Mapping[int, str]] = {
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
    404: "nothing is there: is it the right URL?",
}
_NONE_GIVEN: Final = "it may ask for a token_file or tls under keys"
_NOT_SENT: Final = (
    "keys.token_file and keys.tls are not for this origin, which only the metadata name: "
    "set jwks_uri"
)
_MAX_AGE: Final = re.compile(r"max-age=\"?([0-9]{1,10})\"?")


@dataclass(frozen=True, slots=True)
class SpiffePeer:
    """The SPIFFE identity that the other side must prove, instead of a name in the web's PKI.

    Attributes:
        spiffe_id: the only URI name of its certificate.
        authorities: PEM of its trust domain's CA certificates.
    """

    spiffe_id: str
    authorities: str

    def check(self, der: bytes) -> None:
        """Require that a certificate is of the SPIFFE ID. Raises FetchError.

        X509-SVID section 5.2; SPIFFE Federation section 5.2.2.
        """
        try:
            svid = checked_svid(ssl.DER_cert_to_PEM_cert(der), time.time(), "its certificate")
        except Denied as denied:
            raise FetchError(denied.detail) from None
        if svid.uris != (self.spiffe_id,):
            raise FetchError("its certificate is of another SPIFFE ID")


def get(
    url: str, settings: KeySettings, deadline: float, peer: SpiffePeer | None = None
) -> FetchedDocument:
    """Get the URL's document by ``deadline`` (monotonic seconds), without the settings' credential.

    Raises FetchError.
    """
    context = None
    if not is_plaintext(url):
        context = tls_context(settings.ca_file) if peer is None else spiffe_context(peer)
    return _fetched(
        DocumentRequest(
            url,
            MAX_DOCUMENT_BYTES,
            {"accept": _ACCEPT},
            context=context,
            check_certificate=None if peer is None else peer.check,
            allow_any_address=settings.allow_any_address,
        ),
        deadline,
        _NONE_GIVEN if settings.credential is None else _NOT_SENT,
    )


def get_with_credential(url: str, settings: KeySettings, deadline: float) -> FetchedDocument:
    """Get a document as ``get``, with the credential of the settings, if there is one.

    For URLs of the origin that the settings name. Raises FetchError, also for a credential that
    can't be read, or that anyone on the network path could read.
    """
    if settings.credential is None:
        return get(url, settings, deadline)
    if is_plaintext(url):
        raise FetchError(f"{settings.credential} is only sent over https")
    headers, context = {"accept": _ACCEPT}, tls_context(settings.ca_file)
    if settings.token_file is not None:
        headers["authorization"] = f"Bearer {read_bearer_token(settings.token_file)}"
    if settings.tls is not None:
        show_certificate(context, settings.tls)
    ask = DocumentRequest(
        url,
        MAX_DOCUMENT_BYTES,
        headers,
        context=context,
        allow_any_address=settings.allow_any_address,
    )
    return _fetched(ask, deadline, f"it does not accept the {settings.credential}")


def _fetched(ask: DocumentRequest, deadline: float, if_refused: str) -> FetchedDocument:
    """Fetch; the error of a refusal names a possible fault of the credential. Raises FetchError."""
    try:
        answer = fetch_document(ask, deadline)
    except StatusError as error:
        hint = if_refused if error.status in _REFUSED else _HINTS.get(error.status, "")
        raise StatusError(error.status, hint) from None
    return FetchedDocument(answer.body, _max_age(answer.headers.get("cache-control", "")))


def spiffe_context(peer: SpiffePeer) -> ssl.SSLContext:
    """Return a context that trusts only the peer's trust domain; the name is checked afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=peer.authorities)
    except (ssl.SSLError, ValueError):
        raise FetchError("the bundle has no X.509 authority of the trust domain") from None
    return context


def _max_age(cache_control: str) -> float | None:
    for directive in cache_control.lower().split(","):
        if match := _MAX_AGE.fullmatch(directive.strip()):
            return float(match[1])
    return None
