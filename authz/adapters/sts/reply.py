"""An answer of the token service, and the OAuth errors that its server gives by itself."""

from dataclasses import dataclass
from typing import Final

import msgspec

from authz.adapters.sts.limits import RETRY_SECONDS

JSON: Final = "application/json"
# RFC 6749 section 5.1: of every answer that may hold a token, and of errors as well.
NOT_STORED: Final = (("cache-control", "no-store"), ("pragma", "no-cache"))
SEE_LOG: Final = "see the log"  # of a fault of ours, a record says no more
_RETRY: Final = (("retry-after", str(RETRY_SECONDS)),)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: its HTTP status.
        body: its bytes; no ``repr`` shows them, as they may hold a token.
        headers: its headers beside content-type and length, with names in lower case.
        content_type: the body's type.
    """

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = NOT_STORED
    content_type: str = JSON

    def __repr__(self) -> str:
        """Return the status alone."""
        return f"Reply({self.status})"


def error_reply(status: int, error: str, description: str, *headers: tuple[str, str]) -> Reply:
    """Return an OAuth error (RFC 6749 section 5.2); ``description`` quotes nothing of a request."""
    body = msgspec.json.encode({"error": error, "error_description": description})
    return Reply(status, body, (*NOT_STORED, *headers))


NOT_FOUND: Final = Reply(404)
INTERNAL: Final = error_reply(500, "server_error", "the request could not be decided")
OVERLOADED: Final = error_reply(
    503, "temporarily_unavailable", "too many requests are under way", *_RETRY
)
TOO_FAST: Final = error_reply(429, "temporarily_unavailable", "this client asks too often", *_RETRY)
MALFORMED: Final = error_reply(400, "invalid_request", "not a request of HTTP/1.1")
NOT_A_FORM: Final = error_reply(
    400, "invalid_request", "the content-type must be application/x-www-form-urlencoded"
)
ENCODED: Final = error_reply(415, "invalid_request", "the body must not be encoded")
TOO_LARGE: Final = error_reply(413, "invalid_request", "the body is too large")
IN_THE_QUERY: Final = error_reply(
    400, "invalid_request", "parameters belong into the body, not into the URL"
)
NOT_POSTED: Final = error_reply(
    405, "invalid_request", "tokens are asked for by POST", ("allow", "POST")
)
NOT_GOT: Final = Reply(405, headers=(("allow", "GET, HEAD"),))
NO_CERTIFICATE: Final = error_reply(
    401, "invalid_client", "show a certificate in the TLS handshake"
)
BAD_CERTIFICATE: Final = error_reply(
    401, "invalid_client", "the certificate is not an X509-SVID of a trusted domain"
)


def other_authentication(scheme: str) -> Reply:
    """Refuse a client that authenticates by the Authorization header too (RFC 6749 section 2.3).

    The challenge has the scheme that the client used (section 5.2), if it is a known one.
    """
    known = {"basic": "Basic", "bearer": "Bearer"}.get(scheme.lower(), "Basic")
    return error_reply(
        401,
        "invalid_client",
        "clients authenticate by their certificate alone",
        ("www-authenticate", f'{known} realm="sts"'),
    )
