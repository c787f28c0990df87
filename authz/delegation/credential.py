"""The one credential of a request: found, or refused because there is none, or more than one."""

from typing import Final
from urllib.parse import unquote

from authz.delegation.settings import TokenSettings
from authz.reason import Denied, Reason
from authz.request import Request

# RFC 6750 section 2.3 has a token in the query; RFC 9700 and MCP forbid it. It ends up in logs.
_QUERY_TOKEN: Final = "access_token"


def bearer_token(request: Request, settings: TokenSettings) -> str:
    """The token's text. Raises Denied(TOKEN_MISSING | AUTH_AMBIGUOUS | TOKEN_MALFORMED).

    The scheme is compared as configured, in its case: one spelling, as everywhere here.
    """
    value = request.header(settings.header)
    if _has_query_token(request.query):
        raise Denied(Reason.AUTH_AMBIGUOUS, "a token in the query is not accepted")
    if not value:
        raise Denied(Reason.TOKEN_MISSING, f"no {settings.header} header")
    if "," in value:  # Envoy joins repeated headers with one; no token has one
        raise Denied(Reason.AUTH_AMBIGUOUS, f"more than one {settings.header} header")
    if not settings.scheme:
        return value
    scheme, _, token = value.partition(" ")
    if scheme.lower() != settings.scheme.lower():
        raise Denied(Reason.TOKEN_MISSING, f"the scheme is not {settings.scheme}")
    if scheme != settings.scheme or not token:
        raise Denied(Reason.TOKEN_MALFORMED, f"not '{settings.scheme} <token>'")
    return token


def _has_query_token(query: str) -> bool:
    if _QUERY_TOKEN not in query and "%" not in query:
        return False
    return any(unquote(pair.partition("=")[0]) == _QUERY_TOKEN for pair in query.split("&"))
